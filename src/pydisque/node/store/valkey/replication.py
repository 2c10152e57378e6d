"""Waits until changes are in all promotable replicas, in as many copies as asked for, and on disk.

Invariant: a change is confirmed only once every replica that a failover could promote has
acknowledged it. WAIT returns a number only, and of the connection's own writes. So each primary has
a second connection, on which a round writes a mark in each changed shard, notes the offset, WAITs,
and reads which replicas have acknowledged it. Changes that come meanwhile share the next round.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

import hiredis

from pydisque.errors import DisqueError, NoReplError
from pydisque.node.store.valkey.connection import Line, LineLostError
from pydisque.node.store.valkey.promotable import Listing, Promotable, parse_listing
from pydisque.node.store.valkey.url import written

logger = logging.getLogger("pydisque.node")

ROUND = 0.1
"""Seconds that a round lasts at most."""

HELD = 1.0
"""Seconds after which a replica that has not acknowledged a change is logged."""

TOO_LATE = "Timeout reached before replicating to the requested number of nodes"
UNKNOWN = (
    "Valkey went away meanwhile: it is not known whether this is kept by enough of its servers"
)

Told = Callable[[DisqueError | None], object]
"""Hears that a change is in enough places, or why it may not be."""


class _Waiter(NamedTuple):
    mark: bytes
    wanted: int
    since: float
    deadline: float
    told: Told


class _Acknowledged(NamedTuple):
    """What a round found."""

    copies: int
    """Servers that have the marks, the primary included; 0 if they are not on its disk."""
    lacking: list[str]
    """The promotable replicas that have not."""
    listing: Listing
    offset: int
    """The primary's after the marks."""

    def confirms(self, wanted: int) -> bool:
        """Whether this is enough for so many copies; for 0 no replica matters."""
        return self.copies >= max(1, wanted) and not (wanted and self.lacking)


class Copies:
    """Those of one primary's changes."""

    def __init__(
        self, line: Line, replicas: Promotable, connect: Callable[[], Awaitable[Line]]
    ) -> None:
        """Prepare for a primary.

        Args:
            line: the connection on which changes are made.
            replicas: those that have to have a change before it is confirmed.
            connect: opens another one to the same server.
        """
        self.synced = False
        """Whether changes have to be on disks, too."""
        self.held_by: list[str] = []
        """The replicas for which replies have waited for `HELD` seconds or longer."""
        self._primary = line
        self._replicas = replicas
        self._connect = connect
        self.line: Line | None = None
        """The second connection."""
        self._waiters: list[_Waiter] = []
        self._asked: list[_Waiter] = []  # those of this round that were not told yet
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._rounds = 0
        self._next = 0
        """Replicas for which the next round waits at least."""

    def wait(self, mark: bytes, wanted: int, patience: float, told: Told) -> None:
        """Call `told` once what was changed until now is confirmed, within `patience` seconds.

        Every promotable replica has it then, and `wanted` servers in all; with `wanted` 0 the
        primary alone, on its disk if it is synced. 0 seconds: no limit.

        Raises nothing: `told` hears of a `NoReplError`, or that nobody knows. `mark` is the key of
        the small write, in the shard that was changed: any other may have left this server.
        """
        now = self._loop.time()
        deadline = now + patience if patience else float("inf")
        self._waiters.append(_Waiter(mark, wanted, now, deadline, told))
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    def close(self) -> None:
        """Tell whoever waits that nobody knows."""
        if self._task:
            self._task.cancel()
            self._task = None
        if self.line:
            self.line.close()
        waiters, self._waiters = [*self._asked, *self._waiters], []
        self._tell(waiters, DisqueError(UNKNOWN))

    async def _run(self) -> None:
        try:
            while self._waiters:
                self._asked, self._waiters = self._waiters, []
                try:
                    await self._round(list(self._asked))
                except (LineLostError, hiredis.ReplyError):
                    self._tell(list(self._asked), DisqueError(UNKNOWN))
        finally:
            self._task = None

    async def _round(self, waiters: list[_Waiter]) -> None:
        if self.line is None or self.line.closed:
            self.line = await self._connect()
        line = self.line
        seconds = min(ROUND, min(waiter.deadline for waiter in waiters) - self._loop.time())
        failed: set[bytes] = set()
        for mark in {waiter.mark for waiter in waiters}:
            line.ask(["SET", mark, 1], partial(_written, failed, mark))
        wanted = self._replicas_wanted([waiter.wanted for waiter in waiters])
        found = await self._acknowledged(line, wanted, max(1, int(seconds * 1000)))
        self._primary.replicas = found.listing.online
        self._tell([one for one in waiters if one.mark in failed], DisqueError(UNKNOWN))
        self._confirm([one for one in waiters if one.mark not in failed], found)

    def _replicas_wanted(self, copies: list[int]) -> int:
        """The number of replicas for which a round waits."""
        self._rounds += 1
        # Alternate: WAIT returns as soon as the smallest count is reached, so larger ones starve.
        wanted = min(copies) if self._rounds % 2 else max(copies)
        return max(wanted - 1, self._replicas.count, self._next) if wanted else 0

    async def _acknowledged(self, line: Line, wanted: int, milliseconds: int) -> _Acknowledged:
        """Wait for replicas; the server makes the second listing right after the wait."""
        wait = ["WAITAOF", 1] if self.synced else ["WAIT"]
        before, reply, after = await asyncio.gather(
            line.exchange("INFO", "replication"),
            line.exchange(*wait, wanted, milliseconds),
            line.exchange("INFO", "replication"),
        )
        offset, listing = parse_listing(before).offset, parse_listing(after)
        self._replicas.read(listing, self._loop.time())
        lacking = [written(*address) for address in self._replicas.lacking(offset)]
        if not self.synced:
            return _Acknowledged(1 + int(reply), lacking, listing, offset)
        own, others = map(int, reply)
        if others < self._replicas.count and not lacking:
            lacking = [f"{name} (on its disk)" for name in self._replicas.names()]
        return _Acknowledged(own and 1 + others, lacking, listing, offset)

    def _confirm(self, waiters: list[_Waiter], found: _Acknowledged) -> None:
        done, left = list[_Waiter](), list[_Waiter]()
        for waiter in waiters:
            (done if found.confirms(waiter.wanted) else left).append(waiter)
        # The next round waits for one replica more than this one found, or it would end at once.
        self._next = found.listing.count(found.offset) + 1 if left else 0
        self._tell(done, None)
        self._note(found.lacking, min((waiter.since for waiter in left), default=0.0))
        self._give_up(left)

    def _note(self, lacking: list[str], since: float) -> None:
        """Log for which replicas replies wait, and when that is over."""
        if self.held_by and not lacking:
            logger.warning("Valkey at %s: replies no longer wait for a replica", self._primary)
            self.held_by = []
        elif lacking and lacking != self.held_by and since and self._loop.time() - since > HELD:
            logger.warning(
                "Valkey at %s: replies wait for the replica at %s, which may be promoted and has "
                "not confirmed; after store-timeout they are refused with NOREPL",
                self._primary,
                ", ".join(lacking),
            )
            self.held_by = lacking

    def _give_up(self, waiters: list[_Waiter]) -> None:
        """Tell those whose time is over, or who wait for replicas that are not there."""
        now = self._loop.time()
        for waiter in waiters:
            if waiter.wanted > 1 + self._primary.replicas:
                self._tell([waiter], NoReplError())
            elif waiter.deadline <= now:
                self._tell([waiter], NoReplError(TOO_LATE))
            else:
                self._asked.remove(waiter)
                self._waiters.append(waiter)

    def _tell(self, waiters: list[_Waiter], error: DisqueError | None) -> None:
        """Tell these, who are told nothing else ever after."""
        told = set(map(id, waiters))
        self._asked = [waiter for waiter in self._asked if id(waiter) not in told]
        for waiter in waiters:
            waiter.told(error)


def _written(failed: set[bytes], mark: bytes, reply: object) -> None:
    if isinstance(reply, Exception):  # the shard is somewhere else by now
        failed.add(mark)
