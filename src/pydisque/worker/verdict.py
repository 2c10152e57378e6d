"""What becomes of a job after a delivery: decided here, done elsewhere.

The limits are held against the server's own counters, which outlive every worker: its nacks are
the failures that a worker lived to tell, its additional deliveries those that none answered for.
"""

from __future__ import annotations

import traceback
from math import ceil
from typing import NamedTuple

from pydisque.worker.handler import Dead, Drop, Handler, Retry
from pydisque.worker.job import WorkerJob

LONGEST_TRACEBACK = 16384


class Ack(NamedTuple):
    """It is done; ``dropped`` if by giving it up."""

    dropped: bool = False


class Again(NamedTuple):
    """It failed by this error, and is to be delivered again after so many seconds."""

    delay: int
    error: BaseException


class Bury(NamedTuple):
    """It will not be tried again: it becomes a dead letter, for this reason."""

    reason: str
    traceback: str = ""


class Leave(NamedTuple):
    """It is somebody else's by now: say nothing of it."""


Verdict = Ack | Again | Bury | Leave


class DiedError(Exception):
    """The process that worked on the job ended before the job did."""


class RemoteError(Exception):
    """An error raised in another process, by its text alone."""

    def __init__(self, text: str, trace: str) -> None:
        """Take the error's class and text, and its traceback."""
        super().__init__(text, trace)
        self.text = text
        self.trace = trace

    def __str__(self) -> str:
        return self.text


def kind_of(error: BaseException) -> str:
    """The name of an error's class, also of one of another process."""
    if isinstance(error, RemoteError):
        return error.text.partition(":")[0]
    kind = type(error)
    prefix = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{prefix}{kind.__qualname__}"


def before(handler: Handler, job: WorkerJob) -> Bury | None:
    """Why a job that was just delivered is not to be run at all, if so."""
    limit = handler.max_additional_deliveries
    if limit is not None and job.additional_deliveries > limit:
        return Bury(
            f"delivered {job.additional_deliveries} times without an answer, where "
            f"max_additional_deliveries is {limit}: it may have ended its workers"
        )
    return None


def after(handler: Handler, job: WorkerJob, error: BaseException | None, jitter: float) -> Verdict:
    """What becomes of a job that was run; jitter is a random number from 0 to 1."""
    if error is None:
        return Ack()
    if isinstance(error, Drop):
        return Ack(dropped=True)
    if job.lost:
        return Leave()
    if isinstance(error, Dead):
        return Bury(str(error), trace_of(error))
    failures = job.nacks + 1
    if job.at_most_once:
        return Bury(f"{text_of(error)}, and at most one delivery was asked for", trace_of(error))
    if handler.max_attempts is not None and failures >= handler.max_attempts:
        return Bury(text_of(error), trace_of(error))
    wanted = error.in_seconds if isinstance(error, Retry) else None
    pause = handler.backoff.pause(failures, jitter) if wanted is None else wanted
    return Again(ceil(pause), error)


def text_of(error: BaseException) -> str:
    """An error in one line: its class and what it says."""
    if isinstance(error, (RemoteError, Retry)):
        return str(error)
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def trace_of(error: BaseException) -> str:
    """An error's traceback; of a very long one its end."""
    text = error.trace if isinstance(error, RemoteError) else _formatted(error)
    return text[-LONGEST_TRACEBACK:]


def _formatted(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
