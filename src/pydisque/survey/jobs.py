"""The jobs of one queue, the first so many of them, and one job: for whoever looks closer.

Queued jobs come in their order, and cheaply. To find the others a node has to look at all its jobs;
that goes on a little with every look, and begins anew once it is through.
"""

from __future__ import annotations

import time

from pydisque.replies import JobInfo, believed
from pydisque.survey.census import SMALLEST, is_delayed, next_step
from pydisque.survey.survey import SCAN_SECONDS, Probe, Survey

MOST = 100
"""Jobs of a queue that are shown."""

STATES = ("queued", "active", "delayed")


class JobList:
    """Some jobs of one queue in one of the `STATES`, as they were at the last `look`."""

    def __init__(self, survey: Survey, queue: bytes, state: str, most: int = MOST) -> None:
        self._survey = survey
        self._queue = queue
        self._state = state
        self._most = most
        self._scans: dict[str, _Scan] = {}
        self.jobs: list[JobInfo] = []
        self.complete = False
        """Whether every node was looked through once, or there are as many as wanted."""

    async def look(self) -> None:
        """See how it is now, or a little more of it; what nodes have that fail is left out.

        Raises:
            UnreachableError: all fail; what was seen before is kept.
        """
        asked = self._survey.asked
        queued = self._state == "queued"
        parts = await self._survey.of_each(self._queued if queued else self._scan)
        together = {job.id: job for part in parts.values() for job in part}
        self.jobs = list(together.values())[: self._most]
        self.complete = all(
            probe in parts and (queued or self._scans[probe.name].done) for probe in asked
        )

    async def _queued(self, probe: Probe) -> list[JobInfo]:
        shows = probe.client.pipeline()
        for job in await probe.client.qpeek(self._queue, self._most):
            shows.show(job.id)
        return [info for info in await shows.execute() if info is not None]

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
