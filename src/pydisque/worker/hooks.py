"""What is called around every job: for logs, traces and figures, and whatever an app needs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from pydisque.worker.handler import Dead, Drop, Handler, Retry
from pydisque.worker.job import WorkerJob

if TYPE_CHECKING:
    from pydisque.worker.worker import Worker

logger = logging.getLogger("pydisque.worker")


class Hook:
    """The base of hooks: a class of your own overrides what it needs.

    A hook is called where the handler runs: in its thread, or in its task; with
    ``executor="processes"`` in the thread that waits for the process.
    """

    def start(self, worker: Worker) -> None:
        """A worker with this hook is about to begin; called where it is started, each time."""

    def before(self, job: WorkerJob) -> None:
        """A job is about to run. What this raises counts as raised by the handler."""

    def after(self, job: WorkerJob, seconds: float) -> None:
        """The handler has returned after so many seconds."""

    def error(self, job: WorkerJob, error: BaseException, seconds: float) -> None:
        """The handler has raised this after so many seconds; `Retry` and its like come here too."""


class LogHook(Hook):
    """Tells the logger ``pydisque.worker`` how jobs end; every worker has one. Never a body."""

    def after(self, job: WorkerJob, seconds: float) -> None:
        """At level DEBUG."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("job %s of %s: done in %.3f s", job.id, job.queue, seconds)

    def error(self, job: WorkerJob, error: BaseException, seconds: float) -> None:
        """What a handler asked for at level INFO, other errors with a traceback as WARNING."""
        asked = isinstance(error, (Retry, Drop, Dead))
        level, trace = (logging.INFO, None) if asked else (logging.WARNING, error)
        text = "job %s of %s, attempt %d: %s after %.3f s"
        name = type(error).__name__
        logger.log(
            level, text, job.id, job.queue, job.attempt, name, seconds, exc_info=trace
        )  # fmt: skip


class Course:
    """The way of a job through hooks and handler, the same in every executor."""

    def __init__(self, handlers: Mapping[bytes, Handler], hooks: Iterable[Hook]) -> None:
        """Take the handlers by queue, and the hooks in the order in which they are called."""
        self.handlers = handlers
        hooks = list(hooks)
        self._before = [hook.before for hook in hooks if type(hook).before is not Hook.before]
        self._after = [hook.after for hook in hooks if type(hook).after is not Hook.after]
        self._error = [hook.error for hook in hooks if type(hook).error is not Hook.error]

    def run(
        self, job: WorkerJob, call: Callable[[Handler, WorkerJob], Any] | None = None
    ) -> tuple[BaseException | None, float]:
        """Run a job to its end; what was raised, if anything, and the seconds it took.

        Args:
            job: The job.
            call: Calls the handler, where that is not done here.
        """
        error: BaseException | None = None
        begun = monotonic()
        try:
            for before in self._before:
                before(job)
            handler = self.handlers[job.name]
            if call is None:
                handler.function(job)
            else:
                call(handler, job)
        except BaseException as raised:  # noqa: BLE001 - a job that exits ends itself alone
            error = raised
        seconds = monotonic() - begun
        self._end(job, error, seconds)
        return error, seconds

    async def run_async(
        self, job: WorkerJob, call: Callable[[Handler, WorkerJob], Awaitable[Any]]
    ) -> tuple[BaseException | None, float]:
        """As `run`, for a handler that is awaited."""
        error: BaseException | None = None
        begun = monotonic()
        try:
            for before in self._before:
                before(job)
            await call(self.handlers[job.name], job)
        except BaseException as raised:  # noqa: BLE001
            error = raised
        seconds = monotonic() - begun
        self._end(job, error, seconds)
        return error, seconds

    def _end(self, job: WorkerJob, error: BaseException | None, seconds: float) -> None:
        """Call what comes after; a hook that fails is told of, and has no say."""
        hooks: Sequence[Callable[..., None]] = self._after
        arguments: tuple[Any, ...] = (job, seconds)
        if error is not None:
            hooks, arguments = self._error, (job, error, seconds)
        for hook in hooks:
            try:
                hook(*arguments)
            except Exception:
                logger.exception("a hook failed after job %s", job.id)
