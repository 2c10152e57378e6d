"""Tells the node what became of jobs: acknowledged, to be tried again, dead.

An answer that finds no node is given again until it does. Nothing here decides anything about a
job; that is `verdict`'s, and what to send for it is `settle`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from random import random
from typing import Any

from redis.exceptions import RedisError

from pydisque.client.async_client import AsyncClient
from pydisque.monitoring.text import shown
from pydisque.protocol.replies import JobInfo
from pydisque.worker.consumer.config import Plan
from pydisque.worker.executors.base import StaleError
from pydisque.worker.handlers import policy
from pydisque.worker.handlers.hooks import judged
from pydisque.worker.handlers.job import WorkerJob, named
from pydisque.worker.handlers.outcomes import Settlement, settle
from pydisque.worker.handlers.policy import Ack, Again, Bury, Leave
from pydisque.worker.handlers.stats import Tally

logger = logging.getLogger("pydisque.worker")

PAUSE = 0.25


class Answers:
    """The answers of one worker."""

    def __init__(self, client: AsyncClient, plan: Plan, tally: Tally) -> None:
        self._client = client
        self._plan = plan
        self._tally = tally
        self._ours: dict[bytes, bool] = {}
        self._silent = False

    async def starts_lease_at_delivery(self) -> bool:
        """Whether the node in use begins a lease when it delivers the job, and knows NACK's DELAY.

        Our node does both; a real Disque neither.
        """
        node = self._client.connected_node
        if node is not None and node.node_id in self._ours:
            return self._ours[node.node_id]
        try:
            info = await self._client.info()
        except RedisError:
            return False  # what goes for a real Disque is safe on ours
        ours = "pydisque_version" in info
        if node is not None:
            self._ours[node.node_id] = ours
        return ours

    async def done(self, jobs: list[WorkerJob]) -> None:
        """Acknowledge jobs whose handlers returned."""
        if jobs:
            await self._ack([job.key for job in jobs])
            for job in jobs:
                self._tally.done[job.name] += 1

    async def others(self, ended: list[tuple[WorkerJob, Any]]) -> list[WorkerJob]:
        """Do what is to be done with jobs that ended otherwise; those to be begun after all."""
        stale = [job for job, outcome in ended if isinstance(outcome, StaleError)]
        verdicts = [
            (job, self._judge(job, outcome) if isinstance(outcome, BaseException) else outcome)
            for job, outcome in ended
            if not isinstance(outcome, StaleError)
        ]
        await self._settle([
            (job, said)
            for job, said in verdicts
            if not isinstance(said, Leave) and (isinstance(said, Ack) or not job.lost)
        ])  # fmt: skip
        return await self._still_ours(stale)

    async def cut_short(self, jobs: list[WorkerJob]) -> None:
        """Give back jobs that ran when the worker had to stop."""
        ids = [job.key for job in jobs if not job.lost]
        if not ids:
            return
        try:
            await self._client.nack_job(*ids)
        except RedisError as error:
            text = "%d jobs were cut short, and come again by RETRY: %s"
            logger.warning(text, len(ids), shown(str(error)))

    def _judge(self, job: WorkerJob, error: BaseException) -> policy.Verdict:
        return judged(self._plan.handlers[job.name], job, error, random())

    async def _ack(self, ids: Sequence[bytes]) -> None:
        """Acknowledge, however long it takes."""
        if not ids:
            return
        ack = self._client.fast_ack if self._plan.fast_ack else self._client.ack_job
        while True:
            try:
                await ack(*ids)
            except RedisError as error:
                self._complain("acknowledge jobs", error)
                await asyncio.sleep(PAUSE)
            else:
                self._silent = False
                return

    async def _still_ours(self, jobs: list[WorkerJob]) -> list[WorkerJob]:
        """Of jobs that waited longer than it was certain, those that nobody else was given."""
        ours = []
        for job, info in zip(jobs, await self._show(jobs), strict=True):
            if info and job.is_as_delivered(info) and info.state == b"active":
                job.done = job.lost = False
                ours.append(job)
            else:
                self._tally.lost[job.name] += not job.lost
        return ours

    async def _show(self, jobs: Sequence[WorkerJob]) -> list[JobInfo | None]:
        """What the node knows of jobs; None for one that it does not know, or if none answers."""
        pipeline = self._client.pipeline()
        for job in jobs:
            pipeline.show(job.key)
        infos = await pipeline.execute(raise_on_error=False)
        return [None if isinstance(info, Exception) else info for info in infos]

    async def _settle(self, verdicts: list[tuple[WorkerJob, Ack | Again | Bury]]) -> None:
        """Carry out verdicts, all at once.

        Whatever goes wrong with a job that failed leaves it to its RETRY, which brings it back.
        """
        failed = [job for job, said in verdicts if not isinstance(said, Ack)]
        infos = dict(zip(failed, await self._show(failed), strict=True))
        infos = {j: info if info and j.is_as_delivered(info) else None for j, info in infos.items()}
        delays = bool(failed) and await self.starts_lease_at_delivery()
        now = datetime.now(UTC)
        settlements = []
        for job, said in verdicts:
            handler = self._plan.handlers[job.name]
            settled = settle(handler, job, said, infos.get(job), delays=delays, at=now)
            if settled is not None:
                settlements.append((job, settled))
            else:
                logger.warning("%s: failed, and is no longer ours", named(job))
        over = await self._send(settlements)
        await self._ack([job.key for job, settled, _ in over if settled.ack])
        for job, settled, result in over:
            self._tally.count(settled.outcome, job.name)
            self._tell(job, settled, result)

    async def _send(
        self, settlements: list[tuple[WorkerJob, Settlement]]
    ) -> list[tuple[WorkerJob, Settlement, Any]]:
        """Send what is to be sent before an ACKJOB; what went well, with the results."""
        pipeline = self._client.pipeline()
        sent = [job for job, settled in settlements if settled.command is not None]
        for _, settled in settlements:
            if settled.command is not None:
                pipeline.queue(settled.command)
        results = dict(zip(sent, await pipeline.execute(raise_on_error=False), strict=True))
        for job, result in results.items():
            if isinstance(result, Exception):
                text = "%s: not answered for, so it will come again by RETRY: %s"
                logger.warning(text, named(job), shown(str(result)))
        return [
            (job, settled, results.get(job))
            for job, settled in settlements
            if not isinstance(results.get(job), Exception)
        ]

    def _tell(self, job: WorkerJob, settled: Settlement, result: Any) -> None:
        if settled.outcome == "dead":
            text = "%s: dead, its letter is %s: %s"
            logger.error(text, named(job), shown(result), settled.reason)
        elif settled.reason:
            logger.error("%s: given up: %s", named(job), settled.reason)

    def _complain(self, what: str, error: Exception) -> None:
        if not self._silent:
            self._silent = True
            logger.warning("cannot %s, and go on trying: %s", what, shown(str(error)))
