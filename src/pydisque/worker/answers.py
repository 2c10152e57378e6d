"""Tells the node what became of jobs: acknowledged, to be tried again, dead.

An answer that finds no node is given again until it does. Nothing here decides anything about a
job; that is `verdict`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from random import random
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from pydisque.async_client import AsyncClient
from pydisque.dead_letters import DeadLetter
from pydisque.envelope import EARLIER, wrap
from pydisque.replies import JobInfo
from pydisque.worker import verdict
from pydisque.worker.executor import StaleError
from pydisque.worker.job import WorkerJob
from pydisque.worker.tally import Tally
from pydisque.worker.verdict import Ack, Again, Bury, text_of, trace_of

if TYPE_CHECKING:
    from pydisque.worker.core import Plan

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
            (job, outcome if isinstance(outcome, Bury) else self._judge(job, outcome))
            for job, outcome in ended
            if not isinstance(outcome, StaleError)
        ]
        dropped = [job for job, sentence in verdicts if isinstance(sentence, Ack)]
        await self._drop(dropped)
        await self._fail([(job, s) for job, s in verdicts if isinstance(s, (Again, Bury))])
        return await self._still_ours(stale)

    async def cut_short(self, jobs: list[WorkerJob]) -> None:
        """Give back jobs that ran when the worker had to stop."""
        ids = [job.key for job in jobs if not job.lost]
        if not ids:
            return
        try:
            await self._client.nack_job(*ids)
        except RedisError as error:
            logger.warning("%d jobs were cut short, and come again by RETRY: %s", len(ids), error)

    def _judge(self, job: WorkerJob, error: BaseException) -> verdict.Verdict:
        return verdict.after(self._plan.handlers[job.name], job, error, random())

    async def _ack(self, ids: Sequence[bytes]) -> None:
        """Acknowledge, however long it takes."""
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

    async def _drop(self, jobs: list[WorkerJob]) -> None:
        if jobs:
            await self._ack([job.key for job in jobs])
            for job in jobs:
                self._tally.dropped[job.name] += 1

    async def _still_ours(self, jobs: list[WorkerJob]) -> list[WorkerJob]:
        """Of jobs that waited longer than it was certain, those that nobody else was given."""
        ours = []
        for job, info in zip(jobs, await self._show(jobs), strict=True):
            fields = (info.nacks, info.additional_deliveries) if info else None
            if info and fields == job.counters and _text(info.state) == "active":
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

    # Failures

    async def _fail(self, verdicts: list[tuple[WorkerJob, Again | Bury]]) -> None:
        """Give back jobs that failed, or bury them.

        Whatever goes wrong in this leaves the job to its RETRY, which brings it back.
        """
        if not verdicts:
            return
        infos = await self._show([job for job, _ in verdicts])
        delays: defaultdict[int, list[WorkerJob]] = defaultdict(list)
        for (job, sentence), info in zip(verdicts, infos, strict=True):
            if info is None:
                logger.warning(
                    "job %s of %s: failed, and the node knows it no more", job.id, job.queue
                )
            elif isinstance(sentence, Again) and sentence.delay < info.ttl:
                delays[sentence.delay].append(job)
            else:
                await self._try("bury", [job], self._bury(job, _last(sentence)))
        for delay, jobs in delays.items():
            known = {job: info for (job, _), info in zip(verdicts, infos, strict=True) if info}
            await self._try("give back", jobs, self._again(jobs, delay, known))

    async def _try(self, what: str, jobs: list[WorkerJob], attempt: Any) -> None:
        try:
            await attempt
        except RedisError as error:
            ids = ", ".join(job.id for job in jobs)
            logger.warning("cannot %s %s, which will come again by RETRY: %s", what, ids, error)

    async def _again(
        self, jobs: list[WorkerJob], delay: int, known: dict[WorkerJob, JobInfo]
    ) -> None:
        if not delay:
            await self._client.nack_job(*(job.key for job in jobs))
        elif await self.starts_lease_at_delivery():
            await self._client.nack_job(*(job.key for job in jobs), delay=delay)
        else:
            for job in jobs:
                await self._add_again(job, delay, known[job])
        for job in jobs:
            self._tally.retried[job.name] += 1

    async def _add_again(self, job: WorkerJob, delay: int, info: JobInfo) -> None:
        """Where NACK knows no delay: the job as a new one that does, then no more of the old."""
        earlier = {
            "id": job.first_id,
            "nacks": job.nacks + 1,
            "additional_deliveries": job.additional_deliveries,
        }
        await self._client.add_job(
            job.name,
            wrap(job.sent, {EARLIER: earlier}),
            delay=delay,
            ttl=info.ttl,
            retry=info.retry,
            replicate=info.repl,
        )
        await self._client.ack_job(job.key)

    async def _bury(self, job: WorkerJob, sentence: Bury) -> None:
        handler = self._plan.handlers[job.name]
        if handler.dead_queue is None:
            logger.error("job %s of %s: given up: %s", job.id, job.queue, sentence.reason)
            await self._drop([job])
            return
        letter = DeadLetter(
            job.queue, job.first_id, job.nacks, job.additional_deliveries, sentence.reason,
            sentence.traceback, datetime.now(UTC).isoformat(timespec="seconds"),
            job.body, job.headers,
        )  # fmt: skip
        await self._client.add_job(handler.dead_queue, letter.to_body(), ttl=handler.dead_ttl)
        await self._ack([job.key])
        self._tally.dead[job.name] += 1
        logger.error(
            "job %s of %s: dead, see %s: %s", job.id, job.queue, handler.dead_queue, sentence.reason
        )

    def _complain(self, what: str, error: Exception) -> None:
        if not self._silent:
            self._silent = True
            logger.warning("cannot %s, and go on trying: %s", what, error)


def _last(sentence: Again | Bury) -> Bury:
    if isinstance(sentence, Bury):
        return sentence
    error = sentence.error
    text = f"{text_of(error)}; its ttl is over before it could be tried again in {sentence.delay} s"
    return Bury(text, trace_of(error))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
