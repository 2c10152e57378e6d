"""Compares the clocks of Valkey's servers, primaries and replicas, and warns when they differ.

A difference counts only as far as it is certain: half of each round trip is subtracted, so a slow
answer never looks like a wrong clock. Must not know jobs or shards.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import hiredis

from pydisque.node.store.valkey.connection import Line, LineLostError
from pydisque.node.store.valkey.promotable import parse_listing

ALLOWED = 1.0
"""Seconds by which the clocks of two servers may differ without a warning."""

logger = logging.getLogger("pydisque.node")


class Reading(NamedTuple):
    """A server's clock, compared with this machine's monotonic one."""

    ahead: float
    """Seconds."""
    error: float
    """Seconds by which that may be wrong, either way."""


class Difference(NamedTuple):
    """The largest certain difference between the clocks of two servers."""

    seconds: float = 0.0
    fastest: str = ""
    slowest: str = ""


def difference(readings: dict[str, Reading]) -> Difference:
    """The largest certain difference between any two servers; 0 for fewer than two."""
    if len(readings) < 2:
        return Difference()
    fastest = max(readings, key=lambda name: readings[name].ahead - readings[name].error)
    slowest = min(readings, key=lambda name: readings[name].ahead + readings[name].error)
    first, last = readings[fastest], readings[slowest]
    seconds = first.ahead - first.error - last.ahead - last.error
    return Difference(seconds, fastest, slowest) if seconds > 0 else Difference()


class Clocks:
    """The clocks of one system's servers, as they were when they were last compared."""

    def __init__(self, connect: Callable[[tuple[str, int]], Awaitable[Line]]) -> None:
        """Prepare; `connect` opens a connection to a replica, for one look."""
        self.difference = Difference()
        self._connect = connect
        self._warned = ""

    async def compare(self, primaries: Iterable[Line]) -> None:
        """Read all clocks once and warn if two of them differ by more than allowed.

        A server that cannot be reached is left out; other parts of the node warn about it.
        """
        readings: dict[str, Reading] = {}
        replicas: set[tuple[str, int]] = set()
        for line in primaries:
            with contextlib.suppress(LineLostError, hiredis.ReplyError):
                readings[str(line)] = await read_clock(line)
                replicas |= await _replicas_of(line)
        for address in sorted(replicas):
            with contextlib.suppress(LineLostError, hiredis.ReplyError):
                line = await self._connect(address)
                try:
                    readings[str(line)] = await read_clock(line)
                finally:
                    line.close()
        self.difference = difference(readings)
        self._warn(self.difference)

    def _warn(self, found: Difference) -> None:
        """Log once that clocks differ, again when it is others that do, and that it is over."""
        seconds, fastest, slowest = found
        differing = f"{fastest} {slowest}" if seconds > ALLOWED else ""
        if differing and differing != self._warned:
            logger.warning(
                "clocks of Valkey servers differ: %s is %.1f s ahead of %s; expected %g s or less: "
                "synchronize them (NTP), or a failover ends leases, delays and TTLs early or late",
                fastest,
                seconds,
                slowest,
                ALLOWED,
            )
        elif self._warned and not differing:
            logger.info("clocks of Valkey servers agree again")
        self._warned = differing


async def read_clock(line: Line) -> Reading:
    """A server's clock now; a connection's first reading is also the offset of its shards.

    Raises:
        LineLostError: the connection was lost.
        hiredis.ReplyError: the server refused.
    """
    loop = asyncio.get_running_loop()
    before = loop.time()
    seconds, microseconds = map(int, await line.exchange("TIME"))
    after = loop.time()
    return Reading(seconds + microseconds / 1e6 - (before + after) / 2, (after - before) / 2)


async def _replicas_of(primary: Line) -> set[tuple[str, int]]:
    listing = parse_listing(await primary.exchange("INFO", "replication"))
    return {replica.address for replica in listing.replicas}
