"""Jobs in threads of this process: for handlers that wait, and for those that are short.

A thread cannot be stopped from outside, so a job that is cut short runs on in the background until
it ends, or the process does. What a handler returns is awaited in a loop of its thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from pydisque.worker.executors.base import Report, StaleError
from pydisque.worker.executors.loops import here
from pydisque.worker.handlers.handler import Handler
from pydisque.worker.handlers.hooks import Course
from pydisque.worker.handlers.job import WorkerJob


class Threads:
    """So many threads that take jobs from one line."""

    def __init__(self, course: Course, concurrency: int) -> None:
        self._course = course
        self._concurrency = concurrency
        self._waiting: SimpleQueue[WorkerJob | None] = SimpleQueue()
        self._next_job: Callable[[], WorkerJob | None] = self._waiting.get
        self._running: set[WorkerJob] = set()
        self._failure: BaseException | None = None

    def start(self, report: Report) -> None:
        """Start the threads; they are daemons, so that a job without end holds up no exit."""
        for number in range(self._concurrency):
            threading.Thread(
                target=self._work, args=(report,), name=f"pydisque-job-{number}", daemon=True
            ).start()

    def submit(self, jobs: list[WorkerJob]) -> None:
        """Put jobs at the end of the line."""
        for job in jobs:
            self._waiting.put(job)

    def take_back(self) -> list[WorkerJob]:
        """Empty the line."""
        jobs: list[WorkerJob] = []
        try:
            while True:
                job = self._waiting.get_nowait()
                if job is not None:
                    jobs.append(job)
        except Empty:
            return jobs

    def lose(self, job: WorkerJob) -> None:
        """The job itself looks at ``job.lease_lost``."""

    def running(self) -> list[WorkerJob]:
        """What the threads are at."""
        return list(self._running)

    def failure(self) -> BaseException | None:
        """What has ended a thread."""
        return self._failure

    def cut_short(self) -> None:
        """A thread cannot be ended."""

    def close(self) -> None:
        """Each thread ends when its job does."""
        for _ in range(self._concurrency):
            self._waiting.put(None)

    def _work(self, report: Report) -> None:
        try:
            self._take_jobs(report)
        except BaseException as error:  # noqa: BLE001 - no job's: those are reported
            self._failure = error
        finally:
            here().close()

    def _take_jobs(self, report: Report) -> None:
        next_job, running, course = self._next_job, self._running, self._course
        while (job := next_job()) is not None:
            if job.safe_until < monotonic():
                report(job, StaleError(), 0.0)
                continue
            running.add(job)
            error, seconds = course.run(job, self._call)
            outcome = None if error is None else course.judged(job, error)
            running.discard(job)
            report(job, outcome, seconds)

    def _call(self, handler: Handler, job: WorkerJob) -> None:
        result: Any = handler.function(job)
        if result is not None:
            here().finish(result)
