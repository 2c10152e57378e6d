"""Where the jobs are: the seam between the commands and the rules.

`Store` is everything a command can ask for, each verb one atomic step, answered at once or later.
`LocalStore` is the engine with the clock and the randomness of this machine: in memory, gone with
the process.
"""

from __future__ import annotations

import random
import time
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os import urandom
from typing import Any, NamedTuple, Protocol

from pydisque.node.engine.job import Job, JobState
from pydisque.node.engine.queue import QueueState
from pydisque.node.engine.restore import RestorableEngine
from pydisque.node.store.deferred import Answer
from pydisque.node.store.wait_queue import Waiting


class Fellow(NamedTuple):
    """Another node that serves the same jobs."""

    id: bytes
    host: bytes
    port: int
    priority: int
    """1 is the best; from 100 on it is not to be used."""


class Store(Protocol):
    """The verbs. What each does and raises is told at the engine's method of the same name."""

    ready: set[bytes]
    """Queues that got jobs, or may be served again, since it was last emptied."""
    now: int
    memory: int
    node_id: bytes
    asker: object
    """Whose commands come next: the verbs asked for one of them have effect in that order."""

    @property
    def fellows(self) -> list[Fellow]:
        """The other nodes that live."""
        ...

    @property
    def failure(self) -> str:
        """Why nothing may be changed now, or nothing."""
        ...

    # Keeping: all of it means nothing to a store in memory.

    durable: bool
    """Whether changes are kept, and replies that tell of them have to wait for that."""

    def uncommitted(self) -> bool:
        """Whether something changed that `commit` has not seen yet."""
        ...

    def commit(self, done: Callable[[str], None]) -> None:
        """Begin to keep what changed so far; `done` hears what went wrong, or nothing.

        If something did, all is as it was when the commit before was done. One at a time.
        """

    def every_second(self) -> None:
        """Housekeeping."""

    def set_durability(self, durability: str) -> None:
        """Decide when a commit is done."""

    def compact(self) -> None:
        """Begin to write anew what is kept, as tightly as it can be."""

    def persistence(self) -> dict[str, object]:
        """What INFO tells of how jobs are kept, beyond what is the same for all stores."""
        ...

    async def aclose(self) -> None:
        """Let go of whatever it holds."""

    def announce(self, host: str, port: int, *, leaving: bool) -> None:
        """Tell its fellows where this node is, and whether clients should rather use them."""

    # Jobs and queues

    def attend(
        self,
        hand_out: Callable[[bytes, list[Job]], list[Job]],
        waiting: Waiting[Any],
    ) -> None:
        """Say who takes jobs of a queue for clients in line, and which clients these are.

        A store with `Later` answers needs that: it learns by itself that there are such jobs. Who
        takes them says which are left, as clients went meanwhile. Any other store names its `ready`
        queues.
        """

    def tick(self) -> None:
        """Take the time from the clock and do what is due, as much as fits into one turn."""

    def catch_up(self) -> None:
        """Take the time from the clock and do all that is due, however much."""

    def set_node_id(self, node_id: bytes) -> None: ...

    def next_due(self) -> int | None: ...

    def add(
        self, name: bytes, body: bytes, ttl: int, retry: int, delay: int, maxlen: int | None
    ) -> Answer[bytes]: ...

    def add_at_once(
        self, name: bytes, body: bytes, ttl: int, retry: int, delay: int, maxlen: int | None
    ) -> Answer[bytes]:
        """As `add`, without waiting for the copies that every change is to have."""
        ...

    def copies(self, name: bytes) -> int:
        """How many copies of a queue's jobs it could keep now, as far as it knows."""
        ...

    def copied(self, id_: Answer[bytes], copies: int, timeout: int) -> Answer[bytes]:
        """The ID of a job once it has so many copies; never for 1.

        After `timeout` milliseconds (0: never) it is given up: the job is removed, and the answer
        is `NoReplError`.
        """
        ...

    def get(
        self, names: list[bytes], count: int = 1, size: int = ..., *, wait: bool = False
    ) -> Answer[list[Job]]:
        """As `Engine.get`. With `wait` the answer is for a client that will stand in line.

        It stands there from the moment on at which there was nothing for it: an answer that
        comes later has told the store so, and whoever gets it must put the client in line.
        """
        ...

    def leave(self, names: Iterable[bytes]) -> None:
        """A client stands in line for these queues no longer."""

    def remove(self, ids: list[bytes]) -> Answer[int]: ...

    def enqueue(self, ids: list[bytes], *, uncounted: bool = False) -> Answer[int]: ...

    def put_back(self, jobs: list[Job]) -> None:
        """Queue jobs again that were handed out, but to nobody."""

    def nack(self, ids: list[bytes], delay: int = 0) -> Answer[int]: ...

    def dequeue(self, ids: list[bytes]) -> Answer[int]: ...

    def working(self, id_: bytes) -> Answer[int]: ...

    def show(self, id_: bytes) -> Answer[JobState | None]: ...

    def length(self, name: bytes) -> Answer[int]: ...

    def peek(self, name: bytes, count: int, size: int = ...) -> Answer[list[Job]]: ...

    def stat(self, name: bytes) -> Answer[QueueState | None]: ...

    def pause(self, name: bytes, *, to: tuple[bool, bool] | None) -> Answer[bytes]: ...

    def scan_queues(
        self, cursor: int, limit: int | None, wanted: Lengths, size: int = ...
    ) -> Answer[tuple[int, list[bytes]]]: ...

    def scan_jobs(
        self,
        cursor: int,
        limit: int | None,
        name: bytes | None,
        states: Iterable[bytes],
        *,
        size: int | None = None,
    ) -> Answer[tuple[int, list[JobState]]]: ...

    def totals(self) -> Answer[tuple[int, int]]:
        """How many jobs and how many queues there are."""
        ...

    def drop_idle(self, seconds: int, waited_for: Callable[[bytes], bool]) -> None: ...

    def make_room(self, limit: int) -> bool:
        """Give up what nobody uses until `memory` is within this limit; whether it is."""
        ...

    def evict(self) -> bool: ...

    def flush(self) -> Answer[None]: ...


@dataclass(frozen=True)
class Lengths:
    """Which lengths of a queue are wanted: from `low` to `high`, -1 for any."""

    low: int
    high: int

    def __call__(self, length: int) -> bool:
        """Whether this one is."""
        return length >= self.low and (self.high == -1 or length <= self.high)


TURN = 2000
"""Jobs that time may move in one turn, some milliseconds' work; others get theirs in between."""


class LocalStore(RestorableEngine):
    """The engine on this machine's clock, or on one that is given.

    The wall clock is read once; from then on the monotonic clock counts, so a clock that is set
    meanwhile neither shortens nor stretches what a worker was promised.
    """

    durable = False
    fellows: list[Fellow] = []  # noqa: RUF012 - there are none
    asker: object = None

    def __init__(
        self, node_id: bytes = b"", not_before: int = 0, clock: Callable[[], float] | None = None
    ) -> None:
        """Start empty.

        Args:
            node_id: who it is; a new node if nobody.
            not_before: a time in milliseconds; if the clock is not that far, it starts there.
            clock: Unix time in seconds; on one that is given, retry times do not scatter.
        """
        self._given = clock
        ticks = time.monotonic_ns() if clock is None else _nanoseconds(clock)
        wall = time.time_ns() if clock is None else ticks
        self._offset = max(wall, not_before * 1_000_000) - ticks
        self._waiting: Waiting[Any] = Waiting()
        super().__init__(
            node_id or new_node_id(),
            self._clock(),
            serials=random_serials,
            jitter=_jitter if clock is None else lambda: 0,
        )

    @property
    def failure(self) -> str:
        """Nothing: memory does not fail."""
        return ""

    def uncommitted(self) -> bool:
        """Never: nothing is kept."""
        return False

    def commit(self, done: Callable[[str], None]) -> None:
        """Nothing is to be kept."""
        done("")

    def every_second(self) -> None:
        """Nothing is to be done."""

    def set_durability(self, durability: str) -> None:
        """Memory is as durable as it is."""

    def compact(self) -> None:
        """Nothing is kept."""

    def persistence(self) -> dict[str, object]:
        """Nothing is kept."""
        return {"journal": "none", "may_lose": "everything when the node ends"}

    async def aclose(self) -> None:
        """Nothing is held."""

    def attend(
        self,
        hand_out: Callable[[bytes, list[Job]], list[Job]],
        waiting: Waiting[Any],
    ) -> None:
        """Clients in line are served as queues get ready."""
        del hand_out
        self._waiting = waiting

    def announce(self, host: str, port: int, *, leaving: bool) -> None:
        """There are no others."""

    def add_at_once(
        self, name: bytes, body: bytes, ttl: int, retry: int, delay: int, maxlen: int | None
    ) -> bytes:
        """It is the same: there are no copies."""
        return self.add(name, body, ttl, retry, delay, maxlen)

    def copies(self, name: bytes) -> int:
        """The one here."""
        del name
        return 1

    def copied(self, id_: Answer[bytes], copies: int, timeout: int) -> Answer[bytes]:
        """Nobody else keeps copies."""
        del copies, timeout
        return id_

    def put_back(self, jobs: list[Job]) -> None:
        """Queue jobs again that were handed out, but to nobody."""
        self.enqueue([job.id for job in jobs], uncounted=True)

    def leave(self, names: Iterable[bytes]) -> None:
        """Drop those of these queues that existed only for blocked clients and have none left."""
        if self._awaited:
            self.forget_awaited(name for name in names if not self._waiting.count(name))

    def make_room(self, limit: int) -> bool:
        """Drop unused queues until jobs and queues are within this limit; whether they are."""
        return self.drop_unused(limit, self._waiting.count)

    def totals(self) -> tuple[int, int]:
        """How many jobs and how many queues there are."""
        return self.count, self.queue_count()

    def _clock(self) -> int:
        given = self._given
        ticks = time.monotonic_ns() if given is None else _nanoseconds(given)
        return (ticks + self._offset) // 1_000_000

    def tick(self) -> None:
        """Take the time from the clock and do what is due, as much as fits into one turn."""
        now = self._clock()
        if now > self.now:
            self.advance(now, TURN)

    def catch_up(self) -> None:
        """Take the time from the clock and do all that is due, however much."""
        self.advance(self._clock())


def new_node_id() -> bytes:
    """40 hex digits that no other node has."""
    return urandom(20).hex().encode()


def _nanoseconds(clock: Callable[[], float]) -> int:
    """What a clock says in seconds, to the millisecond: its sums need not be exact."""
    return round(clock() * 1000) * 1_000_000


def random_serials() -> list[bytes]:
    """24 characters for each new ID, 144 random bits: many at once, as each draw costs."""
    block = b64encode(urandom(18 * 256))
    return [block[start : start + 24] for start in range(0, len(block), 24)]


def _jitter() -> int:
    return int(random.random() * 500) - 250
