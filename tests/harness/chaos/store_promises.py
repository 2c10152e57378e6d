"""What nodes promise whose jobs are in a Valkey that fails over, held against a history: pure.

Only what is certain counts: a request is done at some moment between its sending and its reply.
Some promises are made only to clients of nodes that wait for replicas; what is broken of these
with ``--replicate 0`` is what going without costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from redis.exceptions import ConnectionError  # noqa: A004

from harness.chaos.history import Event, Fate, History, Job
from pydisque.errors import DisqueError, MisconfError, NoReplError

SLACK = 0.05
"""Seconds that clocks may differ by; Valkey's counts milliseconds."""

DOCUMENTED = (
    (ConnectionError, ""),
    (MisconfError, "MISCONF Valkey cannot be reached"),
    (NoReplError, "NOREPL"),
    (DisqueError, "Valkey went away meanwhile"),
    (DisqueError, "this node stops"),
)
"""What a client is told of when Valkey or a node is in trouble: its class, and how it begins."""


class Violation(NamedTuple):
    """A promise that was not kept."""

    what: str
    job: Job | None
    fatal: bool = True
    """Whether it was promised to this client; else it is what going without copies costs."""


def is_documented(error: Exception) -> bool:
    """Whether clients are told that they may get this."""
    return any(type(error) is cls or (cls is ConnectionError and isinstance(error, cls))
               for cls, begin in DOCUMENTED if str(error).startswith(begin))  # fmt: skip


class Trouble(NamedTuple):
    """A fault, and when all was well again."""

    kind: str
    began: float
    over: float
    """When nothing was done any more that harms."""
    healthy: float
    """When Valkey was well again."""
    served: float
    """When all nodes served as they should."""


class Promises:
    """Those about one run, once all of it is over and every queue was drained."""

    def __init__(self, history: History, troubles: list[Trouble], replicate: int) -> None:
        self._history = history
        self._troubles = troubles
        self._replicate = replicate

    def broken(self) -> Iterator[Violation]:
        """What was not kept."""
        for job in self._history.jobs.values():
            if job.events:  # else its producer was stopped before it was sent
                yield from self._broken(job)
        for body in self._history.strangers:
            yield Violation(f"delivered, but nobody sent this: {body[:80]!r}", None)

    def _broken(self, job: Job) -> Iterator[Violation]:
        deliveries = job.all("delivery")
        ids = {event.id for event in deliveries} | {event.id for event in job.all("add")} - {b""}
        if job.add.fate is Fate.REFUSED and deliveries:
            yield Violation("delivered, though its add was refused", job)
        if len(ids) > 1 and not job.resent:
            yield Violation("added once, but there are two of it", job)
        if any(event.told < job.add.sent + job.delay - SLACK for event in deliveries):
            yield Violation("delivered before its delay was over", job)
        if job.add.fate is Fate.CONFIRMED and job.retry:
            fatal = self._replicate > 0 or job.copies > 1
            yield from (Violation(what, job, fatal) for what in self._lost(job, job.add.id))
        for id_ in ids:
            events = [event for event in job.events if event.id == id_]
            again = self._again(job.retry, sorted(events, key=lambda event: event.told))
            yield from (Violation(what, job, self._replicate > 0) for what in again)

    def _lost(self, job: Job, id_: bytes) -> Iterator[str]:
        """What tells that a job is gone that was confirmed and that nobody acknowledged."""
        if not any(event.id == id_ for event in job.all("delivery")):
            yield "its add was confirmed, but it was never delivered"
            return
        acks = [event.sent for event in job.all("ack") if event.id == id_]
        if not acks:
            yield "gone, though nobody acknowledged it"
        gone = [
            event.what
            for event in job.events
            if event.id == id_
            and event.fate is Fate.ABSENT
            and event.told < min(acks, default=math.inf)
            and not self._in_trouble(event)
            and not (event.what == "nack" and self._is_queued_again(job, event))
        ]
        if gone:
            yield f"gone, though nobody had acknowledged it, as {gone[0]} told"

    @staticmethod
    def _is_queued_again(job: Job, nack: Event) -> bool:
        """Whether a NACK came after the lease, so that the job is queued, and is not nacked."""
        deliveries = [event.sent for event in job.all("delivery") if event.sent < nack.told]
        return nack.told - max(deliveries, default=0) > job.retry - SLACK

    def _in_trouble(self, event: Event) -> bool:
        """Whether it may be told by somebody who does not know better yet."""
        return any(
            trouble.began - SLACK < event.told and event.sent < trouble.served + SLACK
            for trouble in self._troubles
        )

    def _again(self, retry: int, events: list[Event]) -> Iterator[str]:
        deliveries = [event for event in events if event.what == "delivery"]
        acks = [e for e in events if e.what == "ack" and e.fate is Fate.CONFIRMED]
        if any(delivery.sent > ack.told for ack in acks for delivery in deliveries):
            yield "delivered after its ack was confirmed"
        if not retry and len(deliveries) > 1:
            yield "at most once, and delivered twice"
        if any(self._too_early(retry - SLACK, later, events) for later in deliveries):
            yield "delivered again before its retry time was over"

    def _too_early(self, lease: float, later: Event, events: list[Event]) -> bool:
        """Whether somebody else had the job for certain, with time left, when it was handed out."""
        for first in events:
            if first is later or first.told > later.told or first.fate is not Fate.CONFIRMED:
                continue
            working = first.what == "working" and first.told < later.sent
            if not (working or first.what == "delivery"):
                continue
            if max(later.told - first.sent, first.told - later.sent) < lease and not any(
                e.what == "nack" and e.fate is not Fate.REFUSED
                and e.sent < later.told and self._done_by(e) > first.sent
                for e in events
            ):  # fmt: skip
                return True
        return False

    def _done_by(self, event: Event) -> float:
        """When it is done at the latest: a stopped node does what it had in its socket when it goes
        on, though the client has long asked another one."""
        stops = (trouble for trouble in self._troubles if trouble.kind.startswith("stop-node"))
        return max(
            event.told,
            *(
                stop.served + SLACK
                for stop in stops
                if stop.began - SLACK < event.told and event.sent < stop.over
            ),
            0.0,
        )
