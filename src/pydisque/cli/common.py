"""What commands have in common: how they find nodes, tell errors, and show what others wrote."""

from __future__ import annotations


def shown(name: bytes) -> str:
    """A queue's name on a terminal, which it must not command."""
    text = name.decode(errors="backslashreplace")
    return text if text.isprintable() else repr(text)[1:-1]
