"""Somebody's text, bytes and durations as people read them, wherever they do. Pure.

Nothing that comes out can command a terminal, or hide what it is by the way it is shown.
"""

from __future__ import annotations

import json
from io import StringIO

LONGEST_JSON = 1 << 20
"""Bytes of JSON that are parsed to be shown: more takes long, and a hundred times the memory."""

_UNITS = (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1))


def duration(seconds: int) -> str:
    """So many seconds in its two largest units."""
    for unit, size, smaller, less in _UNITS:
        if seconds >= size:
            rest = seconds % size // less
            return f"{seconds // size}{unit}{f' {rest}{smaller}' if rest else ''}"
    return f"{seconds}s"


def number(count: int, what: str, thousands: str = "") -> str:
    """So many of something, in words; with a comma between thousands if one is given."""
    return f"{count:{thousands}} {what}" if count == 1 else f"{count:{thousands}} {what}s"


def shown(text: str | bytes) -> str:
    """Somebody's text in one line, which must command nothing."""
    if isinstance(text, bytes):
        text = text.decode(errors="backslashreplace")
    return text if text.isprintable() else "".join(_harmless(c) for c in text)


def shown_lines(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join(shown(line.expandtabs()) for line in text.split("\n"))


def beginning(body: bytes, longest: int) -> bytes:
    """So many bytes of a body at most; text is not cut within a letter, or it would be none."""
    if len(body) <= longest:
        return body
    for end in range(longest, longest - 4, -1):
        if is_text(body[:end]):
            return body[:end]
    return body[:longest]


def is_text(body: bytes) -> bool:
    """Whether it is UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _harmless(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def truncate(text: str, longest: int) -> str:
    """The beginning of a text, and an ellipsis if that is not all."""
    return text if len(text) <= longest else f"{text[:longest]}…"


def json_laid_out(text: str | bytes, longest: int) -> str | None:
    """JSON over several lines, cut after `longest` letters; None: no JSON, or too much to parse."""
    if len(text) > LONGEST_JSON:
        return None
    try:
        return laid_out(json.loads(text), longest)
    except (ValueError, RecursionError):
        return None


def laid_out(value: object, longest: int) -> str:
    """A value as JSON over several lines, cut after `longest` letters.

    Laid out it may be a thousand times as long as in one line: what is deep is indented far.
    """
    written = StringIO()
    for piece in _LAYING_OUT.iterencode(value):
        written.write(piece)
        if written.tell() > longest:
            return truncate(written.getvalue(), longest)
    return written.getvalue()


_LAYING_OUT = json.JSONEncoder(indent=2, ensure_ascii=False)


def hex_dump(data: bytes) -> str:
    """Bytes in lines of sixteen, each with its place, and as text where they are ASCII."""
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        plain = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:08x}  {row.hex(' '):47}  {plain}")
    return "\n".join(lines)
