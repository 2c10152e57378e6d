"""Jobs as tasks of an asyncio loop, which has a thread of its own.

What the handlers do to their loop, such as blocking it, holds up other handlers but not the leases,
and nothing that they raise ends it. Handlers that are no coroutines run in threads beside it; what
they return is awaited in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from time import monotonic
from typing import Any, cast

from pydisque.worker.executors.base import Report, StaleError
from pydisque.worker.executors.loops import (
    ENDS_LOOP,
    LAST_WORDS,
    Scope,
    escaped,
    new_loop,
    scope,
    turn,
)
from pydisque.worker.executors.loops import wind_up as wind_up_loop
from pydisque.worker.handlers import forks
from pydisque.worker.handlers.handler import Handler
from pydisque.worker.handlers.hooks import Course
from pydisque.worker.handlers.job import WorkerJob
from pydisque.worker.handlers.return_values import awaited


class Tasks:
    """At most so many tasks at a time; the other jobs wait in line."""

    def __init__(self, course: Course, concurrency: int) -> None:
        self._course = course
        self._concurrency = concurrency
        self._waiting: deque[WorkerJob] = deque()
        self._running: dict[WorkerJob, Scope] = {}
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._work, name="pydisque-jobs", daemon=True)
        self._over = threading.Event()
        self._closing = False
        self._failure: BaseException | None = None
        self._context = copy_context()
        self._sync: ThreadPoolExecutor | None = None
        if not all(handler.is_async for handler in course.handlers.values()):
            self._sync = ThreadPoolExecutor(concurrency, "pydisque-job")

    def start(self, report: Report) -> None:
        """Start the loop."""
        self._report = report
        self._thread.start()

    def submit(self, jobs: list[WorkerJob]) -> None:
        """Put jobs at the end of the line."""
        self._waiting.extend(jobs)
        self._in_loop(self._begin)

    def take_back(self) -> list[WorkerJob]:
        """Empty the line; the loop may be taking from it at the same time."""
        jobs: list[WorkerJob] = []
        try:
            while True:
                jobs.append(self._waiting.popleft())
        except IndexError:
            return jobs

    def lose(self, job: WorkerJob) -> None:
        """Cancel the job's task."""
        self._in_loop(self._cancel, job)

    def running(self) -> list[WorkerJob]:
        """What there are tasks for."""
        return list(self._running)

    def failure(self) -> BaseException | None:
        """What has ended the loop."""
        if any(running.task.done() for running in list(self._running.values())):
            self._in_loop(self._sweep)
        return self._failure

    def cut_short(self) -> None:
        """Cancel all tasks, and give them a moment."""
        self._in_loop(self._cancel_all)
        self._over.wait(LAST_WORDS)

    def close(self) -> None:
        """End the loop and its thread, unless a handler blocks it."""
        self._closing = True
        self._in_loop(self._loop.stop)
        self._thread.join(LAST_WORDS)

    def _in_loop(self, function: Callable[..., object], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # it has failed, and is closed
            self._loop.call_soon_threadsafe(function, *args)

    # In the loop

    def _work(self) -> None:
        try:
            asyncio.set_event_loop(self._loop)
            while not self._closing and self._failure is None:  # a handler may stop the loop
                self._run_loop()
        except BaseException as error:  # noqa: BLE001 - no job's: those are reported
            self._failure = error
        finally:
            self._concurrency = 0  # nothing more begins
            self._over.set()
            if self._sync is not None:
                self._sync.shutdown(wait=False)
            wind_up_loop(self._loop)

    def _run_loop(self) -> None:
        try:
            self._loop.run_forever()
        except ENDS_LOOP as error:  # of a protocol, whose job is known if there is but one
            scopes = list(self._running.values())
            escaped(error, scopes[0] if len(scopes) == 1 else None)

    def _fail(self, error: BaseException) -> None:
        """End the loop: a job may have begun or ended by half."""
        self._failure = error
        self._loop.stop()

    def _begin(self) -> None:
        try:
            self._begin_jobs()
        except BaseException as error:  # noqa: BLE001 - no job's
            self._fail(error)

    def _begin_jobs(self) -> None:
        while len(self._running) < self._concurrency:
            try:
                job = self._waiting.popleft()
            except IndexError:
                return
            if job.safe_until < monotonic():
                self._report(job, StaleError(), 0.0)
                continue
            context = self._context.copy()  # what a handler sets is its own
            task = asyncio.Task(self._run(job), loop=self._loop, context=context)
            self._running[job] = running = Scope(task)
            context.run(scope.set, running)

    async def _run(self, job: WorkerJob) -> None:
        error: BaseException | None
        try:
            error, seconds = await self._course.run_async(job, self._call)
        except BaseException as raised:  # noqa: BLE001 - a GeneratorExit that a future was given
            error, seconds = raised, 0.0  # closes all coroutines within, and is raised here
        self._end(job, error, seconds)
        self._begin()

    def _end(self, job: WorkerJob, error: BaseException | None, seconds: float) -> None:
        try:
            outcome = None if error is None else self._course.judged(job, error)
            del self._running[job]
            self._report(job, outcome, seconds)
        except BaseException as failure:  # noqa: BLE001 - no job's
            self._fail(failure)

    def _sweep(self) -> None:
        """End the jobs whose tasks ended without them: cancelled before they began."""
        for job, running in list(self._running.items()):
            if running.task.done():
                cancelled = running.task.cancelled()
                error = asyncio.CancelledError() if cancelled else running.task.exception()
                self._end(job, error, 0.0)
        self._begin()

    async def _call(self, handler: Handler, job: WorkerJob) -> BaseException | None:
        if handler.timeout is None:
            return await self._do(handler, job)
        async with asyncio.timeout(handler.timeout):
            return await self._do(handler, job)

    async def _do(self, handler: Handler, job: WorkerJob) -> BaseException | None:
        """Do a job; an error that a coroutine cannot raise, or that a callback has, is returned."""
        running = self._running[job]
        error: BaseException | None = None
        try:
            if handler.is_async:
                result = await handler.function(job)
            else:
                run = copy_context().run  # what hooks have set, such as the current trace
                called = self._loop.run_in_executor(self._sync, run, _called, handler.function, job)
                result, error = cast("tuple[Any, BaseException | None]", await called)
            if result is not None:
                await awaited(result)
            if running.scheduled:
                await turn(running)
        except asyncio.CancelledError:
            if running.error is None:
                raise
        return running.error or error

    def _cancel(self, job: WorkerJob) -> None:
        running = self._running.get(job)
        if running is not None:
            running.task.cancel()

    def _cancel_all(self) -> None:
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        gathered = asyncio.gather(*tasks, return_exceptions=True)
        gathered.add_done_callback(lambda _: self._over.set())


def _called(
    function: Callable[[WorkerJob], Any], job: WorkerJob
) -> tuple[Any, BaseException | None]:
    """Call a function in its thread; a future of asyncio could not take every exception."""
    generation = forks.generation
    result: Any = None
    error: BaseException | None = None
    try:
        result = function(job)
    except BaseException as raised:  # noqa: BLE001
        error = raised
    if forks.generation != generation:
        forks.end_child(error)
    return result, error
