"""What is read line by line: all that is known of a job, and what the keys do. Pure.

Lines are as wide as the screen at most, so that all of a text can be read by moving up and down.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from functools import lru_cache

from rich.cells import chop_cells

from pydisque.cli.options.nodes import number, shown_lines
from pydisque.cli.output.formatting import Section, as_hex, opened, sections_of
from pydisque.cli.output.job_details import facts
from pydisque.monitoring.text import beginning, truncate
from pydisque.protocol.replies import JobInfo

LONGEST = 64 * 1024
"""Bytes of a body that are shown; `pydisque show` has it all."""

KEYS: tuple[tuple[str, str], ...] = (
    ("Up Down, j k", "the line above, below"),
    ("PgUp PgDn", "a page up, down"),
    ("Home End, g G", "the first, the last line"),
    ("Enter", "look into a queue, a job"),
    ("Esc, q", "back; q among the queues ends it, as Q and Ctrl-C do anywhere"),
    ("/", "show queues whose name has this text in it, or is like mail-*; Esc: all"),
    ("s S, > <", "sort by the next, the previous column"),
    ("r", "the other way round"),
    ("p", "pause a queue on all nodes, or end its pause; asks first"),
    ("Tab, Left Right", "in a queue: its jobs queued, active or delayed"),
    ("b", "in a job: its body byte by byte, or as it is"),
    ("n", "the nodes"),
    ("Space", "freeze what is shown; only what is opened then is asked for"),
    ("?, h", "this"),
)

_COLUMNS = (
    ("len", "jobs queued"),
    ("in/s, out/s", "jobs queued, and handed out, a second"),
    ("active", "jobs that workers have, or that wait for their retry"),
    ("delayed", "jobs not queued yet"),
    ("blocked", "clients that wait for jobs"),
    ("oldest", "how long ago the job was added that is next"),
    ("import", "jobs a second that come from other nodes"),
    ("idle", "since when nobody used it"),
    ("trend", "len of late"),
)


_INDENT = 19
"""Where the text of a table begins."""


@lru_cache(maxsize=2)
def help_lines(width: int) -> tuple[str, ...]:
    """What the keys do, and what the columns mean."""
    return ("Keys", "", *_table(KEYS, width), "", "Columns", "", *_table(_COLUMNS, width))


def _table(pairs: tuple[tuple[str, str], ...], width: int) -> Iterator[str]:
    indent = " " * (_INDENT if width >= 2 * _INDENT else 2)
    for name, text in pairs:
        line = f"  {name:{_INDENT - 4}}  {text}"
        yield from textwrap.wrap(line, max(width, len(indent) + 1), subsequent_indent=indent)


def _cut(lines: Iterable[str], width: int) -> Iterator[str]:
    """The same in lines that are no wider; a wide letter takes two cells."""
    for line in lines:
        yield from chop_cells(line, width) or [""]


@lru_cache(maxsize=2)
def _body(body: bytes, width: int, *, as_bytes: bool) -> tuple[str, ...]:
    """A job's body, and its headers, line by line; kept, as a screen is drawn again and again."""
    inner, headers = opened(body)
    sections: list[Section] = sections_of(beginning(inner, LONGEST), headers, LONGEST)
    sections[0] = (sections[0][0], truncate(sections[0][1], LONGEST))
    title = f"body, {number(len(inner), 'byte')}"
    if as_bytes:
        sections[-1] = (title, as_hex(inner))
    elif len(inner) > LONGEST:
        sections[-1] = (f"{title}, of which this is the beginning", sections[-1][1])
    lines: list[str] = []
    for name, text in sections:
        if text:
            lines += ["", f"{name}:", *shown_lines(text.rstrip()).split("\n")]
    return tuple(_cut(lines, width))


def story(job: JobInfo | None, width: int, *, as_bytes: bool) -> list[str]:
    """All that is known of a job."""
    if job is None:
        return []
    lines = (truncate(f"{name:11}  {value}", LONGEST) for name, value in facts(job))
    return [*_cut(lines, width), *_body(job.body or b"", width, as_bytes=as_bytes)]
