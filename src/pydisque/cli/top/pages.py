"""What is read line by line: all that is known of a job, and what the keys do. Pure."""

from __future__ import annotations

from functools import lru_cache

from pydisque.cli.bodies import Section, as_hex, sections_of
from pydisque.cli.common import number, shown_lines
from pydisque.cli.get import facts
from pydisque.envelope import unwrap
from pydisque.replies import JobInfo
from pydisque.words import beginning

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
    ("Space", "freeze what is shown; nothing is asked meanwhile"),
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


def _table(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    return [f"  {name:15}  {text}" for name, text in pairs]


HELP_LINES = ["Keys", "", *_table(KEYS), "", "Columns", "", *_table(_COLUMNS)]


@lru_cache(maxsize=2)
def _body(body: bytes, *, as_bytes: bool) -> tuple[str, ...]:
    """A job's body, and its headers, line by line; kept, as a screen is drawn again and again."""
    inner, headers = unwrap(body)
    sections: list[Section] = sections_of(beginning(inner, LONGEST), headers)
    title = f"body, {number(len(inner), 'byte')}"
    if as_bytes:
        sections[-1] = (title, as_hex(inner))
    elif len(inner) > LONGEST:
        sections[-1] = (f"{title}, of which this is the beginning", sections[-1][1])
    lines: list[str] = []
    for name, text in sections:
        if text:
            lines += ["", f"{name}:", *shown_lines(text.rstrip()).split("\n")]
    return tuple(lines)


def story(job: JobInfo | None, *, as_bytes: bool) -> list[str]:
    """All that is known of a job."""
    if job is None:
        return []
    lines = [f"{name:11}  {value}" for name, value in facts(job)]
    return lines + list(_body(job.body or b"", as_bytes=as_bytes))
