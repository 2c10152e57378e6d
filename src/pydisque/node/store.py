"""Where the jobs are: the seam between the commands and the rules.

`Store` is everything a command can ask for, each verb one atomic step. `LocalStore` is the engine
with the clock and the randomness of this machine: in memory, gone with the process.
"""

from __future__ import annotations

import random
import time
from base64 import b64encode
from collections.abc import Callable, Iterable
from os import urandom
from typing import Protocol

from pydisque.node.job import Job, JobState
from pydisque.node.queue import QueueState
from pydisque.node.restore import RestorableEngine


class Store(Protocol):
    """The verbs. What each does and raises is told at the engine's method of the same name."""

    ready: set[bytes]
    """Queues that got jobs, or may be served again, since it was last emptied."""
    now: int
    second: int
    count: int
    memory: int
    node_id: bytes

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

    def close(self) -> None:
        """Let go of whatever it holds; blocks."""

    # Jobs and queues

    def tick(self) -> None:
        """Take the time from the clock and do what is due, as much as fits into one turn."""

    def catch_up(self) -> None:
        """Take the time from the clock and do all that is due, however much."""

    def set_node_id(self, node_id: bytes) -> None: ...

    def next_due(self) -> int | None: ...

    def add(
        self, name: bytes, body: bytes, ttl: int, retry: int, delay: int, maxlen: int | None
    ) -> bytes: ...

    def get(self, names: list[bytes], count: int = 1, size: int = ...) -> list[Job]: ...

    def remove(self, ids: list[bytes]) -> int: ...

    def enqueue(self, ids: list[bytes], *, uncounted: bool = False) -> int: ...

    def nack(self, ids: list[bytes], delay: int = 0) -> int: ...

    def dequeue(self, ids: list[bytes]) -> int: ...

    def working(self, id_: bytes) -> int: ...

    def show(self, id_: bytes) -> JobState | None: ...

    def length(self, name: bytes) -> int: ...

    def peek(self, name: bytes, count: int) -> list[Job]: ...

    def stat(self, name: bytes) -> QueueState | None: ...

    def pause(self, name: bytes, *, to: tuple[bool, bool] | None) -> bytes: ...

    def scan_queues(
        self, cursor: int, limit: int | None, wanted: Callable[[int], bool]
    ) -> tuple[int, list[bytes]]: ...

    def scan_jobs(
        self, cursor: int, limit: int | None, name: bytes | None, states: Iterable[bytes]
    ) -> tuple[int, list[JobState]]: ...

    def queue_count(self) -> int: ...

    def drop_idle(self, seconds: int, waited_for: Callable[[bytes], bool]) -> None: ...

    def evict(self) -> bool: ...

    def flush(self) -> None: ...


TURN = 2000
"""Jobs that time may move in one turn, some milliseconds' work; others get theirs in between."""


class LocalStore(RestorableEngine):
    """The engine on this machine's clock, or on one that is given.

    The wall clock is read once; from then on the monotonic clock counts, so a clock that is set
    meanwhile neither shortens nor stretches what a worker was promised.
    """

    durable = False

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

    def close(self) -> None:
        """Nothing is held."""

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
