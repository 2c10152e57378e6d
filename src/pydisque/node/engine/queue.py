"""A queue: jobs in the order of their creation, and what is counted about it.

Decides the order only. New jobs arrive in order and make up nearly all; those put back take their
old place again. Whoever calls changes the job's own state.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import NamedTuple

from sortedcontainers import SortedDict

from pydisque.node.engine.job import Job

_NOTHING: SortedDict[int, Job] = SortedDict()
"""What came back to the many queues that nothing came back to: making one takes its time."""


class Queue:
    """Jobs by ctime: the ones that never left in `_fresh`, the ones put back in `_returned`."""

    def __init__(self, name: bytes, serial: int, now: int) -> None:
        self.name = name
        self.serial = serial
        """Queues created later have a higher one: the order of QSCAN."""
        self.ctime = now
        self.atime = now
        """When a job last came in or went out, in milliseconds."""
        self.paused_in = False
        self.paused_out = False
        self.jobs_in = 0
        self.jobs_out = 0
        self.home = 0
        """The journal's batch that holds it; 0 while none does."""
        self.append = (fresh := OrderedDict[int, Job]()).__setitem__
        """Put in a job that is younger than every other: ``append(job.ctime, job)``."""
        self._fresh = fresh
        self._returned = _NOTHING

    @property
    def pause(self) -> bytes:
        """What is paused, as a word."""
        if self.paused_in:
            return b"all" if self.paused_out else b"in"
        return b"out" if self.paused_out else b"none"

    def state(self, now: int) -> QueueState:
        """What QSTAT tells of it now."""
        age, idle = (now - self.ctime) // 1000, (now - self.atime) // 1000
        return QueueState(self.name, len(self), age, idle, self.jobs_in, self.jobs_out, self.pause)

    def __len__(self) -> int:
        return len(self._fresh) + len(self._returned)

    def put_back(self, job: Job) -> None:
        """Put a job in its place by age."""
        if self._returned is _NOTHING:
            self._returned = SortedDict()
        self._returned[job.ctime] = job

    def take(self) -> Job | None:
        """Take out the oldest job."""
        if self._returned:
            ctime, job = self._returned.peekitem(0)
            if not self._fresh or ctime < next(iter(self._fresh)):
                del self._returned[ctime]
                return job
        return self._fresh.popitem(last=False)[1] if self._fresh else None

    def remove(self, job: Job) -> None:
        """Take out this job."""
        if self._fresh.pop(job.ctime, None) is None:
            del self._returned[job.ctime]

    def clear(self) -> None:
        """Take out every job."""
        self._fresh.clear()
        self._returned = _NOTHING

    def oldest(self, count: int) -> list[Job]:
        """The first jobs in order."""
        return self._first(count, iter(self._fresh), iter(self._returned), reverse=False)

    def newest(self, count: int) -> list[Job]:
        """The last jobs, the last one first."""
        return self._first(count, reversed(self._fresh), reversed(self._returned), reverse=True)

    def _first(
        self, count: int, fresh: Iterator[int], returned: Iterator[int], *, reverse: bool
    ) -> list[Job]:
        ctimes = islice(merge(fresh, returned, reverse=reverse), min(count, len(self)))
        return [self._fresh.get(ctime) or self._returned[ctime] for ctime in ctimes]


class QueueState(NamedTuple):
    """What QSTAT tells of a queue; times in seconds."""

    name: bytes
    length: int
    age: int
    idle: int
    jobs_in: int
    jobs_out: int
    pause: bytes
    blocked: int | None = None
    """Clients in line for it, if that is for the store to know."""
