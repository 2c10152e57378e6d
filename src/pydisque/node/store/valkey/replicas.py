"""Keeps, for each primary, the set of replicas that a failover could promote.

Asks Sentinels, the Cluster and the primaries themselves, every second and after each event of a
Sentinel. What follows from the answers is decided in `promotable`; this module only fetches them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket

import hiredis

from pydisque.node.store.valkey.connection import Line, LineLostError
from pydisque.node.store.valkey.promotable import (
    Address,
    Known,
    Promotable,
    View,
    canonical,
    parse_listing,
)
from pydisque.node.store.valkey.sentinels import Sentinels, fields
from pydisque.node.store.valkey.url import Place

logger = logging.getLogger("pydisque.node")

_FAILED = ("fail", "noaddr", "handshake")
_NEVER = "nofailover"


class Replicas:
    """Those of all primaries of one system."""

    def __init__(
        self, place: Place, copies: int, sentinels: Sentinels, *, synced: bool, warns: bool
    ) -> None:
        """Prepare it.

        Args:
            place: the address that was given.
            copies: the minimum number of copies; with 0 no reply waits for any replica.
            sentinels: where to ask, if the system has Sentinels.
            synced: whether replies wait for disks.
            warns: whether to log what is wrong with a topology.
        """
        self._warns = warns
        self._always = copies > 1 or synced
        self.service = ""
        """What Sentinels call the primary."""
        self.of: dict[Line, Promotable] = {}
        self.epoch = 0
        """The newest failover that a Sentinel has told of."""
        self.primary: Address | None = None
        """Where that leads to."""
        self._place = place
        self._copies = copies
        self._sentinels = sentinels
        self._experienced: set[Address] = set()
        self._hosts: dict[str, frozenset[str]] = {}
        self._views: list[View] = []
        self._asking: dict[Line, asyncio.Task[None]] = {}
        self._last: Promotable | None = None
        """The replicas of the primary before, or of this one on the connection before."""
        self._priorities: dict[Address, int] = {}
        """Of primaries, once they are replicas."""
        self._warned: set[str] = set()
        self._loop = asyncio.get_running_loop()

    async def begin(self, line: Line) -> None:
        """Find the replicas of a primary before anything is asked of it.

        Raises:
            LineLostError: the primary does not answer.
        """
        mode = line.server[b"mode"].decode()
        replicas = Promotable(
            line.address,
            line.run.decode(),
            tuple(self._place.hosts) if mode == "standalone" else (),
            self._experienced,
            self._hosts,
            watched=mode != "standalone" or bool(self.service),
            all_online=self._copies > 1,
        )
        if self.service:
            now = self._loop.time()
            if self._last:
                replicas.inherit(self._last, now)
                address = self._last.primary
                replicas.expect(address, self._priorities.get(address, 0), now)
            self._priorities[line.address] = await _own_priority(line)
        self.of[line] = replicas
        await self.look(line)
        if self.service:
            if not self._views and not self._sentinels.is_refused:
                raise LineLostError(f"{line}: no Sentinel answers which replicas it has")
            self._last = replicas
        self._warn_of(line, replicas)

    def close(self) -> None:
        for line in list(self.of):
            self.forget(line)
        self._sentinels.close()

    def forget(self, line: Line) -> None:
        """The connection is gone."""
        self.of.pop(line, None)
        if task := self._asking.pop(line, None):
            task.cancel()

    async def look(self, line: Line) -> None:
        """Ask all that know of a primary's replicas.

        Raises:
            LineLostError: the primary does not answer.
        """
        await self._ask_sentinels()
        await self._ask(line)

    async def look_at_all(self) -> None:
        """The same for all primaries.

        A primary that hangs is not waited for: what Sentinels say counts at once, and before
        the replies that it sends when it goes on.
        """
        await self._ask_sentinels()
        for line in self.of:
            task = self._asking.get(line)
            if task is None or task.done():
                self._asking[line] = self._loop.create_task(self._ask_if_there(line))

    async def _ask_if_there(self, line: Line) -> None:
        with contextlib.suppress(LineLostError, hiredis.ReplyError):
            await self._ask(line)

    async def _ask_sentinels(self) -> None:
        if not self.service:
            return
        self._views = await self._sentinels.poll(self._place.hosts, self.service)
        newest = max(self._views, key=lambda view: view.epoch, default=None)
        if newest and newest.epoch >= self.epoch:
            self.epoch, self.primary = newest.epoch, newest.primary
        for line, replicas in self.of.items():
            replicas.observe(self._views, self._loop.time())
            self._decide(line, replicas)

    async def _ask(self, line: Line) -> None:
        views = await self._views_of(line)
        listing = parse_listing(await line.exchange("INFO", "replication"))
        if (replicas := self.of.get(line)) is None:
            return
        replicas.observe(views, self._loop.time())
        replicas.read(listing, self._loop.time())
        line.replicas = listing.online
        self._decide(line, replicas)
        hosts = {one.address[0] for one in listing.replicas} | {line.address[0]}
        await self._resolve(hosts.union(one.address[0] for view in views for one in view.replicas))

    def _decide(self, line: Line, replicas: Promotable) -> None:
        line.awaits_copies = self._always or (self._copies > 0 and replicas.is_awaited)

    def reconfigured(self, address: Address) -> None:
        """A Sentinel makes a server a replica."""
        for replicas in self.of.values():
            replicas.reconfigured(address)

    async def _views_of(self, line: Line) -> list[View]:
        if self.service:
            return self._views
        if line.server[b"mode"] == b"cluster":
            try:
                return [_cluster_view(line.address, await line.exchange("CLUSTER", "NODES"))]
            except hiredis.ReplyError as error:
                self._warn(f"Valkey at {line} refused CLUSTER NODES, so only the replicas that it "
                           f"lists itself hold replies back: {error}")  # fmt: skip
        return []

    async def _resolve(self, hosts: set[str]) -> None:
        """Find the addresses of host names, which one side may use and the other not."""
        hosts = hosts | {host for host, _ in self._place.hosts}
        names = {name for name in map(canonical, hosts) if not _is_number(name)}
        for name in names:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(0.5):
                    rows = await self._loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
                    self._hosts[name] = frozenset(canonical(str(row[4][0])) for row in rows)

    # Telling

    def names(self) -> list[str]:
        """The promotable replicas of all primaries."""
        return sorted({name for one in self.of.values() for name in one.names()})

    def left_out(self) -> list[str]:
        """The replicas that are down or have not caught up."""
        return sorted({name for one in self.of.values() for name in one.left_out()})

    def _warn(self, text: str) -> None:
        if self._warns and text not in self._warned:
            self._warned.add(text)
            logger.warning("%s", text)

    def _warn_of(self, line: Line, replicas: Promotable) -> None:
        """Log where a topology cannot keep confirmed changes through a failover."""
        for text in oddities(replicas, self._copies):
            self._warn(f"Valkey at {line}: {text}")
        if self.service and replicas.views and replicas.is_awaited and self._copies:
            for text in oddities_of_sentinels(self._views, self._sentinels.unreachable):
                self._warn(f"Sentinels of {self.service}: {text}")


async def _own_priority(line: Line) -> int:
    """The priority of a primary once it is a replica; 0 if it may not be asked for."""
    try:
        reply = await line.exchange("CONFIG", "GET", "replica-priority")
    except hiredis.ReplyError:
        return 0
    return int(fields(reply).get(b"replica-priority", 0))


def oddities(replicas: Promotable, copies: int) -> list[str]:
    """Why confirmed changes may be lost in a failover, or replies be refused after a failure."""
    found = []
    if not replicas.is_awaited:
        if any(view.replicas for view in replicas.views):
            found.append("no replica can be promoted: all have replica-priority 0")
        elif replicas.listing.replicas:
            found.append(
                "it has replicas that no Sentinel watches and that are not among the store's "
                "hosts: replies do not wait for them, and a promotion of one loses what it lacks"
            )
        return found
    if copies == 0:
        found.append(
            "replicate is 0, so replies do not wait for replicas: a failover loses about a second "
            "of confirmed changes"
        )
    elif not replicas.watched:
        found.append(
            "no Sentinel watches its replicas, so nobody says when one that holds replies back is "
            "down; they are refused until it is back, or up to 90 seconds if it is not one of the "
            "store's hosts"
        )
    return found


def oddities_of_sentinels(views: list[View], unreachable: list[str]) -> list[str]:
    """The same of the Sentinels, as they say themselves."""
    found = []
    observers = max(view.observers for view in views)
    quorum = min(view.quorum for view in views)
    if observers < 3:
        found.append(
            f"{observers} Sentinel{'s' * (observers > 1)}; expected 3 or more: while one is away "
            "a replica that is down is not left out, so replies are refused"
        )
    elif quorum == 1:
        found.append(
            "quorum 1; expected 2 or more: one Sentinel that is cut off from the primary starts "
            "failovers by itself"
        )
    if unreachable:
        found.append(
            f"this node does not reach the Sentinels at {', '.join(unreachable)}: of {observers}, "
            f"{observers // 2 + 1} have to say that a replica is down before it is left out"
        )
    return found


def _cluster_view(primary: Address, reply: bytes) -> View:
    """The replicas that a member of a Cluster has, as it knows them itself."""
    rows = [row.split() for row in reply.decode().splitlines()]
    own = next((row[0] for row in rows if "myself" in row[2]), "")
    known = []
    for id_, place, state, of, *_ in rows:
        flags = state.split(",")
        if of == own and "slave" in flags:
            down = any(flag in flags for flag in _FAILED)
            priority = 0 if _NEVER in flags else 100
            known.append(Known(_member_address(place, primary[0]), id_, priority, down))
    return View("cluster", primary, tuple(known))


def _member_address(place: str, host: str) -> Address:
    """Where a member is, as in ``10.0.0.1:6379@16379,name``."""
    own, _, port = place.partition("@")[0].rpartition(":")
    return own.strip("[]") or host, int(port)


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
