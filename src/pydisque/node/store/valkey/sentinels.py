"""Polls all Sentinels of a primary for the replicas that they know, and receives their events.

Invariant: a Sentinel that does not answer, or not soon, has no view; nothing is assumed of it.
Knows nothing of shards, nor of what follows from the views.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import hiredis

from pydisque.node.store.valkey.connection import Line, LineLostError
from pydisque.node.store.valkey.promotable import Address, Known, View
from pydisque.node.store.valkey.url import written

logger = logging.getLogger("pydisque.node")

TIMEOUT = 0.5
"""Seconds that a Sentinel has for its answer."""

SWITCHED = b"+switch-master"
RECONFIGURED = b"+convert-to-slave"
EVENTS = (
    SWITCHED, RECONFIGURED, b"+sdown", b"-sdown", b"+odown", b"-odown", b"+slave", b"+reboot",
    b"+promoted-slave", b"+failover-detected", b"+failover-end", b"+reset-master",
)  # fmt: skip
"""Events after which the Sentinels are polled again at once."""


class Sentinels:
    """Those of one service."""

    def __init__(
        self,
        connect: Callable[[Address, Callable[[Line, list[Any]], None]], Awaitable[Line]],
        happened: Callable[[bytes, bytes], None],
    ) -> None:
        """Prepare for Sentinels; `happened` gets each event's name and message."""
        self._connect = connect
        self._happened = happened
        self._lines: dict[Address, Line] = {}
        self._ids: dict[Address, str] = {}
        self._others: dict[Address, str] = {}
        """Sentinels that others name, and their IDs."""
        self._refused: set[tuple[Address, str]] = set()

    def close(self) -> None:
        for line in self._lines.values():
            line.close()
        self._lines.clear()

    def line(self, address: Address) -> Line | None:
        """The connection to a Sentinel, if there is one."""
        line = self._lines.get(address)
        return None if line is None or line.closed else line

    @property
    def is_refused(self) -> bool:
        """Whether a Sentinel refused a command, which it will not answer the next time either."""
        return bool(self._refused)

    @property
    def unreachable(self) -> list[str]:
        """The Sentinels that were asked, and that are not connected."""
        ids = {self._ids.get(address) for address in self._lines if self.line(address)}
        return [
            written(*address)
            for address, id_ in self._others.items()
            if id_ not in ids and not self.line(address)
        ]

    async def poll(self, given: Iterable[Address], service: str) -> list[View]:
        """The views of all Sentinels that answer in time: those given, and those they name."""
        views = await self._ask_all(given, service)
        answered = {view.observer for view in views}
        others = [one for one, id_ in self._others.items() if id_ not in answered]
        return [*views, *await self._ask_all(set(others) - set(given), service)]

    async def _ask_all(self, addresses: Iterable[Address], service: str) -> list[View]:
        asked = [self._ask_in_time(address, service) for address in addresses]
        return [view for view in await asyncio.gather(*asked) if view]

    async def _ask_in_time(self, address: Address, service: str) -> View | None:
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._ask(await self._open(address), address, service)
        except (LineLostError, TimeoutError) as error:
            if line := self._lines.pop(address, None):
                line.close()
            logger.debug("Sentinel at %s did not answer: %s", written(*address), error)
        except hiredis.ReplyError as error:
            self._warn(address, str(error))
        return None

    def _warn(self, address: Address, error: str) -> None:
        """Log an error once for each Sentinel."""
        if (address, error) not in self._refused:
            self._refused.add((address, error))
            logger.warning(
                "Sentinel at %s refused a command, so it does not count: %s",
                written(*address),
                error,
            )

    async def _open(self, address: Address) -> Line:
        if line := self.line(address):
            return line
        line = await self._connect(address, self._published)
        self._lines[address] = line
        for channel in EVENTS:
            try:
                await line.exchange("SUBSCRIBE", channel)
            except hiredis.ReplyError as error:  # it is polled all the same
                self._warn(address, str(error))
        return line

    async def _ask(self, line: Line, address: Address, service: str) -> View:
        if address not in self._ids:
            self._ids[address] = (await line.exchange("SENTINEL", "MYID")).decode()
        commands = ("GET-MASTER-ADDR-BY-NAME", "MASTER", "REPLICAS", "SENTINELS")
        primary, master, replicas, others = await asyncio.gather(
            *(line.exchange("SENTINEL", command, service) for command in commands)
        )
        watched = fields(master)
        for other in map(fields, others):
            self._others[_address(other)] = other[b"runid"].decode()
        return View(
            self._ids[address],
            (primary[0].decode(), int(primary[1])) if primary else _address(watched),
            tuple(map(_known, map(fields, replicas))),
            observers=int(watched[b"num-other-sentinels"]) + 1,
            quorum=int(watched[b"quorum"]),
            epoch=int(watched[b"config-epoch"]),
            is_primary_down=b"_down" in watched[b"flags"],
        )

    def _published(self, _line: Line, push: list[Any]) -> None:
        if push[0] == b"message":
            self._happened(push[1], push[2])


def fields(reply: Any) -> dict[bytes, bytes]:
    """Fields and values, as RESP3 gives them or as RESP2 does."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


def _address(row: dict[bytes, bytes]) -> Address:
    return row[b"ip"].decode(), int(row[b"port"])


def _known(row: dict[bytes, bytes]) -> Known:
    flags = row[b"flags"].split(b",")
    return Known(
        _address(row),
        row[b"runid"].decode(),
        priority=int(row[b"slave-priority"]),
        down=b"s_down" in flags or b"o_down" in flags,
        offset=int(row[b"slave-repl-offset"]),
        is_primary=row[b"role-reported"] == b"master",
    )
