"""Who waits for jobs of which queue: first come, first served.

Decides the order of service only. A waiter is any hashable value; serving it, and giving up when
its time is over, is for whoever put it here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

W = TypeVar("W", bound=Hashable)

PLACE_OVERHEAD = 1100
"""Bytes that a waiter takes for each queue beside its name, if the queue exists for it alone;
measured: 280 for its place in line, 820 for the queue."""


class Waiting(Generic[W]):
    """Waiters in line for one or more queues each."""

    def __init__(self) -> None:
        self.queues: dict[W, tuple[bytes, ...]] = {}
        """All waiters in the order they came, and the queues that each waits for. To be read."""
        self._lines: dict[bytes, dict[W, None]] = {}  # a dict keeps the order of arrival

    def __len__(self) -> int:
        return len(self.queues)

    def add(self, waiter: W, queues: Iterable[bytes]) -> None:
        """Put a waiter at the end of the line of each queue; a queue named twice counts once."""
        self.queues[waiter] = names = tuple(dict.fromkeys(queues))
        for name in names:
            self._lines.setdefault(name, {})[waiter] = None

    def remove(self, waiter: W) -> tuple[bytes, ...]:
        """Take a waiter out of every line it stands in; returns the names of these queues."""
        names = self.queues.pop(waiter, ())
        for name in names:
            line = self._lines[name]
            del line[waiter]
            if not line:
                del self._lines[name]
        return names

    def memory(self, waiter: W) -> int:
        """Bytes that a waiter takes, about."""
        names = self.queues.get(waiter, ())
        return sum(map(len, names)) + PLACE_OVERHEAD * len(names)

    def first(self, queue: bytes) -> W | None:
        """Who is next in line for this queue."""
        return next(iter(self._lines.get(queue, ())), None)

    def counts(self) -> list[tuple[bytes, int]]:
        """All queues somebody is in line for, and how many are."""
        return [(name, len(line)) for name, line in self._lines.items()]

    def count(self, queue: bytes) -> int:
        """How many are in line for this queue."""
        return len(self._lines.get(queue, ()))
