"""The leases of the jobs in hand: which to renew when, and which are lost.

A node delivers a job again when its lease, RETRY seconds, is over; WORKING begins it anew and tells
how long it is. It is at least a second, so a job that takes less need not be renewed on a node
which starts the lease at delivery. A real Disque starts it when the job is queued: there whoever
fetches jobs renews every lease before a job is run. Times are seconds of any steady clock; nothing
here sends anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count

from pydisque.worker.handlers.job import WorkerJob

# The shortest lease there is, in seconds.
SHORTEST = 1.0

# When the first renewal is due after a delivery, and the next after one that got no answer.
FIRST = SHORTEST / 2
AGAIN = 0.25


class Leases:
    """The leases of one worker."""

    def __init__(self) -> None:
        self._fresh: deque[tuple[float, list[WorkerJob]]] = deque()
        self._due: list[tuple[float, int, WorkerJob]] = []
        self._order = count()

    def hold(self, jobs: list[WorkerJob], now: float) -> None:
        """Take jobs that were just delivered, with new leases."""
        for job in jobs:
            job.safe_until = max(job.safe_until, now + SHORTEST)
        self._fresh.append((now + FIRST, jobs))

    def next_due(self) -> float | None:
        """When to look again; None: when a job is delivered."""
        times = [self._fresh[0][0]] if self._fresh else []
        if self._due:
            times.append(self._due[0][0])
        return min(times, default=None)

    def due(self, now: float) -> tuple[list[WorkerJob], list[WorkerJob]]:
        """The jobs to renew, each of which must be answered for below, and those just lost."""
        renew, lost = [], []
        for job in self._ripe(now):
            if job.done or job.lost or job.at_most_once:
                continue
            if job.lease_ends is not None and job.lease_ends <= now:
                job.lost = True
                lost.append(job)
            elif job.renewable:
                renew.append(job)
            else:
                self._push(job.lease_ends or now, job)
        return renew, lost

    def renewed(self, job: WorkerJob, seconds: float, sent: float) -> None:
        """WORKING was sent then, and the lease is so long."""
        job.safe_until = job.lease_ends = sent + seconds
        self._push(sent + seconds / 2, job)

    def refused(self, job: WorkerJob, left: float, now: float) -> None:
        """No further renewal is allowed (TOOLATE): so many seconds of the lease are left."""
        job.renewable = False
        job.safe_until = job.lease_ends = now + left
        self._push(job.lease_ends, job)

    def unanswered(self, job: WorkerJob, now: float) -> None:
        """No node answered; try again until the lease is over."""
        ends = now + AGAIN if job.lease_ends is None else min(job.lease_ends, now + AGAIN)
        self._push(ends, job)

    def _push(self, when: float, job: WorkerJob) -> None:
        heappush(self._due, (when, next(self._order), job))

    def _ripe(self, now: float) -> Iterator[WorkerJob]:
        while self._fresh and self._fresh[0][0] <= now:
            yield from self._fresh.popleft()[1]
        while self._due and self._due[0][0] <= now:
            yield heappop(self._due)[2]
