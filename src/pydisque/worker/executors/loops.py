"""Event loops that a job cannot end.

asyncio lets `SystemExit` and `KeyboardInterrupt` of a sub-task or a callback end the whole loop.
Here they fail the job in whose context they were raised, and the loop goes on. `JobLoop` is such a
loop for one thread at a time, which runs while what a handler returned is awaited in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

import uvloop

from pydisque.worker.handlers import forks
from pydisque.worker.handlers.return_values import awaitable_of, awaited

logger = logging.getLogger("pydisque.worker")

ENDS_LOOP = (SystemExit, KeyboardInterrupt)

# Seconds that tasks get to clean up when their loop is closed.
LAST_WORDS = 1.0


class Scope:
    """One job in a loop: the task that runs it, and what else in its context has failed it."""

    __slots__ = ("error", "scheduled", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.error: BaseException | None = None
        self.scheduled = False
        """Whether its context has scheduled a callback, which may not have run yet."""

    def fail(self, error: BaseException) -> None:
        """Make this the job's outcome and cancel its task; too late for a job that has ended."""
        if self.task.done():
            logger.error("a callback of a job that had ended raised %s", type(error).__name__)
        else:
            self.error = self.error or error
            self.task.cancel()


scope: ContextVar[Scope | None] = ContextVar("pydisque_job", default=None)
"""The scope of the job in whose context this runs."""


def _contained(callback: Callable[..., Any], *args: Any) -> None:
    """Call a callback; called in the context in which it was scheduled."""
    try:
        callback(*args)
    except ENDS_LOOP as error:
        escaped(error, scope.get())


def escaped(error: BaseException, job: Scope | None) -> None:
    """Fail the job in whose context this was raised, if there is one."""
    if job is not None:
        job.fail(error)
    else:
        logger.error("a callback of no job raised %s, and is ignored", type(error).__name__)


class ContainedLoop(uvloop.Loop):
    """A loop in which callbacks end at most their job.

    Transports call protocols without a callback of the loop; what those raise ends `run_forever`,
    which is to be called again.
    """

    # Called for every step of every task, so they are written for speed.

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        job = scope.get()
        if job is not None:
            job.scheduled = True
        return _call_soon(self, _contained, callback, *args, context=context)

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return super().call_soon_threadsafe(_contained, callback, *args, context=context)

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return super().call_later(delay, _contained, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        return super().call_at(when, _contained, callback, *args, context=context)

    def add_reader(self, fileobj: Any, callback: Any, *args: Any) -> None:  # type: ignore[override]
        super().add_reader(fileobj, _contained, callback, *args)

    def add_writer(self, fileobj: Any, callback: Any, *args: Any) -> None:  # type: ignore[override]
        super().add_writer(fileobj, _contained, callback, *args)


_call_soon = uvloop.Loop.call_soon


class ContainedPool(ThreadPoolExecutor):
    """Threads whose functions may raise `StopIteration`.

    A future of asyncio cannot take it: up to Python 3.12.1 whatever awaits one waits for ever.
    """

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(_without_stop, function, *args, **kwargs)


def _without_stop(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except StopIteration as error:
        raise RuntimeError("a function in a thread raised StopIteration") from error


def new_loop() -> ContainedLoop:
    """A loop whose default executor is contained as well."""
    loop = ContainedLoop()
    loop.set_default_executor(ContainedPool(thread_name_prefix="asyncio"))
    return loop


class JobLoop:
    """A loop that runs while a result is awaited, and keeps what is bound to it in between."""

    def __init__(self) -> None:
        self._loop: ContainedLoop | None = None

    def finish(self, result: Any, timeout: float | None = None) -> None:
        """Await what a handler returned, if that can be awaited.

        Raises:
            TypeError: It is a generator.
            TimeoutError: It took longer than so many seconds.
        """
        pending = awaitable_of(result)
        if pending is None:
            return
        loop = self._loop = self._loop or new_loop()
        context = copy_context()  # what hooks have set, such as the current trace
        task = loop.create_task(_outcome(pending, timeout), context=context)
        job = Scope(task)
        context.run(scope.set, job)
        task.add_done_callback(lambda _: loop.stop())
        while not task.done():  # a handler may have stopped the loop before
            try:
                loop.run_forever()
            except ENDS_LOOP as error:
                job.fail(error)
        outcome = job.error or task.result()
        if outcome is not None:
            raise outcome

    def close(self) -> None:
        """Cancel what is left in the loop, and close it."""
        loop, self._loop = self._loop, None
        if loop is not None:
            wind_up(loop)


async def _outcome(pending: Any, seconds: float | None) -> BaseException | None:
    """What was raised while this was awaited."""
    generation = forks.generation
    error: BaseException | None = None
    try:
        async with asyncio.timeout(seconds):
            await awaited(pending)
            await turn(scope.get())
    except BaseException as raised:  # noqa: BLE001 - whatever it is, it is the job's
        error = raised
    if forks.generation != generation:
        forks.end_child(error)
    return error


async def turn(job: Scope | None) -> None:
    """Let callbacks run that a job has scheduled: what they raise is still its outcome."""
    if job is not None and job.scheduled:
        await asyncio.sleep(0)


def wind_up(loop: ContainedLoop) -> None:
    """Cancel the tasks of a loop that no longer runs, give them a moment, and close it."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    with contextlib.suppress(Exception, *ENDS_LOOP):
        loop.run_until_complete(_ended(loop, left))
    loop.close()


async def _ended(loop: ContainedLoop, tasks: set[asyncio.Task[Any]]) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=LAST_WORDS)
    async with asyncio.timeout(LAST_WORDS):
        await loop.shutdown_asyncgens()


_local = threading.local()


def here() -> JobLoop:
    """The loop of this thread."""
    loop: JobLoop | None = getattr(_local, "loop", None)
    if loop is None:
        loop = _local.loop = JobLoop()
    return loop
