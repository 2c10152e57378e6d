"""What becomes of each job that is moved to another cluster: what to add there, when, or why not.

A job has copies on several nodes of a real cluster, each with a state of its own; here is decided
what that means for the job. Nothing here knows a connection, a file or a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from pydisque.errors import ConnectionLostError, NoReplError
from pydisque.protocol import commands
from pydisque.protocol.command import Command
from pydisque.protocol.replies import JobInfo

# Milliseconds that moving some jobs may take: one that is due sooner is moved once it is queued.
MARGIN = 5000

# A job is announced to other nodes half a second before it is queued again, and one that was never
# queued is not. That shows in what it is told to do next, and a little less than this tells them.
_ANNOUNCED = 250

# What a batch of jobs may hold. Their bodies count, and are read twice.
BATCH_JOBS = 500
BATCH_BYTES = 4 << 20

# A real Disque keeps times in 32 bits; beyond, a job would end at once.
LONGEST_TTL = 10**9

# Milliseconds in which a cluster has to make its copies.
ADD_TIMEOUT = 5000


class Standing(Enum):
    """How a job stands in its cluster."""

    QUEUED = "queued"
    DELAYED = "delayed"
    ACTIVE = "active"
    """Somebody works on it, or it was taken out of its queue: it comes back."""
    ARRIVING = "being added"
    SPENT = "spent"
    """At most once, and handed out: it never comes back."""
    ENDING = "expiring"
    """Its TTL is over before it would come back."""
    GONE = "gone"


class Judged(NamedTuple):
    """A job as all nodes together tell of it."""

    standing: Standing
    info: JobInfo
    due: int = 0
    """Milliseconds until it is queued."""


class Next(Enum):
    """What to do about a job that is in no queue."""

    MOVE = "move it"
    WAIT = "look again"
    LEAVE = "leave it where it is"


def judge(views: Sequence[JobInfo | None]) -> Judged | None:
    """How a job stands, by what each node shows of it; None if no node knows it.

    A node that gave it to another keeps an active copy, and one that has a copy of a delayed job
    would queue it later than the node that it was added to: the soonest counts.
    """
    known = [view for view in views if view is not None]
    if not known:
        return None
    for state, standing in _BY_STATE.items():
        for view in known:
            if view.state == state:
                return Judged(standing, view)
    return _judge_active(min(known, key=_due))


_BY_STATE = {
    b"acked": Standing.GONE,
    b"queued": Standing.QUEUED,
    b"wait-repl": Standing.ARRIVING,
}


def _due(view: JobInfo) -> float:
    due = view.next_requeue_within
    return float("inf") if due is None else due


def _judge_active(info: JobInfo) -> Judged:
    due, awake = info.next_requeue_within, info.next_awake_within
    if due is None:
        return Judged(Standing.SPENT, info)
    if due >= info.ttl * 1000:
        return Judged(Standing.ENDING, info)
    queued_before = awake is not None and due - awake > _ANNOUNCED
    return Judged(Standing.ACTIVE if queued_before else Standing.DELAYED, info, due)


def decide(judged: Judged, active: str) -> Next:
    """What to do about it; `active` is what was asked for jobs that are active."""
    match judged.standing:
        case Standing.DELAYED:
            return Next.MOVE if judged.due > MARGIN else Next.WAIT
        case Standing.ACTIVE:
            return {"move": Next.MOVE, "wait": Next.WAIT}.get(active, Next.LEAVE)
        case Standing.QUEUED | Standing.ARRIVING:
            return Next.WAIT
        case _:
            return Next.LEAVE


def comes_back_soon(info: JobInfo) -> bool:
    """Whether a job that was taken out of its queue may be back before it is moved.

    Its RETRY began when it was queued, on a real Disque, and does not begin anew with DEQUEUE. That
    is what WORKING is for; it is refused in the second half of a TTL.
    """
    return _due(info) < MARGIN


def adding(job: Judged, replicate: int | None = None) -> Command[bytes]:
    """What adds a job at the target with what is left of its time; its TTL must be 1 s or more."""
    info = job.info
    ttl = min(info.ttl, LONGEST_TTL)
    delay = min(-(-job.due // 1000), ttl - 1)
    return commands.add_job(
        info.queue,
        info.body,
        timeout=ADD_TIMEOUT,
        replicate=replicate if info.retry else 1,  # at most once, which allows for one copy
        delay=delay or None,
        retry=info.retry,
        ttl=ttl,
    )


def is_doubtful(error: Exception) -> bool:
    """Whether a job may have been added although this error came."""
    if isinstance(error, NoReplError):
        return "Timeout" in str(error)
    return isinstance(error, ConnectionLostError) and error.sent


def next_count(count: int, sizes: Sequence[int]) -> int:
    """How many jobs to ask for, after asking for so many and getting some bodies of these sizes."""
    average = max(1, sum(sizes) // len(sizes))
    return max(1, min(BATCH_JOBS, 2 * count, BATCH_BYTES // average))


class Pause(NamedTuple):
    """How a queue is paused."""

    into: bool = False
    out: bool = False

    @classmethod
    def of(cls, word: bytes) -> Pause:
        """Read what a node says: ``none``, ``in``, ``out`` or ``all``."""
        return cls(word in (b"in", b"all"), word in (b"out", b"all"))

    def __or__(self, other: Pause) -> Pause:
        return Pause(self.into or other.into, self.out or other.out)

    def __str__(self) -> str:
        return {(1, 1): "all", (1, 0): "in", (0, 1): "out"}.get((self.into, self.out), "none")


class Queue(NamedTuple):
    """A queue as all nodes together tell of it."""

    length: int = 0
    pause: Pause = Pause()

    def and_on(self, length: int, pause: bytes) -> Queue:
        """The same with what another node has of it."""
        return Queue(self.length + length, self.pause | Pause.of(pause))


class Survey(NamedTuple):
    """What there is at the source."""

    queues: dict[bytes, Queue]
    jobs: dict[bytes, Counter[Standing]]
    """By their queue."""

    def count(self, *standings: Standing, but: Iterable[bytes] = ()) -> int:
        """How many jobs stand so, in all queues but these."""
        left_out = frozenset(but)
        counts = (counter for name, counter in self.jobs.items() if name not in left_out)
        return sum(counter[standing] for counter in counts for standing in standings)
