"""What is called around every job: for logs, traces and figures, and whatever an app needs."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from random import random
from time import monotonic
from typing import Any, Protocol

from pydisque.monitoring.text import shown, shown_lines
from pydisque.worker.handlers import forks, policy
from pydisque.worker.handlers.handler import Backoff, Dead, Drop, Handler, Retry
from pydisque.worker.handlers.job import WorkerJob, named
from pydisque.worker.handlers.return_values import is_coroutine_function, is_generator_function
from pydisque.worker.handlers.stats import Tally

logger = logging.getLogger("pydisque.worker")


class WorkerView(Protocol):
    """What a hook may use of its worker."""

    hooks: list[Hook]
    concurrency: int
    tally: Tally

    @property
    @abstractmethod
    def stopping(self) -> bool:
        """Whether the worker was asked to stop."""

    @abstractmethod
    def course(self) -> Course:
        """Hooks and handlers of its jobs."""


class Hook:
    """The base of hooks: a class of your own overrides what it needs.

    A hook is called where the handler runs: in its thread, or in its task; with
    ``executor="processes"`` in the thread that waits for the process. What a hook raises is an
    outcome of its job, as what the handler raises: the job has failed.
    """

    def start(self, worker: WorkerView) -> None:
        """A worker with this hook is about to begin; called where it is started, each time.

        What this raises is raised there, and the worker does not start.
        """

    def before(self, job: WorkerJob) -> None:
        """A job is about to run. What this raises counts as raised by the handler."""

    def after(self, job: WorkerJob, seconds: float) -> None:
        """The handler has returned after so many seconds.

        If this raises, the job has failed, and is run again.
        """

    def error(self, job: WorkerJob, error: BaseException, seconds: float) -> None:
        """The handler has raised this after so many seconds; `Retry` and its like come here too.

        What this raises is logged; a job that was to be dropped has failed then.
        """


class LogHook(Hook):
    """Tells the logger ``pydisque.worker`` how jobs end; every worker has one. Never a body."""

    def after(self, job: WorkerJob, seconds: float) -> None:
        """At level DEBUG."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s: done in %.3f s", named(job), seconds)

    def error(self, job: WorkerJob, error: BaseException, seconds: float) -> None:
        """What a handler asked for at level INFO, other errors with a traceback as WARNING."""
        asked = isinstance(error, (Retry, Drop, Dead))
        level = logging.INFO if asked else logging.WARNING
        if not logger.isEnabledFor(level):
            return
        text = "%s, attempt %d: %s after %.3f s"
        args = (named(job), job.attempt, shown(policy.kind_of(error)), seconds)
        record = logger.makeRecord(logger.name, level, __file__, 0, text, args, None)
        if not asked:
            record.exc_info = type(error), error, error.__traceback__
            record.exc_text = logged_trace(error)
        logger.handle(record)


def logged_trace(error: BaseException) -> str:
    """A traceback for the log: no line of a job's text can look like a line of the log."""
    return "\n".join(f"  {line}" for line in shown_lines(policy.trace_of(error)).splitlines())


def judged(handler: Handler, job: WorkerJob, error: BaseException, jitter: float) -> policy.Verdict:
    """What becomes of a job for this error; where its backoff fails, the usual one counts.

    An exception and a backoff may be the app's own code, which may raise or block.
    """
    try:
        return policy.after(handler, job, error, jitter)
    except BaseException as failure:  # noqa: BLE001
        text = "%s: its backoff failed, so the usual one counts: %s"
        logger.error(text, named(job), policy.text_of(failure))  # noqa: TRY400
    if isinstance(error, Retry):
        error = Retry()
    return policy.after(replace(handler, backoff=Backoff()), job, error, jitter)


class Course:
    """The way of a job through hooks and handler, the same in every executor.

    Whatever is raised on it is its outcome. A forked child of the job ends here.
    """

    def __init__(self, handlers: Mapping[bytes, Handler], hooks: Iterable[Hook]) -> None:
        """Take the handlers by queue, and the hooks in the order in which they are called.

        Raises:
            TypeError: A hook is a coroutine or generator function, which nothing would run.
        """
        self.handlers = handlers
        hooks = list(hooks)
        self._before = [hook.before for hook in hooks if type(hook).before is not Hook.before]
        self._after = [hook.after for hook in hooks if type(hook).after is not Hook.after]
        self._error = [hook.error for hook in hooks if type(hook).error is not Hook.error]
        for function in (*self._before, *self._after, *self._error):
            if is_coroutine_function(function) or is_generator_function(function):
                raise TypeError(f"a hook must be a plain function, which {function!r} is not")

    def run(
        self, job: WorkerJob, call: Callable[[Handler, WorkerJob], Any] | None = None
    ) -> tuple[BaseException | None, float]:
        """Run a job to its end; what was raised, if anything, and the seconds it took.

        Args:
            job: The job.
            call: Calls the handler, where that is not done here.
        """
        error: BaseException | None = None
        generation = forks.generation
        begun = monotonic()
        try:
            for before in self._before:
                before(job)
            handler = self.handlers[job.name]
            if call is None:
                handler.function(job)
            else:
                call(handler, job)
        except BaseException as raised:  # noqa: BLE001 - whatever it is, it is the job's
            error = raised
        if forks.generation != generation:
            forks.end_child(error)
        seconds = monotonic() - begun
        return self._end(job, error, seconds), seconds

    async def run_async(
        self,
        job: WorkerJob,
        call: Callable[[Handler, WorkerJob], Awaitable[BaseException | None]],
    ) -> tuple[BaseException | None, float]:
        """As `run`, for a handler that is awaited; the call raises or returns an error."""
        error: BaseException | None = None
        generation = forks.generation
        begun = monotonic()
        try:
            for before in self._before:
                before(job)
            error = await call(self.handlers[job.name], job)
        except BaseException as raised:  # noqa: BLE001
            error = raised
        if forks.generation != generation:
            forks.end_child(error)
        seconds = monotonic() - begun
        return self._end(job, error, seconds), seconds

    def judged(self, job: WorkerJob, error: BaseException) -> policy.Verdict:
        """What becomes of a job for this error; to be called where the handler ran."""
        return judged(self.handlers[job.name], job, error, random())

    def _end(
        self, job: WorkerJob, error: BaseException | None, seconds: float
    ) -> BaseException | None:
        """Call what comes after; the outcome, as hooks that fail have a say."""
        hooks: Sequence[Callable[..., None]] = self._after
        arguments: tuple[Any, ...] = (job, seconds)
        if error is not None:
            hooks, arguments = self._error, (job, error, seconds)
        for hook in hooks:
            try:
                hook(*arguments)
            except BaseException as failure:  # noqa: BLE001
                logger.error(  # noqa: TRY400 - the traceback is made harmless
                    "a hook failed after %s: %s\n%s",
                    named(job), policy.text_of(failure), logged_trace(failure),
                )  # fmt: skip
                if error is None or isinstance(error, Drop):
                    error = failure
        return error
