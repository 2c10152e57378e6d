"""The jobs of one queue, the first so many of them, and one job: for whoever looks closer.

Queued jobs come in their order, and cheaply: they are asked for when the survey saw their queue
change, and heavy ones no more than are needed, as their bodies come along. To find the others a
node has to look at all its jobs; that goes on a little with every look, and begins anew once it is
through.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import inf
from typing import Any

from pydisque.monitoring.monitor import SCAN_SECONDS, Survey
from pydisque.monitoring.probe import Probe
from pydisque.monitoring.state_counts import SMALLEST, is_delayed, next_step
from pydisque.protocol.replies import JobInfo, believed

MOST = 100
"""Jobs of a queue that are shown."""

HEAVY = 1024 * 1024
"""Bytes of bodies in one answer, from which on no more queued jobs are asked for than needed."""

QUEUED = "queued"

STATES = (QUEUED, "active", "delayed")


class JobList:
    """Some jobs of one queue in one of the `STATES`, as they were at the last `look`."""

    def __init__(self, survey: Survey, queue: bytes, state: str, most: int = MOST) -> None:
        self._survey = survey
        self._queue = queue
        self._state = state
        self._most = most
        self._peeks: dict[str, _Peek] = {}
        self._scans: dict[str, _Scan] = {}
        self.jobs: list[JobInfo] = []
        self.complete = False
        """Whether every node was looked through once, or there are as many as wanted."""

    async def look(self, needed: int = MOST) -> None:
        """See how it is now, or a little more of it; what nodes have that fail is left out.

        Args:
            needed: how many of the first jobs there should be at least, though they be heavy.

        Raises:
            UnreachableError: all fail; what was seen before is kept.
        """
        asked = self._survey.asked
        names = {probe.name for probe in asked}
        self._peeks = {name: peek for name, peek in self._peeks.items() if name in names}
        self._scans = {name: scan for name, scan in self._scans.items() if name in names}
        queued = self._state == QUEUED
        needed = min(needed, self._most)
        parts = await self._survey.of_each(
            (lambda probe: self._queued(probe, needed)) if queued else self._scan
        )
        together = {job.id: job for part in parts.values() for job in part}
        self.jobs = list(together.values())[: self._most]
        self.complete = all(
            probe in parts and (queued or self._scans[probe.name].done) for probe in asked
        )

    async def _queued(self, probe: Probe, needed: int) -> list[JobInfo]:
        figures = self._survey.queues.get(self._queue)
        stamp = None if figures is None else figures.stamp
        peek = self._peeks.setdefault(probe.name, _Peek())
        now = time.monotonic()
        if stamp is None or stamp != peek.stamp or now >= peek.until or needed > peek.count:
            peek = self._peeks[probe.name] = await self._peek(probe, needed, stamp)
        return peek.at(time.monotonic())

    async def _peek(self, probe: Probe, needed: int, stamp: Any) -> _Peek:
        jobs = await probe.client.qpeek(self._queue, needed)
        heaviest = max((len(job.body) for job in jobs), default=0)
        count = max(needed, min(self._most, HEAVY // max(heaviest, 1)))
        if len(jobs) == needed < count:
            jobs = await probe.client.qpeek(self._queue, count)
        shows = probe.client.pipeline()
        for job in jobs:
            shows.show(job.id)
        told = await shows.execute()
        return _Peek(stamp, count, [job for job in told if job is not None], time.monotonic())

    async def _scan(self, probe: Probe) -> list[JobInfo]:
        scan = self._scans.pop(probe.name, None) or _Scan()
        own, until = self._survey.own(probe), time.monotonic() + SCAN_SECONDS
        while time.monotonic() < until:
            cursor, jobs = await probe.client.jscan(
                scan.cursor, scan.step, queue=self._queue, state="active", reply="all"
            )
            now, delayed = time.time(), self._state == "delayed"
            some = [j for j in jobs if j.id.startswith(own) and is_delayed(j, now) == delayed]
            if scan.take(cursor, some, sum(len(job.body) for job in jobs), self._most):
                break
        self._scans[probe.name] = scan  # one that failed begins anew
        return scan.known


class _Peek:
    """The first jobs of one node's queue, as they were at some time."""

    def __init__(
        self, stamp: Any = None, count: int = 0, jobs: Sequence[JobInfo] = (), now: float = 0.0
    ) -> None:
        """Keep the queue's stamp, how many were asked for, and what came at this time."""
        self.stamp = stamp
        self.count = count
        self._jobs = jobs
        self._since = now
        requeues = (job.next_requeue_within for job in jobs)
        self.until = now + min((ms for ms in requeues if ms), default=inf) / 1000
        """When one of them is queued again, of which the queue's stamp does not tell."""

    def at(self, now: float) -> list[JobInfo]:
        """The jobs at a later time, up to which nothing happened to them."""
        return [_later(job, now - self._since) for job in self._jobs]


def _later(job: JobInfo, seconds: float) -> JobInfo:
    fields = job.as_dict()
    for name, passed in ((b"ttl", seconds), (b"next-requeue-within", seconds * 1000)):
        if fields.get(name):
            fields[name] = max(fields[name] - int(passed), 0)
    return JobInfo(part for field in fields.items() for part in field)


class _Scan:
    """How far the look through one node's jobs is."""

    def __init__(self) -> None:
        self.cursor: int | bytes = 0
        self.step = SMALLEST
        self.done = False
        self._found: list[JobInfo] = []
        self._before: list[JobInfo] = []

    @property
    def known(self) -> list[JobInfo]:
        """What was found in the last look through all; in the first one, what was found so far."""
        return self._before if self.done else self._found

    def take(self, cursor: int | bytes, jobs: list[JobInfo], weight: int, most: int) -> bool:
        """Take in what a step brought; whether the scan ends with it."""
        self._found += jobs
        self.cursor, self.step = cursor, next_step(self.step, weight)
        if int(cursor) != 0 and len(self._found) < most:
            return False
        self._before, self._found = self._found, []
        self.cursor, self.done = 0, True
        return True


async def find_job(survey: Survey, job_id: bytes) -> JobInfo | None:
    """What is known of a job; None: no node that answers knows it.

    Raises:
        UnreachableError: none answers.
    """
    answers = await survey.of_each(lambda probe: probe.client.show(job_id))
    return believed(answers.values())
