"""Turns of the clients that have more to run than one turn takes: round robin, a bounded time.

However many such clients there are, the loop reads from all others, and calls its timers, after one
round of `ROUND` seconds. Knows neither commands nor sockets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

ROUND = 0.002
"""Seconds after which no further turn begins before the loop has been round."""


class Taker(Protocol):
    """A client that waits for its next turn."""

    def take_turn(self) -> None:
        """Run for a moment; with more to do it has to queue again."""


class Turns:
    """The clients of one node that wait for a turn."""

    def __init__(self) -> None:
        self.call_soon: Callable[[Callable[[], None]], object]
        """Calls something in the next turn of the loop; the server sets it."""
        self._queue: deque[Taker] = deque()
        self._due = False

    def add(self, taker: Taker) -> None:
        """Queue for a turn."""
        self._queue.append(taker)
        if not self._due:
            self._due = True
            self.call_soon(self._round)

    def _round(self) -> None:
        end = perf_counter() + ROUND
        queue = self._queue
        while queue:
            queue.popleft().take_turn()
            if perf_counter() >= end:
                break
        self._due = bool(queue)
        if queue:
            self.call_soon(self._round)
