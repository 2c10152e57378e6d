"""When a change is in as many places as was asked: in replicas, and on disks if so chosen.

Valkey tells that of a connection's own writes only, and lets the connection do nothing else
meanwhile. So each primary has a second one, on which a small write is made after all those that
somebody waits for, one in each shard that was changed, and waited for: whoever has that has
everything before it. One such round is under way at a time; who comes meanwhile shares the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import hiredis

from pydisque.errors import DisqueError, NoReplError
from pydisque.node.valkey.line import Line, LineLostError

ROUND = 0.1
"""Seconds that a round lasts at most."""

TOO_LATE = "Timeout reached before replicating to the requested number of nodes"
UNKNOWN = (
    "Valkey went away meanwhile: it is not known whether this is kept by enough of its servers"
)

Told = Callable[[DisqueError | None], object]
"""Hears that a change is in enough places, or why it may not be."""


class _Waiter(NamedTuple):
    mark: bytes
    wanted: int
    deadline: float
    told: Told


class Copies:
    """Those of one primary's changes."""

    def __init__(self, line: Line, connect: Callable[[], Awaitable[Line]]) -> None:
        """Prepare for a primary.

        Args:
            line: the connection on which changes are made.
            connect: opens another one to the same server.
        """
        self.synced = False
        """Whether changes have to be on disks, too."""
        self._primary = line
        self._connect = connect
        self.line: Line | None = None
        """The second connection."""
        self._waiters: list[_Waiter] = []
        self._asked: list[_Waiter] = []  # those of this round that were not told yet
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._rounds = 0

    def wait(self, mark: bytes, wanted: int, patience: float, told: Told) -> None:
        """Tell once what was changed until now is in `wanted` places, in so many seconds (0: ever).

        Raises nothing: `told` hears of a `NoReplError`, or that nobody knows. `mark` is the key of
        the small write, in the shard that was changed: any other may have left this server.
        """
        deadline = self._loop.time() + patience if patience else float("inf")
        self._waiters.append(_Waiter(mark, wanted, deadline, told))
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
        wants = [waiter.wanted for waiter in waiters]
        self._rounds += 1
        wanted = min(wants) if self._rounds % 2 else max(wants)  # or the largest waits for ever
        now = self._loop.time()
        seconds = min(ROUND, max(0.001, min(waiter.deadline for waiter in waiters) - now))
        failed: set[bytes] = set()
        for mark in {waiter.mark for waiter in waiters}:
            line.ask(["SET", mark, 1], partial(_written, failed, mark))
        there = await self._count(line, wanted, max(1, int(seconds * 1000)))
        self._tell([one for one in waiters if one.mark in failed], DisqueError(UNKNOWN))
        waiters = [one for one in waiters if one.mark not in failed]
        self._tell([one for one in waiters if one.wanted <= there], None)
        if left := [one for one in waiters if one.wanted > there]:
            await self._give_up(line, left)

    async def _count(self, line: Line, wanted: int, milliseconds: int) -> int:
        """In how many places the writes are."""
        if not self.synced:
            return 1 + int(await line.exchange("WAIT", wanted - 1, milliseconds))
        told: list[Any] = await line.exchange("WAITAOF", 1, wanted - 1, milliseconds)
        return int(told[0]) and 1 + int(told[1])

    async def _give_up(self, line: Line, waiters: list[_Waiter]) -> None:
        """Tell those whose time is over, or who wait for replicas that are not there."""
        self._primary.replicas = await online_replicas(line)
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


async def online_replicas(line: Line) -> int:
    """How many replicas follow a primary."""
    told = (await line.exchange("INFO", "replication")).decode()
    return sum(row.startswith("slave") and "state=online" in row for row in told.splitlines())
