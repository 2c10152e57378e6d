"""Runs the handlers of a worker in the thread of a test, on a node whose clock the test moves."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from pydisque.client.client import Client
from pydisque.dead_letters import DeadLetter
from pydisque.testing.clock import Clock
from pydisque.worker import Dead, Drop, Retry, Worker, WorkerJob
from pydisque.worker.executors.loops import JobLoop
from pydisque.worker.handlers import policy
from pydisque.worker.handlers.handler import Handler
from pydisque.worker.handlers.hooks import Course, judged
from pydisque.worker.handlers.outcomes import settle


class Ended(NamedTuple):
    """How one delivery of a job ended."""

    job: WorkerJob
    outcome: str
    """``"done"``, ``"retried"``, ``"dead"`` or ``"dropped"``, as in ``/metrics``; ``"gone"`` if the
    job failed and the node knew it no more."""
    error: BaseException | None = None
    """What its handler raised, be it asked for as `Retry` is or not."""
    delay: int | None = None
    """Seconds until the next attempt, if there is one."""


class InlineWorker:
    """Runs a worker's handlers in the thread that asks, on a node whose time the test moves.

    ::

        clock = Clock()
        with clock.server() as server, Client(server.address) as client:
            inline = InlineWorker(worker, client, clock)
            client.add_json("emails", {"to": "ada"})
            assert [end.outcome for end in inline.run()] == ["done"]

    What becomes of a job is decided and told to the node by the same code as in a worker: hooks,
    limits, delays and dead letters are those of the worker given. Pauses before another attempt
    are the whole ones of the handler's `Backoff`, none of it left out at random. Jobs run one
    after the other whatever the executor, and only what is awaited has its timeout kept. Whatever a
    handler or hook raises is the job's outcome, as in a worker; Ctrl-C and what ends a test of
    pytest, such as ``pytest.fail``, is raised besides, once the node was told.
    """

    def __init__(
        self,
        worker: Worker | Mapping[str, Callable[[WorkerJob], Any]],
        client: Client,
        clock: Clock,
    ) -> None:
        """Take the worker, which is not started, or functions by the queues whose jobs they take.

        Args:
            worker: The worker.
            client: A client, with replies in bytes, of the node that has the jobs.
            clock: The node's clock.
        """
        self.worker = worker if isinstance(worker, Worker) else _worker_of(worker)
        self.client = client
        self.clock = clock
        self.ended: list[Ended] = []
        """How every delivery so far has ended."""
        self._loop = JobLoop()

    def add_json(self, queue: str, value: Any, **options: Any) -> bytes:
        """Add a job, see `Client.add_json`."""
        return self.client.add_json(queue, value, **options)

    def add_job(self, queue: str, body: bytes | str, **options: Any) -> bytes:
        """Add a job, see `Client.add_job`."""
        return self.client.add_job(queue, body, **options)

    def run(self, *, raise_errors: bool = False, most: int = 10_000) -> list[Ended]:
        """Run all jobs that are due, and those that handlers add; tell how they ended.

        Args:
            raise_errors: Raise what a handler raised, but for `Retry`, `Drop` and `Dead`, once the
                node was told of it. The jobs after it are left for the next run.
            most: The most jobs to run.

        Raises:
            RuntimeError: After so many jobs there are still more, or an asyncio loop runs in this
                thread.
        """
        _check_no_loop_runs()
        course = self.worker.course()
        self.worker.start_hooks()
        ended: list[Ended] = []
        while parts := self.client.get_job(list(course.handlers), nohang=True, withcounters=True):
            job = WorkerJob(*parts[0])
            job.decode = course.handlers[job.name].decode
            ended.append(self._run(course, job))
            self.ended.append(ended[-1])
            if raise_errors and (error := _unasked(ended[-1])):
                raise error
            if len(ended) >= most and any(map(self.client.qlen, course.handlers)):
                raise RuntimeError(f"after {most} jobs there are still more: does one add another?")
        return ended

    def advance(self, seconds: float) -> None:
        """Let time pass: what is due by then is in its queue, for the next `run`."""
        self.clock.advance(seconds)

    @property
    def errors(self) -> list[BaseException]:
        """What handlers have raised so far, but for `Retry`, `Drop` and `Dead`."""
        return [error for end in self.ended if (error := _unasked(end))]

    def dead(self, queue: str) -> list[DeadLetter]:
        """The dead letters of a queue, the oldest first; they stay where they are.

        Raises:
            ValueError: The queue has no handler, or one that keeps no dead letters.
        """
        handler = self.worker.handlers.get(queue)
        if handler is None or handler.dead_queue is None:
            raise ValueError(f"queue {queue!r} has no handler that keeps dead letters")
        jobs = self.client.qpeek(handler.dead_queue, max(1, self.client.qlen(handler.dead_queue)))
        letters = (DeadLetter.of_body(job.body) for job in jobs)
        return [letter for letter in letters if letter]

    def close(self) -> None:
        """Close the loop of ``async`` handlers, if there were any."""
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self, course: Course, job: WorkerJob) -> Ended:
        """Run a job unless it was delivered too often, and tell the node."""
        handler = course.handlers[job.name]
        doom = policy.before(handler, job)
        if doom:
            return self._settle(handler, job, doom, None)
        error, _ = course.run(job, self._call)
        sentence = policy.Ack() if error is None else judged(handler, job, error, 1.0)
        ended = self._settle(handler, job, sentence, error)
        if error is not None and isinstance(error, _ends_of_tests()):
            raise error  # the test is to end, by Ctrl-C or pytest.fail
        return ended

    def _call(self, handler: Handler, job: WorkerJob) -> None:
        self._loop.finish(handler.function(job), handler.timeout)

    def _settle(
        self,
        handler: Handler,
        job: WorkerJob,
        sentence: policy.Verdict,
        error: BaseException | None,
    ) -> Ended:
        settled = None
        if not isinstance(sentence, policy.Leave):
            info = None if isinstance(sentence, policy.Ack) else self.client.show(job.key)
            now = datetime.fromtimestamp(self.clock(), UTC)
            settled = settle(handler, job, sentence, info, delays=True, at=now)
        if settled is None:
            return Ended(job, "gone", error)
        if settled.command is not None:
            self.client.pipeline().queue(settled.command).execute()
        if settled.ack:
            self.client.ack_job(job.key)
        delay = None
        if isinstance(sentence, policy.Again) and settled.outcome == "retried":
            delay = sentence.delay
        return Ended(job, settled.outcome, error, delay)


def _ends_of_tests() -> tuple[type[BaseException], ...]:
    """What ends the test when a handler raises it; it is the job's failure all the same."""
    pytest = sys.modules.get("pytest")
    names = ("fail", "skip", "xfail", "exit") if pytest else ()
    return (KeyboardInterrupt, *(getattr(pytest, name).Exception for name in names))


def _unasked(end: Ended) -> BaseException | None:
    return None if isinstance(end.error, (Retry, Drop, Dead)) else end.error


def _worker_of(functions: Mapping[str, Callable[[WorkerJob], Any]]) -> Worker:
    worker = Worker()
    for queue, function in functions.items():
        worker.handler(queue)(function)
    return worker


def _check_no_loop_runs() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("an asyncio loop runs in this thread: await asyncio.to_thread(inline.run)")
