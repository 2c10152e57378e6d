"""The clocks of Valkey's primaries, and when this node processes due jobs: in its turn among nodes.

Each primary has a clock of its own, and a shard's times are by the clock of its primary. So there
is one offset to this machine's monotonic clock for each connection, never one for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pydisque.node.store.valkey.shard import NEVER, Shard

STAGGER = 0.02
"""Seconds between the nodes when something is due: the first one does it."""

SET = 50.0
"""Milliseconds by which a clock has to jump for all its timers to be set anew."""


class Alarm:
    """The clocks of a node on Valkey."""

    def __init__(self, turn: Callable[[], int]) -> None:
        """Prepare; `turn` returns how many nodes look before this one."""
        self.shards: list[Shard] = []
        self._turn = turn
        self._loop = asyncio.get_running_loop()
        self._rings = float("inf")  # milliseconds of the monotonic clock
        self._timer: asyncio.TimerHandle | None = None

    @property
    def due(self) -> int:
        """When it rings, in milliseconds by the clock of the first shard's primary."""
        rings = self._rings
        return NEVER if rings == float("inf") else int(rings + self.shards[0].ahead)

    def now(self, shard: Shard) -> int:
        """The time in milliseconds by the clock of a shard's primary."""
        return int(self._here() + shard.ahead)

    def heard(self, shard: Shard, now: int, due: int) -> None:
        """A primary returned its time, and when its shard needs the next call."""
        if line := shard.line:
            ahead = now - self._here()
            is_set, line.ahead = abs(ahead - line.ahead) > SET, ahead
            if is_set:  # timers of all its shards are by the old time
                self._set_first()
        if due != shard.due:
            self.come_again(shard, due)

    def come_again(self, shard: Shard, due: int) -> None:
        """Call a shard at this time by its primary's clock."""
        shard.due = due
        if due < NEVER and due - shard.ahead < self._rings:
            self._set(due - shard.ahead)

    def stop(self) -> None:
        """Ring no more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _here(self) -> float:
        return self._loop.time() * 1000

    def _set_first(self) -> None:
        waiting = [shard.due - shard.ahead for shard in self.shards if shard.due < NEVER]
        self._set(min(waiting, default=float("inf")))

    def _set(self, rings: float) -> None:
        self._rings = rings
        self.stop()
        if rings < float("inf"):
            wait = (rings - self._here()) / 1000
            self._timer = self._loop.call_later(
                max(0.001, wait) + STAGGER * self._turn(), self._ring
            )

    def _ring(self) -> None:
        """Call all shards where something is due, unless another node just did."""
        for shard in self.shards:
            if shard.due <= self.now(shard):
                shard.due = NEVER  # until it returns another time
                shard.tell([b"tick", 0])
        self._set_first()
