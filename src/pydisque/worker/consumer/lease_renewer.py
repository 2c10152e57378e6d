"""Sends the renewals that `leases` asks for, all at once, and takes in the answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from time import monotonic

from pydisque.client.async_client import AsyncClient
from pydisque.errors import NoJobError, TooLateError
from pydisque.protocol.replies import JobInfo
from pydisque.worker.consumer.leases import AGAIN, Leases
from pydisque.worker.handlers.job import WorkerJob, named
from pydisque.worker.handlers.stats import Tally

logger = logging.getLogger("pydisque.worker")

# Seconds between two looks at the leases at least: what is due meanwhile is renewed together.
LEISURE = 0.05

# Seconds to wait for renewals that are under way.
PATIENCE = 1.0


class Renewal:
    """Keeps the leases of the jobs in hand, over connections of its own."""

    def __init__(
        self, client: AsyncClient, lose: Callable[[WorkerJob], None], tally: Tally
    ) -> None:
        self._client = client
        self._lose = lose
        self._tally = tally
        self._leases = Leases()
        self._held = asyncio.Event()
        self._sending = asyncio.Lock()
        self._under_way: set[WorkerJob] = set()

    def hold(self, jobs: list[WorkerJob]) -> None:
        """Keep the leases of these jobs, which begin now."""
        self._leases.hold(jobs, monotonic())
        self._held.set()

    async def run(self) -> None:
        """Renew what is due, for ever."""
        while True:
            due = self._leases.next_due()
            if due is None:
                self._held.clear()
                await self._held.wait()
                continue
            wait = max(LEISURE, due - monotonic())
            await asyncio.sleep(min(wait, AGAIN))  # new jobs may be due before all others
            renew, lost = self._leases.due(monotonic())
            for job in lost:
                self._tell_lost(job)
            now = monotonic()
            unsure = [job for job in renew if job.safe_until <= now]
            if unsure:
                taken = await self._taken(unsure)
                renew = [job for job in renew if job not in taken]
            if renew:
                await self.renew(renew)

    async def _taken(self, jobs: list[WorkerJob]) -> set[WorkerJob]:
        """Which of these are another worker's by now; WORKING would renew its lease unasked.

        A first renewal that is late, as the process was stopped or the node away, may find that.
        """
        pipeline = self._client.pipeline()
        for job in jobs:
            pipeline.show(job.key)
        infos = await pipeline.execute(raise_on_error=False)
        taken = {
            job
            for job, info in zip(jobs, infos, strict=True)
            if isinstance(info, JobInfo)
            and info.state == b"active"
            and not job.is_as_delivered(info)
        }
        for job in taken:
            self._tell_lost(job)
        return taken

    async def renew(self, jobs: list[WorkerJob]) -> None:
        """Begin the leases of these jobs anew; those whose jobs are gone are lost."""
        async with self._sending:
            jobs = [job for job in jobs if not (job.at_most_once or job.done)]
            self._under_way = set(jobs)
            try:
                await self._renew(jobs)
            finally:
                self._under_way = set()
                self._held.set()  # of a real Disque's jobs, these are the first that is heard

    async def quiet(self, jobs: Iterable[WorkerJob]) -> None:
        """Wait until no renewal of these is under way: they are done, and about to be given back.

        WORKING takes a job out of its queue again, should it come after NACK or ENQUEUE. One that
        takes very long is not waited for: its wire is dead.
        """
        if not self._under_way.isdisjoint(jobs):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE), self._sending:
                    pass

    async def _renew(self, jobs: list[WorkerJob]) -> None:
        pipeline = self._client.pipeline()
        for job in jobs:
            pipeline.working(job.key)
        sent = monotonic()
        answers = await pipeline.execute(raise_on_error=False)
        late = []
        for job, answer in zip(jobs, answers, strict=True):
            if isinstance(answer, int):
                self._leases.renewed(job, answer, sent)
            elif isinstance(answer, NoJobError):
                self._tell_lost(job)
            elif isinstance(answer, TooLateError):
                late.append(job)
            else:
                self._leases.unanswered(job, monotonic())
        if late:
            await self._measure(late)

    async def _measure(self, jobs: list[WorkerJob]) -> None:
        """Find out how much is left of leases that may not be renewed any more."""
        pipeline = self._client.pipeline()
        for job in jobs:
            pipeline.show(job.key)
        sent = monotonic()
        for job, info in zip(jobs, await pipeline.execute(raise_on_error=False), strict=True):
            if isinstance(info, Exception):
                self._leases.unanswered(job, monotonic())
            elif info is None or info.next_requeue_within is None:
                self._tell_lost(job)
            else:
                self._leases.refused(job, info.next_requeue_within / 1000, sent)

    def _tell_lost(self, job: WorkerJob) -> None:
        if job.done:
            return
        job.lost = True
        self._tally.lost[job.name] += 1
        logger.warning("%s: its lease is lost", named(job))
        with contextlib.suppress(RuntimeError):  # the executor's loop may be over
            self._lose(job)
