"""The store in memory whose changes are written to a local journal."""
