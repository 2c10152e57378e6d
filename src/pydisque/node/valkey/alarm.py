"""Valkey's time, and when this node looks after what is due by it: in its turn among the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pydisque.node.valkey.shard import NEVER, Shard

STAGGER = 0.02
"""Seconds between the nodes when something is due: the first one does it."""


class Alarm:
    """The clock of a node on Valkey."""

    def __init__(self, turn: Callable[[], int]) -> None:
        """Begin with the time of this machine; `turn` says how many nodes look before this one."""
        self.shards: list[Shard] = []
        self.due = NEVER
        """When it rings, in milliseconds."""
        self._turn = turn
        self._loop = asyncio.get_running_loop()
        self._offset = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> int:
        """The time in milliseconds, as Valkey tells it."""
        return int(self._loop.time() * 1000 + self._offset)

    def heard(self, shard: Shard, now: int, due: int) -> None:
        """A shard said what the time is, and when it is time to come again."""
        self._offset = now - self._loop.time() * 1000
        if due != shard.due:
            self.come_again(shard, due)

    def come_again(self, shard: Shard, due: int) -> None:
        """Look after a shard then."""
        shard.due = due
        if due < self.due:
            self._set(due)

    def stop(self) -> None:
        """Ring no more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _set(self, due: int) -> None:
        self.due = due
        self.stop()
        if due < NEVER:
            wait = (due - self._loop.time() * 1000 - self._offset) / 1000
            self._timer = self._loop.call_later(
                max(0.001, wait) + STAGGER * self._turn(), self._ring
            )

    def _ring(self) -> None:
        """Look after all shards where something is due, unless another node just did."""
        now = self.now()
        for shard in self.shards:
            if shard.due <= now:
                shard.due = NEVER  # until it says otherwise
                shard.tell([b"tick", 0])
        self._set(min(shard.due for shard in self.shards))
