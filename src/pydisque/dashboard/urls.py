"""Names of queues and job IDs in addresses of pages, byte for byte. Pure.

A name is any bytes, and servers, proxies and browsers each have ideas of their own about what
percent signs, slashes and dots mean in a path. So nothing of a name is left to them: letters,
digits and a few signs stand for themselves, every other byte is ``~`` and two hex digits.
"""

from __future__ import annotations

import re

_PLAIN = re.compile(rb"[A-Za-z0-9_:@,-]|(?<=.)\.", re.DOTALL)
_WRITTEN = re.compile(r"(?:[A-Za-z0-9_:@,.-]|~[0-9a-f]{2})+", re.ASCII)

_EMPTY = "~"


def to_path(name: bytes) -> str:
    """A name as one part of a path; a dot is not the first letter, as ``..`` means something."""
    if not name:
        return _EMPTY
    return "".join(
        chr(byte) if _PLAIN.match(name, at) else f"~{byte:02x}" for at, byte in enumerate(name)
    )


def from_path(part: str) -> bytes:
    """The name again.

    Raises:
        ValueError: No name is written so.
    """
    if part == _EMPTY:
        return b""
    if not _WRITTEN.fullmatch(part):
        raise ValueError(f"{part!r} is no name")
    return re.sub(rb"~(..)", lambda found: bytes.fromhex(found[1].decode()), part.encode())
