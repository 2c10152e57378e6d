"""What a node is told when a job is over: the commands that carry out a verdict.

Whoever sends them, from an event loop or a test's own thread, does the same for the same verdict.
Nothing here sends anything or looks at a clock.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from pydisque.dead_letters import DeadLetter
from pydisque.protocol import commands
from pydisque.protocol.command import Command
from pydisque.protocol.envelope import EARLIER, wrap
from pydisque.protocol.replies import JobInfo
from pydisque.worker.handlers.handler import Handler
from pydisque.worker.handlers.job import MOST_ATTEMPTS, WorkerJob
from pydisque.worker.handlers.policy import Ack, Again, Bury, text_of, trace_of


class Settlement(NamedTuple):
    """What to send for a job: the command, if there is one, and once that is done an ACKJOB."""

    outcome: str
    """What it amounts to, of `tally.OUTCOMES`."""
    command: Command[Any] | None = None
    ack: bool = True
    reason: str = ""
    """Why it was given up, if it was."""


def settle(
    handler: Handler,
    job: WorkerJob,
    verdict: Ack | Again | Bury,
    info: JobInfo | None,
    *,
    delays: bool,
    at: datetime,
) -> Settlement | None:
    """What to send for a job; None if the node knows it no more.

    Args:
        handler: The handler of its queue.
        job: The job.
        verdict: What is to become of it.
        info: What SHOW says of it; not needed for an `Ack`.
        delays: Whether the node's NACK knows DELAY.
        at: The date and time for a dead letter.
    """
    if isinstance(verdict, Ack):
        return Settlement("dropped" if verdict.dropped else "done")
    if info is None:
        return None
    if isinstance(verdict, Again) and verdict.delay < info.ttl:
        return _again(job, verdict.delay, info, delays=delays)
    return _bury(handler, job, verdict if isinstance(verdict, Bury) else _too_late(verdict), at)


def _again(job: WorkerJob, delay: int, info: JobInfo, *, delays: bool) -> Settlement:
    if not delay:
        return Settlement("retried", commands.nack_job(job.key), ack=False)
    if delays:
        return Settlement("retried", commands.nack_job(job.key, delay=delay), ack=False)
    return Settlement("retried", _anew(job, delay, info))


def _anew(job: WorkerJob, delay: int, info: JobInfo) -> Command[bytes]:
    """Where NACK knows no delay: the job as a new one that does, in place of the old."""
    earlier = {
        "id": job.first_id,
        "nacks": min(job.nacks + 1, MOST_ATTEMPTS),
        "additional_deliveries": min(job.additional_deliveries, MOST_ATTEMPTS),
    }
    return commands.add_job(
        job.name,
        wrap(job.sent, {EARLIER: earlier}),
        delay=delay,
        ttl=info.ttl,
        retry=info.retry,
        replicate=info.repl,
    )


def _bury(handler: Handler, job: WorkerJob, verdict: Bury, at: datetime) -> Settlement:
    if handler.dead_queue is None:
        return Settlement("dropped", reason=verdict.reason)
    letter = DeadLetter(
        job.queue, job.first_id, job.nacks, job.additional_deliveries, verdict.reason,
        verdict.traceback, at.isoformat(timespec="seconds"), job.body, job.headers,
    )  # fmt: skip
    add = commands.add_job(handler.dead_queue, letter.to_body(), ttl=handler.dead_ttl)
    return Settlement("dead", add, reason=verdict.reason)


def _too_late(verdict: Again) -> Bury:
    error = verdict.error
    text = f"{text_of(error)}; its ttl is over before it could be tried again in {verdict.delay} s"
    return Bury(text, trace_of(error))
