"""Headers beside a job's body: what travels with a job and is not its handler's business.

A body with headers begins with a mark that no text and no JSON begins with, then comes one line of
JSON, then the body as it was::

    NUL pydisque1 SPACE {"traceparent":"00-..."} LF body

Nobody has to use it: a body without the mark has no headers. Nothing here knows what the headers
mean, beyond their names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MARK = b"\x00pydisque1 "

MAX_DEPTH = 100
"""Of headers. What is deeper overflows the stack when it is written again, and long before that
fills a page with blanks."""

LONGEST_SHOWN = 1 << 20
"""Bytes of headers that are read to be shown to people."""

EARLIER = "pydisque-earlier"
"""The header of a job that was added again for a later attempt: its first ID and counters."""


def wrap(body: bytes, headers: Mapping[str, Any]) -> bytes:
    """The body with these headers, and with those it has already; the new ones win."""
    inner, before = unwrap(body)
    together = {**before, **headers}
    if not together:
        return inner
    line = json.dumps(together, separators=(",", ":"), ensure_ascii=True)
    return b"%b%b\n%b" % (MARK, line.encode(), inner)


def unwrap(body: bytes, longest: int | None = None) -> tuple[bytes, dict[str, Any]]:
    """The body alone, and its headers; one whose headers cannot be read has none.

    Headers of more than `longest` bytes, if it is given, are not read.
    """
    if not body.startswith(MARK):
        return body, {}
    line, newline, inner = body[len(MARK) :].partition(b"\n")
    if longest is not None and len(line) > longest:
        return body, {}
    try:
        headers = json.loads(line)
    except (ValueError, RecursionError):  # whoever may add a job may nest it as deep as he likes
        return body, {}
    if not newline or not isinstance(headers, dict) or _is_deep(line, headers):
        return body, {}
    return inner, headers


def _is_deep(line: bytes, headers: dict[str, Any]) -> bool:
    if line.count(b"[") + line.count(b"{") <= MAX_DEPTH:  # as nearly always
        return False
    level: list[Any] = [headers]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _within(outer)]
    return bool(level)


def _within(value: dict[str, Any] | list[Any]) -> list[Any]:
    children = value.values() if isinstance(value, dict) else value
    return [child for child in children if isinstance(child, dict | list)]
