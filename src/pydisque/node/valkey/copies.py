"""When a change is in as many places as was asked: in replicas, and on disks if so chosen.

Valkey tells that of a connection's own writes only, and lets the connection do nothing else
meanwhile. So each primary has a second one, on which a small write is made after all those that
somebody waits for, and waited for: whoever has that has everything before it. One such round is
under way at a time; who comes meanwhile shares the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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
    wanted: int
    deadline: float
    told: Told


class Copies:
    """Those of one primary's changes."""

    def __init__(self, line: Line, connect: Callable[[], Awaitable[Line]], mark: bytes) -> None:
        """Prepare for a primary.

        Args:
            line: the connection on which changes are made.
            connect: opens another one to the same server.
            mark: the key of the small write.
        """
        self.synced = False
        """Whether changes have to be on disks, too."""
        self._primary = line
        self._connect = connect
        self._mark = mark
        self.line: Line | None = None
        """The second connection."""
        self._waiters: list[_Waiter] = []
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._rounds = 0
        self._failure: Exception | None = None

    def wait(self, wanted: int, patience: float, told: Told) -> None:
        """Tell once what was changed until now is in `wanted` places, in so many seconds (0: ever).

        Raises nothing: `told` hears of a `NoReplError`, or that nobody knows.
        """
        deadline = self._loop.time() + patience if patience else float("inf")
        self._waiters.append(_Waiter(wanted, deadline, told))
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    def close(self) -> None:
        """Tell whoever waits that nobody knows."""
        if self._task:
            self._task.cancel()
            self._task = None
        if self.line:
            self.line.close()
        self._tell(self._waiters, DisqueError(UNKNOWN))

    async def _run(self) -> None:
        try:
            while self._waiters:
                waiters, self._waiters = self._waiters, []
                try:
                    await self._round(waiters)
                except (LineLostError, hiredis.ReplyError):
                    self._tell(waiters, DisqueError(UNKNOWN))
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
        line.ask(["SET", self._mark, 1], self._written)
        there = await self._count(line, wanted, max(1, int(seconds * 1000)))
        if self._failure:
            raise self._failure
        left = [waiter for waiter in waiters if waiter.wanted > there]
        self._tell([waiter for waiter in waiters if waiter.wanted <= there], None)
        if left:
            await self._give_up(line, left)

    def _written(self, reply: object) -> None:
        self._failure = reply if isinstance(reply, Exception) else None

    async def _count(self, line: Line, wanted: int, milliseconds: int) -> int:
        """In how many places the write is."""
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
                waiter.told(NoReplError())
            elif waiter.deadline <= now:
                waiter.told(NoReplError(TOO_LATE))
            else:
                self._waiters.append(waiter)

    @staticmethod
    def _tell(waiters: list[_Waiter], error: DisqueError | None) -> None:
        for waiter in waiters:
            waiter.told(error)


async def online_replicas(line: Line) -> int:
    """How many replicas follow a primary."""
    told = (await line.exchange("INFO", "replication")).decode()
    return sum(row.startswith("slave") and "state=online" in row for row in told.splitlines())
