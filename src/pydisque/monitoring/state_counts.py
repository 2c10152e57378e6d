"""Jobs that are in no queue, counted by queue: how many workers have, and how many are delayed.

Only a scan over all jobs tells that, so it goes on bit by bit, and counts once it is through. Pure:
what comes of each step of the scan is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable

from pydisque.protocol.replies import JobInfo

_NANO = 10**9

LIGHT = 256 * 1024
"""Bytes of bodies in one step up to which the next may be larger: a scan brings them along."""

MAX_QUEUES = 10_000
"""Queues that are counted one by one, beside those that are asked for."""

SMALLEST, LARGEST = 100, 20_000
"""How much work a step is, in what the server looks at."""


def next_step(step: int, weight: int) -> int:
    """How much work the next step should be, after one that brought so many bytes of bodies."""
    return min(step * 2, LARGEST) if weight < LIGHT else max(step // 2, SMALLEST)


def is_delayed(job: JobInfo, now: float) -> bool:
    """Whether a job that is in no queue is yet to be queued for the first time."""
    return bool(job.delay) and job.ctime + job.delay * _NANO > now * _NANO


class Census:
    """The count of one node's jobs."""

    def __init__(self) -> None:
        self.active: Counter[bytes] = Counter()
        self.delayed: Counter[bytes] = Counter()
        """Of the last scan that came to its end."""
        self.others_active = self.others_delayed = 0
        """Jobs of queues beyond these."""
        self.done = False
        """Whether one did."""
        self.step = SMALLEST
        """How much work the next step should be."""
        self.cursor: int | bytes = 0
        self._begin()

    def _begin(self) -> None:
        self._active, self._delayed = _Tally(), _Tally()

    def take(
        self,
        cursor: int | bytes,
        jobs: Iterable[JobInfo],
        own: bytes,
        now: float,
        known: Container[bytes] = (),
    ) -> bool:
        """Count the jobs that a step brought.

        Args:
            cursor: where the next one goes on.
            jobs: not queued and not acknowledged ones.
            own: what IDs of the node's own jobs begin with; copies of others' are theirs to count.
                Empty: all count.
            now: the time, in seconds since 1970.
            known: queues that are counted one by one in any case.

        Returns:
            Whether the scan came to its end.
        """
        weight = 0
        for job in jobs:
            weight += len(job.body)
            if not job.id.startswith(own):
                continue
            (self._delayed if is_delayed(job, now) else self._active).note(job.queue, known)
        self.step = next_step(self.step, weight)
        self.cursor = cursor
        if int(cursor) != 0:
            return False
        self.active, self.others_active = self._active.queues, self._active.others
        self.delayed, self.others_delayed = self._delayed.queues, self._delayed.others
        self.done = True
        self._begin()
        return True


class _Tally:
    """Jobs by queue, of so many queues."""

    def __init__(self) -> None:
        self.queues: Counter[bytes] = Counter()
        self.others = 0

    def note(self, queue: bytes, known: Container[bytes]) -> None:
        """One more."""
        if len(self.queues) < MAX_QUEUES or queue in self.queues or queue in known:
            self.queues[queue] += 1
        else:
            self.others += 1
