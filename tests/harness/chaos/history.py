"""What everybody was told about each job: the only thing that the promises are about.

Times are of one monotonic clock: when a request was sent, when its reply was read. The node did it
in between. Knows neither sockets nor what was promised.
"""

from __future__ import annotations

import threading
from collections import Counter
from enum import Enum
from itertools import count
from typing import NamedTuple

PADDING = bytes(range(256)) * 256


class Fate(Enum):
    """How a request went, as far as its client knows."""

    CONFIRMED = "confirmed"
    REFUSED = "refused"
    ABSENT = "nothing was there"
    UNKNOWN = "outcome unknown"


class Event(NamedTuple):
    """Something between a client and the node."""

    what: str
    """add, delivery, ack, nack, working, show."""
    sent: float
    told: float
    """When the reply came, or when it was clear that none would."""
    fate: Fate
    who: str
    id: bytes = b""
    """Of which job, where the same body may have been added twice."""


class Job:
    """A job as its clients know it, by the name that stands in its body."""

    __slots__ = ("copies", "delay", "events", "id", "name", "queue", "resent", "retry", "size")

    def __init__(self, name: bytes, queue: bytes, retry: int, delay: int, size: int) -> None:
        self.name = name
        self.queue = queue
        self.retry = retry
        self.delay = delay
        self.size = size
        self.id = b""
        self.copies = 1
        """In how many places it is before that is confirmed."""
        self.resent = False
        """Whether its client may have sent it twice."""
        self.events: list[Event] = []

    @property
    def body(self) -> bytes:
        """What is sent."""
        return self.name + b" " + PADDING[: self.size]

    def note(
        self, what: str, sent: float, told: float, fate: Fate, who: str, id_: bytes = b""
    ) -> None:
        """Remember this."""
        self.events.append(Event(what, sent, told, fate, who, id_))

    def all(self, what: str) -> list[Event]:
        """What happened of this kind, in order of the replies."""
        return sorted((e for e in self.events if e.what == what), key=lambda event: event.told)

    @property
    def add(self) -> Event:
        """How it was added."""
        return self.all("add")[0]

    def tell(self, started: float) -> str:
        """Its whole history, in seconds since the start."""
        known = f"{self.name.decode()} {self.id.decode() or '(no ID was told)'}"
        asked = f"queue {self.queue.decode()}, RETRY {self.retry}, DELAY {self.delay}"
        lines = [f"  {known}: {asked}"]
        lines += [
            f"    {e.sent - started:9.3f} to {e.told - started:9.3f}  "
            f"{e.what} by {e.who}: {e.fate.value} {e.id.decode()}".rstrip()
            for e in sorted(self.events, key=lambda event: event.told)
        ]
        return "\n".join(lines)


class LostGet(NamedTuple):
    """A GETJOB without an answer: what it may have taken with it."""

    queue: bytes
    jobs: int


class History:
    """All jobs of a run, and what befell the node."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.jobs: dict[bytes, Job] = {}
        self.strangers: list[bytes] = []
        """Bodies that were delivered and that nobody sent."""
        self.lost_gets: list[LostGet] = []
        self.plugs: list[float] = []
        """When the power went."""
        self.ends: list[str] = []
        """How the node ended, and when."""
        self.counts: Counter[str] = Counter()
        self.refusals: list[tuple[float, float]] = []
        """When requests were sent, and when ``-NOREPL`` came back."""
        self._numbers = count(1)
        self._lock = threading.Lock()

    def new_job(self, queue: bytes, retry: int, delay: int, size: int) -> Job:
        """A job that is about to be sent."""
        with self._lock:
            job = Job(b"job-%d" % next(self._numbers), queue, retry, delay, size)
            self.jobs[job.name] = job
        return job

    def delivered(self, body: bytes) -> Job | None:
        """Which job this is the body of."""
        job = self.jobs.get(body.partition(b" ")[0])
        if job is not None and job.body == body:
            return job
        self.strangers.append(body)
        return None

    def refused_for(self) -> float:
        """Seconds in which requests were sent that were refused for want of copies."""
        seconds, end = 0.0, 0.0
        for sent, told in sorted(self.refusals):
            seconds += max(0.0, told - max(sent, end))
            end = max(end, told)
        return seconds

    def add_count(self, what: str, by: int = 1) -> None:
        """Count for the table."""
        with self._lock:
            self.counts[what] += by
