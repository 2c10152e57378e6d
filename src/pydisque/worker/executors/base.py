"""Where jobs run: what every executor can do. `threads`, `tasks` and `processes` are the three.

The worker's core hands jobs over and is told of each how it ended. Whatever a handler or hook
raises is a job's outcome; an executor that fails itself says so by `failure`. Executors know no
node and no lease; of a job they look only at whether it may still be begun.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pydisque.worker.handlers.job import WorkerJob
from pydisque.worker.handlers.policy import Verdict

Report = Callable[[WorkerJob, BaseException | Verdict | None, float], None]
"""Called from any thread, once for each job that was handed over and not taken back: what was
raised, if anything, or what becomes of the job for that, and how many seconds the job ran."""


class ExecutorError(Exception):
    """An executor can run no more jobs, and so its worker ends."""


class StaleError(Exception):
    """A job was not begun, as another worker may have it by now."""


class Executor(Protocol):
    """What the core asks of an executor; called from the core's thread."""

    def start(self, report: Report) -> None:
        """Get ready."""

    def submit(self, jobs: list[WorkerJob]) -> None:
        """Run these jobs as soon as there is room, in this order."""

    def take_back(self) -> list[WorkerJob]:
        """The jobs not yet begun, which will not be."""
        ...

    def lose(self, job: WorkerJob) -> None:
        """The lease of a running job is lost; let the job know, if it can be told."""

    def running(self) -> list[WorkerJob]:
        """The jobs that run now."""
        ...

    def failure(self) -> BaseException | None:
        """Why it cannot run as many jobs as it should; None: it can. Asked for every second."""

    def cut_short(self) -> None:
        """End what runs, where that is possible; called in any thread, and may take a moment."""

    def close(self) -> None:
        """Let go of threads and processes; nothing runs, or it was cut short."""
