"""What those who watch queues are told: of which of many, by what names, and what of each.

Pure: how much there is to do in a queue is told, and nothing of where that is known from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import nlargest
from typing import NamedTuple

TWICE = 2.0
"""How many times as much another queue must have to do to take the place of one that is shown."""

SLACK = 10.0
"""And how much more, so that nearly idle queues do not take turns."""


def readable(queue: bytes) -> str:
    """A queue's name for tools that take only proper text, each by another one.

    Bytes that are no text are escaped, and so is the backslash.
    """
    return queue.replace(b"\\", rb"\\").decode("utf-8", "backslashreplace")


def load(length: int, jobs_in: int, age: float) -> float:
    """How much there is to do in a queue: jobs in it, and jobs that come in a mean minute."""
    return length + jobs_in * 60 / max(age, 60.0)


class Foremost:
    """The few queues of many that have most to do.

    Who has a place keeps it as long as it can, so that what is shown of a queue has no gaps: it
    goes when the queue does, or when another one has more than `TWICE` as much to do.
    """

    def __init__(self, room: int) -> None:
        """Have places for so many."""
        self.room = room
        self.loads: dict[bytes, float] = {}
        """Those that are shown, and what they had to do when that was last looked at."""

    def refresh(self, load: Callable[[bytes], float | None]) -> None:
        """See how much those that are shown have to do; None: that one is gone."""
        now = [(name, load(name)) for name in self.loads]
        self.loads = {name: found for name, found in now if found is not None}

    def consider(self, found: Iterable[tuple[bytes, float]]) -> None:
        """Give places to some of these, named with what they have to do."""
        newcomers = ((load, name) for name, load in found if name not in self.loads)
        best = nlargest(self.room, newcomers)
        free = self.room - len(self.loads)
        last = sorted(self.loads, key=lambda name: self.loads[name])
        self.loads.update((name, load) for load, name in best[:free])
        for (load, name), leaving in zip(best[free:], last, strict=False):
            if load <= TWICE * self.loads[leaving] + SLACK:
                break
            del self.loads[leaving]
            self.loads[name] = load


class QueueRow(NamedTuple):
    """What is told of one queue; None: not known."""

    name: bytes
    length: int
    jobs_in: int
    jobs_out: int
    blocked: int
    pause: bytes
    oldest: float | None
    """Seconds since the job was made that is next to be handed out."""
    active: int | None = None
    delayed: int | None = None


class NodeRow(NamedTuple):
    """What any node tells of itself; None: not known."""

    jobs: int | None
    """In whatever state, copies too."""
    queues: int | None
    connected: int | None
    blocked: int | None
    memory: int | None
    """Bytes, as maxmemory counts them."""
    uptime: float | None
    """Seconds."""
    commands: int | None
    connections: int | None
    rejected: int | None
    received: int | None
    sent: int | None
