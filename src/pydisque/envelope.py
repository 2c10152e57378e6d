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


def unwrap(body: bytes) -> tuple[bytes, dict[str, Any]]:
    """The body alone, and its headers; one whose headers cannot be read has none."""
    if not body.startswith(MARK):
        return body, {}
    line, newline, inner = body[len(MARK) :].partition(b"\n")
    try:
        headers = json.loads(line)
    except (ValueError, RecursionError):  # whoever may add a job may nest it as deep as he likes
        return body, {}
    if not newline or not isinstance(headers, dict):
        return body, {}
    return inner, headers
