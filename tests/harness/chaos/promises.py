"""What a node with a journal promises, held against a history: pure.

Only what is certain counts: a request is done at some moment between its sending and its reply.
What was told shortly before the power went is in doubt, unless every commit is synced.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from harness.chaos.history import Event, Fate, History, Job

JITTER = 0.25
"""Seconds by which a redelivery may come before its time."""
SLACK = 0.05
"""Seconds that clocks may differ by; the node's counts milliseconds and starts with each life."""

DOUBT = {"always": 0.0, "everysec": 2.0, "none": math.inf}
"""Seconds before the power goes in which what was told may be lost. Of the two for everysec one is
promised, the other is for machines that are as busy as one that runs this."""


class Violation(NamedTuple):
    """A promise that was not kept."""

    what: str
    job: Job | None


class Promises:
    """Those about one run, once all of it is over and every queue was drained."""

    def __init__(self, history: History, durability: str) -> None:
        self._history = history
        self._window = DOUBT[durability]

    def broken(self) -> Iterator[Violation]:
        """What was not kept."""
        for job in self._history.jobs.values():
            if job.events:  # else its producer was stopped before it was sent
                yield from (Violation(what, job) for what in self._broken(job))
        for body in self._history.strangers:
            yield Violation(f"delivered, but nobody sent this: {body[:80]!r}", None)
        yield from self._at_most_once_lost()

    def doubtful(self, event: Event) -> bool:
        """Whether the power went so soon after that this may be forgotten."""
        plugs = self._history.plugs if self._window else ()
        return any(plug - self._window <= event.told <= plug for plug in plugs)

    def _certain(self, event: Event) -> bool:
        return event.fate is Fate.CONFIRMED and not self.doubtful(event)

    def _broken(self, job: Job) -> Iterator[str]:
        deliveries = job.all("delivery")
        added = job.add
        if added.fate is Fate.REFUSED and deliveries:
            yield "delivered, though its add was refused"
        if job.retry and not deliveries and self._certain(added):
            yield "its add was confirmed, but it was never delivered"
        if any(event.told < added.sent + job.delay - SLACK for event in deliveries):
            yield "delivered before its delay was over"
        if not job.retry and sum(not self.doubtful(event) for event in deliveries[:-1]):
            yield "at most once, but delivered again"
        yield from self._after_its_end(job, deliveries)
        yield from self._too_early(job, deliveries)

    def _after_its_end(self, job: Job, deliveries: list[Event]) -> Iterator[str]:
        for ack in job.all("ack"):
            if self._certain(ack) and any(event.sent > ack.told for event in deliveries):
                yield "delivered after its ack was confirmed"
                return

    def _too_early(self, job: Job, deliveries: list[Event]) -> Iterator[str]:
        lease = job.retry - JITTER - SLACK
        nacks = [event for event in job.all("nack") if event.fate is not Fate.REFUSED]
        leases = [*deliveries, *(e for e in job.all("working") if e.fate is Fate.CONFIRMED)]
        for later in deliveries:
            for first in leases:
                if first is later or self.doubtful(first) or first.told > later.told:
                    continue
                if first.what == "working" and first.told > later.sent:
                    continue  # that may have come after it
                if max(later.told - first.sent, first.told - later.sent) >= lease:
                    continue
                if not any(n.sent < later.told and n.told > first.sent for n in nacks):
                    yield "delivered again before its retry time was over"
                    return

    def _at_most_once_lost(self) -> Iterator[Violation]:
        """Jobs delivered at most once may be lost with a reply, and in no other way."""
        missing = [
            job
            for job in self._history.jobs.values()
            if not job.retry and job.events and not job.all("delivery")
            and self._certain(job.add)
        ]  # fmt: skip
        taken: Counter[bytes] = Counter()
        for lost in self._history.lost_gets:
            taken[lost.queue] += lost.jobs
        for queue in {job.queue for job in missing}:
            lost_jobs = [job for job in missing if job.queue == queue]
            if len(lost_jobs) > taken[queue]:
                what = f"{len(lost_jobs)} never delivered, {taken[queue]} asked for in vain"
                yield Violation(f"at most once: {what}; one of them", lost_jobs[0])
