"""How things are said on pages: templates, and the words they use for numbers, times and names."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pydisque.dashboard.urls import to_path
from pydisque.dead_letters import encoded
from pydisque.monitoring.state_counts import is_delayed
from pydisque.monitoring.text import duration, shown, shown_lines, truncate
from pydisque.protocol.envelope import unwrap
from pydisque.protocol.replies import JobInfo

STATIC = Path(__file__).parent / "static"

LONGEST_LINE = 120
"""Letters of a body in a row of a table."""

LONGEST_HEADERS = 16 * 1024
"""Bytes of headers that are read for such a row: they are passed over only."""

LONGEST_NAME = 200
"""Bytes of a queue's name on a page."""

LONGEST_TEXT = 2000
"""Letters of what others wrote in one line, such as an error."""

LONGEST_LINES = 64 * 1024
"""Letters of what others wrote in several lines, such as a traceback."""

LONGEST_LINKED = 2000
"""Bytes of a queue's name that fits into an address; each may take three letters there."""


def number(value: float) -> str:
    """A number with its thousands apart."""
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """So many a second: with a decimal as long as it says something."""
    return f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.1f}"


def size(count: int) -> str:
    """So many bytes."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"


def moment(nanoseconds: int) -> str:
    """A time since 1970, exactly."""
    return f"{datetime.fromtimestamp(nanoseconds / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC"


def ago(nanoseconds: int) -> str:
    """How long that is ago."""
    return duration(max(0, int(time.time() - nanoseconds / 1e9)))


def state(info: JobInfo) -> str:
    """A job's state in a word; Disque calls one active that waits for its delay."""
    delayed = info.state == b"active" and is_delayed(info, time.time())
    return "delayed" if delayed else info.state.decode()


def due(info: JobInfo) -> str:
    """In how long a job is queued again."""
    within = info.next_requeue_within
    return "" if within is None else f"in {duration(-(-within // 1000))}"


def inner(body: bytes | None) -> bytes:
    """A body without its headers."""
    return unwrap(body or b"", LONGEST_HEADERS)[0]


def in_one_line(text: str | bytes) -> str:
    """What others wrote, in one line; of what is long the beginning."""
    if isinstance(text, bytes):
        text = text[: 4 * LONGEST_TEXT].decode(errors="backslashreplace")
    return shown(truncate(text, LONGEST_TEXT))


def in_lines(text: str) -> str:
    """The same in several lines."""
    return shown_lines(truncate(text, LONGEST_LINES))


def called(name: bytes | None) -> str:
    """A queue's name as it is read, and typed to confirm something."""
    name = name or b""
    ending = "…" if len(name) > LONGEST_NAME else ""
    return f"{shown(name[:LONGEST_NAME])}{ending}" or "(no name)"


def linkable(name: bytes | None) -> bool:
    """Whether a queue has pages of its own: the name fits into an address."""
    return len(name or b"") <= LONGEST_LINKED


def key(name: bytes) -> str:
    """What tells a queue from the others on a page."""
    return to_path(name) if linkable(name) else hashlib.sha256(name).hexdigest()


def path(name: bytes | None) -> str:
    """A name in an address; a job that only its acknowledgement is left of has no queue."""
    return to_path(name or b"")


def in_a_line(body: bytes) -> str:
    """The beginning of a body."""
    text = shown(body[: 4 * LONGEST_LINE])
    if len(text) <= LONGEST_LINE and len(body) <= 4 * LONGEST_LINE:
        return text
    return f"{text[: LONGEST_LINE - 1]}…"


@cache
def asset(name: str) -> str:
    """The address of a file that comes with the pages; it changes when the file does."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()
    return f"/static/{name}?{digest[:12]}"


FILTERS: dict[str, Any] = {
    "ago": ago, "called": called, "due": due, "duration": duration, "encoded": encoded,
    "in_a_line": in_a_line, "inner": inner, "key": key, "linkable": linkable, "moment": moment,
    "number": number, "path": path, "rate": rate, "shown": in_one_line, "shown_lines": in_lines,
    "size": size, "state": state,
}  # fmt: skip


def environment() -> Environment:
    """The templates. Whatever they are given is text and never HTML."""
    made = Environment(
        loader=PackageLoader("pydisque.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    made.globals.update(asset=asset, number=number, rate=rate)
    return made
