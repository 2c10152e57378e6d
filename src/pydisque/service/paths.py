"""Tells addresses from paths. Pure.

As in git and rsync, a colon before the first slash makes a text an address. So no directory or file
is made for the address of a node.
"""

from __future__ import annotations

import re

PATH = "a path; one with a colon before its first slash is written ./NAME"
"""What is allowed, for messages."""

_ADDRESS = re.compile(r"[^/]*:")
_MEMORY = ":memory:"


def is_address(text: str) -> bool:
    """Whether a text looks like HOST:PORT, several of them, or a URL."""
    return text != _MEMORY and _ADDRESS.match(text) is not None
