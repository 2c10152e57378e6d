"""Disque's commands and their table."""
