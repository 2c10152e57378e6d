"""The columns of the tables: what is in them, how it is written, which are left out first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from pydisque.cli.options.nodes import shown
from pydisque.cli.output.formatting import in_a_line
from pydisque.cli.output.tables import duration
from pydisque.client.nodes import AVOID
from pydisque.monitoring.figures import NodeFigures, QueueFigures
from pydisque.protocol.replies import JobInfo

T = TypeVar("T")

UNKNOWN = "-"

GAP = " "

LONGEST_NAME = 1000
"""Bytes of a name that are drawn: it may have millions, and is drawn with every frame."""


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column of a table about things of one kind."""

    key: str
    title: str
    width: int
    """At least; one that is `wide` takes what the others leave."""
    value: Callable[[T], Any]
    text: Callable[[Any], str]
    rank: int
    """The higher, the sooner it is left out."""
    wide: bool = False
    left: bool = False
    """Whether it is text and no number."""


# How values are written


def amount(number: float | None) -> str:
    """A number in six letters at most."""
    if number is None:
        return UNKNOWN
    if 0 < number < 9.95:
        return f"{number:.0f}" if isinstance(number, int) else f"{number:.1f}"
    if number < 10**6 - 0.5:
        return f"{number:.0f}"
    for unit, size in (("M", 10**6), ("G", 10**9), ("T", 10**12)):
        if number < size * 999.95:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0e}"


def ago(seconds: float | None) -> str:
    """Seconds in one unit."""
    if seconds is None:
        return UNKNOWN
    for unit, size, most in (("s", 1, 100), ("m", 60, 100), ("h", 3600, 48)):
        if seconds < size * most:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds // 86400)}d"


def queue_name(text: bytes) -> str:
    """A name, or the beginning of one that is wider than any screen."""
    return shown(text[:LONGEST_NAME])


def _paused(state: bytes) -> str:
    return "" if state == b"none" else state.decode()


def _rate_of_import(rate: int) -> str:
    return f"{amount(rate)}/s" if rate else ""


# Queues


def _trend(queue: QueueFigures) -> list[float]:
    return [sample.len for sample in queue.samples]


TREND, TREND_WIDTH = "trend", 16

QUEUES: tuple[Column[QueueFigures], ...] = (
    Column("name", "queue", 16, lambda q: q.name, queue_name, 0, wide=True, left=True),
    Column("len", "len", 6, lambda q: q.len, amount, 0),
    Column("in", "in/s", 6, lambda q: q.in_rate, amount, 1),
    Column("out", "out/s", 6, lambda q: q.out_rate, amount, 1),
    Column("active", "active", 6, lambda q: q.active, amount, 3),
    Column("delayed", "delayed", 7, lambda q: q.delayed, amount, 5),
    Column("blocked", "blocked", 7, lambda q: q.blocked, amount, 4),
    Column("oldest", "oldest", 6, lambda q: q.oldest, ago, 6),
    Column("import", "import", 8, lambda q: q.import_rate, _rate_of_import, 7),
    Column("idle", "idle", 5, lambda q: q.idle, ago, 9),
    Column("pause", "pause", 5, lambda q: q.pause, _paused, 2, left=True),
    Column(TREND, TREND, TREND_WIDTH, _trend, str, 8, left=True),
)

VALUES = {column.key: column.value for column in QUEUES}


# Jobs


def _made(job: JobInfo) -> datetime:
    return datetime.fromtimestamp(job.ctime // 1_000_000_000, UTC)


def _moment(time: datetime) -> str:
    return f"{time:%m-%d %H:%M:%S}"


def _next(job: JobInfo) -> float | None:
    within = job.next_requeue_within
    return None if within is None else -(-within // 1000)


JOBS: tuple[Column[JobInfo], ...] = (
    Column("id", "id", 40, lambda j: j.id, shown, 0, left=True),
    Column("made", "made (UTC)", 14, _made, _moment, 5, left=True),
    Column("next", "next", 5, _next, ago, 1),
    Column("nacks", "nacks", 5, lambda j: j.nacks, amount, 2),
    Column("again", "again", 5, lambda j: j.additional_deliveries, amount, 3),
    Column("ttl", "ttl", 5, lambda j: j.ttl, ago, 4),
    Column("body", "body", 12, lambda j: j.body, in_a_line, 0, wide=True, left=True),
)


# Nodes


def _state(node: NodeFigures) -> str:
    if node.error:
        return "no answer"
    return "ok" if node.priority < AVOID else "leaving"


def _figure(name: str) -> Callable[[NodeFigures], Any]:
    return lambda node: None if node.error else node.figure(name)  # it was long ago


def _any(value: Any) -> str:
    return UNKNOWN if value is None else shown(str(value))


def _uptime(seconds: int | None) -> str:
    return UNKNOWN if seconds is None else duration(seconds)


NODES: tuple[Column[NodeFigures], ...] = (
    Column("node", "node", 21, lambda n: n.address, shown, 0, wide=True, left=True),
    Column("state", "state", 9, _state, str, 0, left=True),
    Column("jobs", "jobs", 8, _figure("registered_jobs"), amount, 1),
    Column("queues", "queues", 6, _figure("registered_queues"), amount, 3),
    Column("clients", "clients", 7, _figure("connected_clients"), amount, 5),
    Column("blocked", "blocked", 7, _figure("blocked_clients"), amount, 4),
    Column("commands", "cmds/s", 7, _figure("instantaneous_ops_per_sec"), amount, 2),
    Column("memory", "memory", 8, _figure("used_memory_human"), _any, 6),
    Column("uptime", "uptime", 8, _figure("uptime_in_seconds"), _uptime, 7),
    Column("version", "version", 10, _figure("disque_version"), _any, 8, left=True),
)


# Which fit


def fitting(columns: Sequence[Column[T]], width: int) -> list[tuple[Column[T], int]]:
    """The columns there is room for, each with its width; those ranked 0 always are."""
    taken = -len(GAP)
    chosen = []
    for column in sorted(columns, key=lambda each: each.rank):
        taken += column.width + len(GAP)
        if taken > width and column.rank:
            taken -= column.width + len(GAP)
            break
        chosen.append(column)
    spare = max(width - taken, 0)
    kept = [column for column in columns if column in chosen]
    return [(column, column.width + spare if column.wide else column.width) for column in kept]
