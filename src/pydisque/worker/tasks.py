"""Jobs as tasks of an asyncio loop, which has a thread of its own.

What the handlers do to their loop, such as blocking it, holds up other handlers but not the leases.
Handlers that are no coroutines run in threads beside it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from time import monotonic
from typing import Any

import uvloop

from pydisque.worker.executor import Report, StaleError
from pydisque.worker.handler import Handler
from pydisque.worker.hooks import Course
from pydisque.worker.job import WorkerJob

# Seconds that cancelled handlers get to clean up.
LAST_WORDS = 1.0


class Tasks:
    """At most so many tasks at a time; the other jobs wait in line."""

    def __init__(self, course: Course, concurrency: int) -> None:
        self._course = course
        self._concurrency = concurrency
        self._waiting: deque[WorkerJob] = deque()
        self._running: dict[WorkerJob, asyncio.Task[None]] = {}
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="pydisque-jobs", daemon=True)
        self._over = threading.Event()
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
        self._loop.call_soon_threadsafe(self._begin)

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
        self._loop.call_soon_threadsafe(self._cancel, job)

    def running(self) -> list[WorkerJob]:
        """What there are tasks for."""
        return list(self._running)

    def cut_short(self) -> None:
        """Cancel all tasks, and give them a moment."""
        self._loop.call_soon_threadsafe(self._cancel_all)
        self._over.wait(LAST_WORDS)

    def close(self) -> None:
        """End the loop and its thread, unless a handler blocks it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LAST_WORDS)

    # In the loop

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        if self._sync is not None:
            self._sync.shutdown(wait=False)
        self._loop.close()

    def _begin(self) -> None:
        while len(self._running) < self._concurrency:
            try:
                job = self._waiting.popleft()
            except IndexError:
                return
            if job.safe_until < monotonic():
                self._report(job, StaleError(), 0.0)
            else:
                run = self._run(job)  # in a context of its own: what a handler sets is its own
                self._running[job] = self._loop.create_task(run, context=self._context.copy())

    async def _run(self, job: WorkerJob) -> None:
        error, seconds = await self._course.run_async(job, self._call)
        del self._running[job]
        self._report(job, error, seconds)
        self._begin()

    async def _call(self, handler: Handler, job: WorkerJob) -> Any:
        async with asyncio.timeout(handler.timeout):
            if handler.is_async:
                return await handler.function(job)
            run = copy_context().run  # what hooks have set, such as the current trace
            return await self._loop.run_in_executor(self._sync, run, handler.function, job)

    def _cancel(self, job: WorkerJob) -> None:
        task = self._running.get(job)
        if task is not None:
            task.cancel()

    def _cancel_all(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        gathered = asyncio.gather(*tasks, return_exceptions=True)
        gathered.add_done_callback(lambda _: self._over.set())
