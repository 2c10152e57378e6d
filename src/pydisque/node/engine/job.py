"""The job record, its states, and the shape of job IDs.

A record decides nothing; the engine's rules move it from state to state.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pydisque.errors import BadIDError

QUEUED: Final = b"queued"
ACTIVE: Final = b"active"
GONE: Final = b"gone"
"""Of a job that the engine has forgotten, for whoever still holds it; no client ever sees it."""
STATES: Final = (b"wait-repl", ACTIVE, QUEUED, b"acked")
"""What JSCAN may ask for. A node alone never shows the first and the last."""

ID_LENGTH: Final = 40


class Job:
    """One job. Times are milliseconds of the engine's clock unless said otherwise."""

    __slots__ = (
        "additional_deliveries", "body", "ctime", "delay", "etime", "home", "id", "nacks",
        "qtime", "queue", "retry", "spent", "state", "unqueued",
    )  # fmt: skip

    def __init__(
        self, id_: bytes, queue: bytes, body: bytes, ctime: int, etime: int, retry: int
    ) -> None:
        self.id = id_
        self.queue = queue
        self.body = body
        self.ctime = ctime
        """Nanoseconds, unique on this node: the order of its queue."""
        self.etime = etime
        """Unix second at which it expires."""
        self.retry = retry
        """Seconds from delivery to redelivery; 0 for at most once."""
        self.state: bytes = QUEUED
        self.qtime: int | None = None
        """When an active job is to be queued (again); None when it never will be."""
        self.delay = 0
        """Seconds it was asked to wait before it was first queued."""
        self.unqueued = False
        """Not queued since it was delayed, but by NACK: the next time is no additional delivery."""
        self.spent = False
        """Handed out though at most once: it will not come again, and may be given up."""
        self.nacks = 0
        self.additional_deliveries = 0
        self.home = 0
        """The journal's batch that holds it; 0 while none does."""

    def __repr__(self) -> str:
        return f"<Job {self.id.decode()} of {self.queue!r}: {self.state.decode()}>"


class JobState(NamedTuple):
    """What SHOW tells of a job; `ttl` in seconds, the two waits in milliseconds."""

    job: Job
    ttl: int
    requeue_within: int | None
    awake_within: int


LONGEST = 2**63 - 1
"""The longest time that can be told: an integer reply has 64 bits."""


def state_of(job: Job, now: int) -> JobState:
    """What there is to tell of a job at this time."""
    expiry = job.etime * 1000 + 1000 - now
    requeue: int | None = None
    if job.state is QUEUED:
        requeue = job.retry * 1000 or None  # the clock stands until it is handed out
    elif job.qtime is not None:
        requeue = max(0, job.qtime - now)
    awake = expiry
    if requeue is not None:
        announced = job.unqueued or requeue <= 500
        awake = min(expiry, requeue if announced else requeue - 500)
    ttl = max(0, job.etime - now // 1000)
    return JobState(job, ttl, requeue and min(requeue, LONGEST), max(0, min(awake, LONGEST)))


def check_ids(ids: list[bytes]) -> None:
    """Raise `BadIDError` unless all have the shape of a job ID: nothing is done if one is bad."""
    for id_ in ids:
        if len(id_) != ID_LENGTH or id_[:2] != b"D-" or id_[10] != 45 or id_[35] != 45:
            raise BadIDError


def ttl_field(ttl: int, retry: int) -> bytes:
    """The last four digits of an ID: the TTL in minutes, odd unless the job is at most once."""
    minutes = min(ttl // 60, 0xFFFF)
    return b"%04x" % (minutes | 1 if retry else minutes & ~1)
