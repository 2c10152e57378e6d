"""What becomes of a job after a delivery: decided here, done elsewhere.

The limits are held against the server's own counters, which outlive every worker: its nacks are
the failures that a worker lived to tell, its additional deliveries those that none answered for.
Exceptions are objects of the app: reading one never raises, and what is kept of it is bounded.
"""

from __future__ import annotations

import traceback
from math import ceil
from typing import Any, NamedTuple

from pydisque.monitoring.text import shown
from pydisque.worker.handlers.handler import Dead, Drop, Handler, Retry
from pydisque.worker.handlers.job import WorkerJob

# Characters that are kept of an exception's text and of its traceback: a head and a tail.
LONGEST_TEXT = 4096
LONGEST_TRACEBACK = 16384

# Seconds of the longest pause, which is longer than any job lives.
LONGEST_PAUSE = 2**31


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
    """What becomes of a job that was run; jitter is a random number from 0 to 1.

    Raises what a backoff of the app raises, and for a pause that is no number.
    """
    if error is None:
        return Ack()
    if isinstance(error, Drop):
        return Ack(dropped=True)
    if job.lost:
        return Leave()
    if isinstance(error, Dead):
        return Bury(said_by(error), trace_of(error))
    failures = job.nacks + 1
    if job.at_most_once:
        return Bury(f"{text_of(error)}, and at most one delivery was asked for", trace_of(error))
    if handler.max_attempts is not None and failures >= handler.max_attempts:
        return Bury(text_of(error), trace_of(error))
    wanted = error.in_seconds if isinstance(error, Retry) else None
    pause = handler.backoff.pause(failures, jitter) if wanted is None else wanted
    return Again(whole_seconds(pause), error)


def whole_seconds(pause: Any) -> int:
    """A pause as a node takes it, at most `LONGEST_PAUSE`; raises for what is no number."""
    seconds: int = ceil(min(max(pause, 0), LONGEST_PAUSE))
    return seconds


def text_of(error: BaseException) -> str:
    """An error in one line: its class and what it says."""
    if isinstance(error, RemoteError):
        return error.text
    text = said_by(error)
    if isinstance(error, Retry):
        return text
    kind = shown(kind_of(error).removeprefix("__main__."))
    return f"{kind}: {text}" if text else kind


def said_by(error: BaseException) -> str:
    """What an error says, in one line, without its class."""
    try:
        text = str(error)
    except BaseException as failure:  # noqa: BLE001 - it is the app's
        text = f"(its text cannot be read: {type(failure).__name__})"
    return cut(shown(cut(text, LONGEST_TEXT)), LONGEST_TEXT)


def trace_of(error: BaseException) -> str:
    """An error's traceback."""
    if isinstance(error, RemoteError):
        return error.trace[-LONGEST_TRACEBACK:]  # cut where it was made
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException as failure:  # noqa: BLE001 - it is the app's
        text = f"(its traceback cannot be read: {type(failure).__name__})"
    return cut(text, LONGEST_TRACEBACK)


def cut(text: str, longest: int) -> str:
    """The text, or its head and tail and how much was cut between them, not longer than this."""
    if len(text) <= longest:
        return text
    room = longest - 64
    tail = room // 2
    return f"{text[: room - tail]} […{len(text) - room} characters cut…] {text[len(text) - tail :]}"
