"""How commands write: errors, tables, progress and streams."""
