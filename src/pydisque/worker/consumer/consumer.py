"""The worker's core: fetch jobs, keep their leases, pass on what became of them, stop.

It runs in one asyncio loop in a thread of its own, where no job can hold it up, and is all that
talks to a node. Jobs run elsewhere: in an executor, which it feeds and hears from. What an outcome
means is decided in `verdict` and carried out in `answers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from random import random
from time import monotonic
from typing import Any

from redis.exceptions import AuthenticationError, RedisError

from pydisque.client.async_client import AsyncClient, AsyncReceivedJob
from pydisque.client.base_transport import DEFAULT_TIMEOUT
from pydisque.errors import NoAuthError
from pydisque.monitoring.text import shown
from pydisque.worker.consumer.acknowledger import Answers
from pydisque.worker.consumer.config import Plan
from pydisque.worker.consumer.lease_renewer import Renewal
from pydisque.worker.consumer.leases import SHORTEST
from pydisque.worker.consumer.prefetch import Appetite
from pydisque.worker.executors.base import Executor, ExecutorError, StaleError
from pydisque.worker.handlers import policy
from pydisque.worker.handlers.hooks import logged_trace
from pydisque.worker.handlers.job import WorkerJob
from pydisque.worker.handlers.stats import Tally

logger = logging.getLogger("pydisque.worker")

# Milliseconds a fetch waits at the node; a connection that is dead is noticed soon after.
FETCH_WAIT = 4000

# Seconds between tries while no node answers, beside the pauses the client makes itself.
PAUSE = 0.25

# Seconds after which jobs that were fetched ahead and not begun go back to the node.
LONGEST_WAIT = 1.0

# Seconds between two beats of the loop, and how late one is when the process must have been
# stopped: jobs that came meanwhile lay here, and none of their leases is sure.
BEAT = 0.2
STOPPED = SHORTEST / 4

# Seconds that the last answers get when all else is over.
LAST_ANSWERS = 5.0


class Core:
    """One worker's work."""

    def __init__(
        self, plan: Plan, executor: Executor, tally: Tally, appetite: Appetite | None = None
    ) -> None:
        self._plan = plan
        self._executor = executor
        self._tally = tally
        self._appetite = appetite or Appetite(plan.concurrency, plan.ahead)
        self._ended: deque[tuple[WorkerJob, BaseException | None, float]] = deque()
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self._ready, self._freed = asyncio.Event(), asyncio.Event()
        self._told = False
        self._finished = 0
        self._turn = 0
        self._finishing = False
        self._trouble_since: float | None = None
        self._getting: asyncio.Future[Any] | None = None
        self._failure: ExecutorError | None = None

    async def run(self) -> int:
        """Work until `stop`; how many jobs were cut short.

        Raises:
            NoAuthError, UnreachableError: No node lets in who logs in like this, from the start.
            ExecutorError: The executor failed; jobs in hand were given back.
        """
        self._loop = asyncio.get_running_loop()
        self._woken = self._last_beat = 0.0
        self._beat()
        plan = self._plan
        async with (
            AsyncClient(plan.nodes, **plan.options) as self._client,
            AsyncClient(plan.nodes, **_hasty(plan.options)) as renewer,
        ):
            self._renewal = Renewal(renewer, self._executor.lose, self._tally)
            self._answers = Answers(self._client, plan, self._tally)
            try:
                self._executor.start(self._report)
                cut = await self._work()
            finally:
                self._executor.close()
        if self._failure is not None:
            raise self._failure
        return cut

    def stop(self) -> None:
        """Fetch no more, finish what runs, and end; called in the loop's thread, as `hurry` is."""
        self._stop.set()
        self._freed.set()
        if self._getting is not None:
            self._getting.cancel()

    def hurry(self) -> None:
        """Do not wait for what runs."""
        self._hurry.set()

    def follow(self, plan: Plan) -> None:
        """Fetch from the sources of another plan, which is else the same; called in the loop."""
        self._plan, self._turn = plan, 0
        self.look_again()
        if self._getting is not None:
            self._getting.cancel()

    def look_again(self) -> None:
        """The appetite may have grown; called in the loop's thread."""
        self._freed.set()

    async def _work(self) -> int:
        fetch = asyncio.create_task(self._fetch())
        others = [
            asyncio.create_task(work())
            for work in (self._answer, self._renewal.run, self._watch, self._stop.wait)
        ]
        try:
            await asyncio.wait([fetch, *others], return_when=asyncio.FIRST_COMPLETED)
            for task in (fetch, *others):
                if task.done():
                    task.result()  # a bug ends the worker; it must not go on by half
            await fetch
            return await self._wind_up(others[0])
        finally:
            for task in (fetch, *others):
                task.cancel()
            await asyncio.gather(fetch, *others, return_exceptions=True)

    # Fetch

    async def _fetch(self) -> None:
        while not self._stop.is_set():
            room = self._appetite.room(self._tally.in_hand)
            if not room:
                self._tally.wanting_since = None
                self._freed.clear()
                await self._freed.wait()
                continue
            self._tally.wanting_since = self._tally.wanting_since or monotonic()
            try:
                await self._take(room)
            except RedisError as error:
                await self._in_trouble(error)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():  # else the fetch alone was cancelled
                    raise

    async def _take(self, room: int) -> None:
        """Take as many jobs as there is room for; wait for one when there are none."""
        sources = self._plan.sources
        if not self._plan.strict:
            turn = self._turn
            got = await self._get(
                (*sources[turn:], *sources[:turn]), timeout=FETCH_WAIT, count=room
            )
            self._turn = (turn + got) % len(sources)
            return
        got = 0
        self._turn += 1
        for level in self._plan.levels or [[source] for source in sources]:
            turn = self._turn % len(level)
            got += await self._get((*level[turn:], *level[:turn]), nohang=True, count=room - got)
            if got == room or self._stop.is_set():
                return
        if not got:  # of jobs in several queues, a fetch of one takes the first queue's
            await self._get(sources, timeout=FETCH_WAIT)

    async def _get(self, sources: Sequence[bytes], **options: Any) -> int:
        get = self._client.get_jobs(sources, **options)
        self._getting = asyncio.ensure_future(get)
        try:
            jobs = await self._getting
        finally:
            self._getting = None
        self._out_of_trouble()
        if jobs:
            await self._deliver(jobs, lay_here=self._was_stopped())
        return len(jobs)

    async def _deliver(self, jobs: list[AsyncReceivedJob], *, lay_here: bool) -> None:
        """Pass jobs on to the executor, but for those that were delivered too often.

        Those that may have lain here for long are looked at first: another may have them by now.
        """
        fetched, handlers = self._tally.fetched, self._plan.handlers
        self._tally.in_hand += len(jobs)
        fresh = []
        for received in jobs:
            job = WorkerJob(*received)
            job.received = received
            fetched[job.name] += 1
            handler = handlers[job.name]
            job.decode = handler.decode
            doom = job.additional_deliveries and policy.before(handler, job)
            if doom or lay_here:
                self._report(job, doom or StaleError(), 0.0)
            else:
                fresh.append(job)
        if await self._answers.starts_lease_at_delivery():
            self._renewal.hold(fresh)
        else:
            fresh = await self._confirm(fresh)
        await self._begin(fresh)

    async def _begin(self, jobs: list[WorkerJob]) -> None:
        """Have these jobs run, unless the end has begun."""
        if self._stop.is_set():
            await self.put_back(jobs)
        else:
            self._executor.submit(jobs)

    def _beat(self) -> None:
        """Notice that the loop stood still."""
        now = monotonic()
        if self._last_beat and self._is_late(now):
            self._woken = now
        self._last_beat = self._tally.last_beat = now
        self._loop.call_later(BEAT, self._beat)

    def _is_late(self, now: float) -> bool:
        return now - self._last_beat > BEAT + STOPPED

    def _was_stopped(self) -> bool:
        """Whether the process, or its whole machine, was stopped a moment ago."""
        now = monotonic()
        return self._is_late(now) or now - self._woken < BEAT

    async def _confirm(self, jobs: list[WorkerJob]) -> list[WorkerJob]:
        """Begin the leases of these jobs now; those that are still ours."""
        await self._renewal.renew(jobs)
        for job in jobs:
            if job.lost:
                self._report(job, StaleError(), 0.0)
        return [job for job in jobs if not job.lost]

    async def put_back(self, jobs: list[WorkerJob]) -> None:
        """Give jobs that were not begun back to the node at once.

        Those that may be another's by now are looked at first: ENQUEUE would have them delivered
        again.
        """
        now = monotonic()
        sure = []
        for job in jobs:
            if job.safe_until <= now:
                self._report(job, StaleError(), 0.0)
                continue
            sure.append(job)
            job.done = True
            self._tally.returned[job.name] += 1
        self._tally.in_hand -= len(sure)
        self._freed.set()
        await self._renewal.quiet(sure)
        await self._client.put_back([job.received for job in sure])

    async def _in_trouble(self, error: RedisError) -> None:
        never = self._tally.last_fetch is None
        if never and isinstance(error.__cause__ or error, (NoAuthError, AuthenticationError)):
            raise error
        if self._trouble_since is None:  # said once, not with every try
            self._trouble_since = monotonic()
            logger.warning("cannot fetch jobs, and go on trying: %s", shown(str(error)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), PAUSE * (1 + random()))

    def _out_of_trouble(self) -> None:
        now = self._tally.last_fetch = monotonic()
        if self._trouble_since is not None:
            logger.warning("fetching jobs again, after %.1f s", now - self._trouble_since)
            self._trouble_since = None

    # Answer

    def _report(self, job: WorkerJob, outcome: Any, seconds: float) -> None:
        """Take how a job ended; called in whichever thread it ran."""
        self._ended.append((job, outcome, seconds))
        if not self._told:
            self._told = True
            with contextlib.suppress(RuntimeError):  # the job was cut short, and all is over
                self._loop.call_soon_threadsafe(self._ready.set)

    async def _answer(self) -> None:
        """Tell the node how jobs ended: all that ended while the last answer was on its way."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            done, others = self._take_ended()
            self._freed.set()
            await self._answers.done(done)
            if others:
                await self._renewal.quiet(job for job, _ in others)
            again = await self._answers.others(others)
            if again:
                self._tally.in_hand += len(again)
                await self._begin(await self._confirm(again))
            if self._finishing and not self._tally.in_hand and not self._ended:
                return

    def _take_ended(self) -> tuple[list[WorkerJob], list[tuple[WorkerJob, Any]]]:
        self._told = False
        ended, done, others, total = self._ended, [], [], 0.0
        while ended:
            job, outcome, seconds = ended.popleft()
            if job.done:  # put back or cut short meanwhile
                continue
            job.done = True
            if outcome is None:
                done.append(job)
                total += seconds
            else:
                others.append((job, outcome))
        if done:
            self._appetite.took(total, len(done))
        self._tally.in_hand -= len(done) + len(others)
        self._finished += len(done) + len(others)
        return done, others

    # Watch

    async def _watch(self) -> None:
        """Put back what was fetched ahead when jobs turn out to take longer than they did.

        If the executor has failed, end the worker: nobody would finish its jobs, whose leases
        would be renewed for ever.
        """
        while True:
            before = self._finished
            await asyncio.sleep(LONGEST_WAIT)
            if (error := self._executor.failure()) is not None:
                self._end_for(error)
                return
            waiting = self._tally.in_hand - self._plan.concurrency
            finished = self._finished - before
            if waiting > finished and not self._stop.is_set():
                self._appetite.spoilt(self._plan.concurrency * LONGEST_WAIT / max(finished, 1))
                jobs = self._executor.take_back()
                logger.info("%d jobs go back: those before them take long", len(jobs))
                await self.put_back(jobs)

    def _end_for(self, error: BaseException) -> None:
        reason = f"the executor failed: {policy.text_of(error)}"
        self._tally.failure = reason
        self._failure = ExecutorError(reason)
        logger.critical(
            "%s; the worker ends, and gives back %d jobs\n%s",
            reason, self._tally.in_hand, logged_trace(error),
        )  # fmt: skip
        self.stop()
        self.hurry()

    # Stop

    async def _wind_up(self, answer: asyncio.Task[Any]) -> int:
        """Put back what was not begun, wait for what runs, and cut short what takes too long."""
        await self.put_back(self._executor.take_back())
        self._finishing = True
        self._ready.set()
        hurry = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait(
            [answer, hurry], timeout=self._plan.grace, return_when=asyncio.FIRST_COMPLETED
        )
        hurry.cancel()
        cut = self._give_up_running()
        if cut:
            await self._loop.run_in_executor(None, self._executor.cut_short)
            await self._renewal.quiet(cut)
            await self._answers.cut_short(cut)
        self._ready.set()
        _, unanswered = await asyncio.wait([answer], timeout=LAST_ANSWERS)
        if unanswered:
            logger.warning("some jobs are done that no node could be told of; they come again")
        return len(cut)

    def _give_up_running(self) -> list[WorkerJob]:
        cut = [job for job in self._executor.running() if not job.done]
        for job in cut:
            job.done = True
            self._tally.cut_short[job.name] += 1
        self._tally.in_hand -= len(cut)
        return cut


def _hasty(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options for renewals: on a dead wire one is sent again while there is a lease.

    Connecting may take as long as ever; WORKING takes a node no time.
    """
    timeout = options.get("socket_timeout", DEFAULT_TIMEOUT)
    return {
        "socket_connect_timeout": timeout,
        **options,
        "deadline": SHORTEST,
        "socket_timeout": min(timeout or SHORTEST, SHORTEST / 2),
    }
