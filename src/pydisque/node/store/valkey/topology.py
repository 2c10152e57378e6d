"""Which servers have the shards of a system, found and found again, and the connections to them.

The hosts that were given say themselves whether they are one server, a primary with replicas,
Sentinels or members of a Cluster. Whenever a shard is not where it was thought to be all is looked
up anew, until each has its place again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from os import urandom
from typing import Any, NamedTuple, TypeVar

import hiredis

from pydisque.errors import DisqueError
from pydisque.node.config import tls
from pydisque.node.config.tls import CertificateError
from pydisque.node.store.valkey import keys
from pydisque.node.store.valkey.batch import nobody
from pydisque.node.store.valkey.clocks import Clocks, read_clock
from pydisque.node.store.valkey.connection import Line, LineLostError, connect
from pydisque.node.store.valkey.keys import Layout
from pydisque.node.store.valkey.replicas import Replicas
from pydisque.node.store.valkey.replication import UNKNOWN, Copies, Told
from pydisque.node.store.valkey.sentinels import RECONFIGURED, SWITCHED, Sentinels, fields
from pydisque.node.store.valkey.shard import UNKNOWN_FUNCTION, Shard
from pydisque.node.store.valkey.url import Place, written

logger = logging.getLogger("pydisque.node")

T = TypeVar("T")

Address = tuple[str, int]

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between attempts to find the servers."""

Slots = list[tuple[int, int, Address]]
"""The primary of each range of slots, from the first to the last."""

_ALL = 0, 16383

SENTINELS_PATIENCE = 0.5
"""Seconds that Sentinels get to answer once one of them did."""


class Found(NamedTuple):
    """What one server tells of where the primaries are."""

    slots: Slots
    failovers: int = 0
    """The number of the last failover that it has heard of, if it is a Sentinel."""


class WrongPlaceError(OSError):
    """This Valkey cannot be used as it is, and will not be by itself; the text says why."""


class System:
    """The servers of one system, as one node uses them."""

    def __init__(
        self,
        place: Place,
        patience: float,
        *,
        copies: int = 0,
        synced: bool,
        published: Callable[[Line, list[Any]], None],
        placed: Callable[[Shard], None],
        listens: bool = True,
    ) -> None:
        """Prepare it.

        Args:
            place: where to look.
            patience: seconds after which a server that says nothing is given up.
            copies: how many servers have to have a change, besides those that may be promoted; 0
                if none of these has to have it.
            synced: whether changes have to be on disks.
            published: gets what servers say by themselves.
            placed: told of each shard that got a new place.
            listens: whether it is to be heard what is said of shards.
        """
        self.place = place
        self.patience = patience
        self.mode = ""
        """``standalone``, ``sentinel`` or ``cluster``."""
        self.shards: list[Shard] = []
        self.lines: dict[Address, Line] = {}
        self._tls = _tls(place)
        self._synced = synced
        self._copies: dict[Line, Copies] = {}
        self._published = published
        self._placed = placed
        self._listens = listens
        self._ears: dict[Line, Line] = {}
        """By the connection on which is asked, the one on which is heard what is published: Valkey
        hangs up on who listens when much is to be told at once, as a reply may be."""
        self._bare: set[Line] = set()  # whose server has not our functions any more
        self._wanted = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self.clocks = Clocks(self._visit)
        self._last: list[Address] = []
        self._sentinels = Sentinels(self._connect_sentinel, self._happened)
        self.replicas = Replicas(place, copies, self._sentinels, synced=synced, warns=listens)
        self._look: asyncio.Task[None] | None = None
        self._look_again = False

    # Starting and ending

    async def start(self, make: Callable[[Layout], list[Shard]], *, new: bool = True) -> None:
        """Find the servers, and the layout of the system; `make` makes its shards.

        If there is no such system it is made, unless that is not wanted (`new`).

        Raises:
            LineLostError: no server can be reached.
            WrongPlaceError: it cannot be used.
        """
        slots = await self._find()
        first = await self._line(_at(slots, keys.slot(self._layout_key())))
        self.shards = make(await self._layout(first, new=new))
        await self._place(slots)
        self._keeper = asyncio.create_task(self._keep())

    async def aclose(self) -> None:
        """Hang up everywhere."""
        if self._keeper:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        for copies in self._copies.values():
            copies.close()
        if self._look:
            self._look.cancel()
        self.replicas.close()
        for line in [*self.lines.values(), *self._ears.values()]:
            line.close()
        self.lines.clear()

    # Layout

    def _layout_key(self) -> bytes:
        return self.place.prefix.encode() + b"{0}:layout"

    async def _layout(self, line: Line, *, new: bool) -> Layout:
        key = self._layout_key()
        if not new and not await line.exchange("EXISTS", key):
            raise WrongPlaceError(
                f"no node has used {self.place} yet, with the prefix {self.place.prefix!r}"
            )
        shards = self.place.shards or (keys.MOST_SHARDS if self.mode == "cluster" else 1)
        await line.exchange("HSETNX", key, "shards", shards)
        await line.exchange("HSETNX", key, "version", keys.VERSION)
        version, kept = map(int, await line.exchange("HMGET", key, "version", "shards"))
        if version != keys.VERSION:
            advice = "upgrade" if version > keys.VERSION else "use an older"
            raise WrongPlaceError(
                f"what is in {self.place} has layout {version}, and this pydisque knows layout "
                f"{keys.VERSION} only: {advice} pydisque here, or give another prefix"
            )
        if self.place.shards not in (0, kept):
            raise WrongPlaceError(
                f"what is in {self.place} has {kept} shards, not {self.place.shards}: the number "
                "is decided when a system is new"
            )
        return Layout(self.place.prefix, kept)

    # Keeping

    def stale(self, shard: Shard, why: str) -> None:
        """A shard is not where it was thought to be, or our functions are not there any more."""
        if UNKNOWN_FUNCTION in why and shard.line:
            self._bare.add(shard.line)
        self._wanted.set()

    def _lost(self, line: Line, why: str) -> None:
        if self.lines.get(line.address) is line:
            del self.lines[line.address]
        if ear := self._ears.pop(line, None):
            ear.close()
        self.replicas.forget(line)
        if copies := self._copies.pop(line, None):
            copies.close()
        logger.warning("lost connection to Valkey at %s: %s", line, why)
        for shard in self.shards:
            if shard.line is line:
                shard.lose(why)
        self._wanted.set()

    async def _keep(self) -> None:
        pause = FIRST_PAUSE
        told = ""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._load_again()
                await self._place(await self._find())
                missing = [shard for shard in self.shards if shard.line is None]
                if not missing:
                    pause, told = FIRST_PAUSE, ""
                    await asyncio.sleep(FIRST_PAUSE)
                    continue
            except Exception as error:
                if str(error) != told:
                    told = str(error)
                    expected = isinstance(error, OSError | hiredis.ReplyError)
                    logger.warning("no Valkey found, retrying: %s", told, exc_info=not expected)
                for shard in self.shards:
                    if shard.line is None:
                        shard.lose(str(error))
            self._wanted.set()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _load_again(self) -> None:
        """Load the functions where somebody threw them away."""
        while self._bare:
            line = self._bare.pop()
            if not line.closed:
                logger.warning("function library missing in Valkey at %s: loading it", line)
                await self._in_time(line, _load(line))

    async def _in_time(self, line: Line, work: Awaitable[T]) -> T:
        """Give a server up that takes too long.

        Raises:
            LineLostError: it does.
        """
        try:
            async with asyncio.timeout(self.patience):
                return await work
        except TimeoutError:
            raise LineLostError(f"{line}: it does not answer") from None

    async def _place(self, slots: Slots) -> None:
        """Give each shard its place."""
        moved: dict[Address, list[Shard]] = {}
        for shard in self.shards:
            try:
                address = _at(slots, keys.slot(shard.tag))
            except LineLostError as error:
                shard.lose(str(error))
                continue
            if shard.line is None or shard.line.closed or shard.line.address != address:
                moved.setdefault(address, []).append(shard)
        failure: LineLostError | None = None
        for address, shards in moved.items():
            try:
                await self._move(shards, await self._line(address))
            except LineLostError as error:
                failure = error
                for shard in shards:
                    shard.lose(str(error))
        if failure:
            raise failure

    async def _move(self, shards: list[Shard], line: Line) -> None:
        for shard in shards:
            shard.lose(f"connecting to {line}")
        await asyncio.gather(*(shard.answered() for shard in shards))
        token = urandom(9).hex().encode()
        if ear := self._ears.get(line):
            channels = [
                tag + end for tag in (s.tag for s in shards) for end in (b"@" + token, b":due")
            ]
            try:
                await self._in_time(
                    ear, asyncio.gather(*(ear.exchange("SSUBSCRIBE", name) for name in channels))
                )
            except hiredis.ReplyError as error:  # it moved on meanwhile
                raise LineLostError(str(error)) from None
        for shard in shards if not line.closed else ():
            shard.serve_on(line, token)
            self._placed(shard)

    def hears(self, shard: Shard, ear: Line) -> bool:
        """Whether this is where it is heard what is said of a shard."""
        return shard.line is not None and self._ears.get(shard.line) is ear

    async def _listen(self, line: Line) -> None:
        """Open the connection on which is heard what a server publishes."""
        ear = await self._connect(line.address)
        ear.lost = lambda _ear, why: line.abort(f"lost the connection for messages: {why}")
        self._ears[line] = ear

    async def _line(self, address: Address) -> Line:
        """A connection to a primary, on which our functions are there."""
        if (line := self.lines.get(address)) and not line.closed:
            return line
        line = await self._connect(address)
        try:
            await self._in_time(line, self._prepare(line))
            if self._listens:
                await self._listen(line)
        except BaseException:
            line.close()
            raise
        self.lines[address] = line
        logger.info("connected to Valkey at %s, version %s", line, line.server[b"version"].decode())
        return line

    async def _connect(self, address: Address, *, database: bool = True) -> Line:
        try:
            return await connect(
                self.place,
                address,
                self._published,
                self._lost,
                tls=self._tls,
                patience=self.patience,
                database=database,
            )
        except LineLostError as error:
            raise LineLostError(f"{written(*address)}: {error}", sent=False) from None

    async def _prepare(self, line: Line) -> None:
        memory = await line.exchange("INFO", "memory")
        policy = memory.partition(b"maxmemory_policy:")[2].split()[0].decode()
        if policy != "noeviction":
            raise WrongPlaceError(
                f"Valkey at {line} may throw jobs away when memory is short: its maxmemory-policy "
                f"is {policy}, and has to be noeviction"
            )
        line.run = await _run_of(line)
        line.ahead = 1000 * (await read_clock(line)).ahead
        await self.replicas.begin(line)
        if self._synced:
            await self._check_disk(line)
        await _load(line)

    async def _check_disk(self, line: Line) -> None:
        """Whether it can tell that something is on its disk."""
        told = await line.exchange("INFO", "persistence")
        if b"aof_enabled:1" not in told:
            raise WrongPlaceError(
                f"Valkey at {line} writes nothing at once: its appendonly is no, and has to be yes "
                "for durability always"
            )
        try:
            await line.exchange("WAITAOF", 0, 0, 1)
        except hiredis.ReplyError:
            raise WrongPlaceError(
                f"the server at {line} cannot say what is on its disk: WAITAOF came with Redis and "
                "Valkey 7.2"
            ) from None

    # Copies

    def copied(
        self, shard: Shard, wanted: int, patience: float, told: Told, line: Line | None = None
    ) -> None:
        """Tell when what was changed in a shard until now is in so many places."""
        line = line or shard.line
        if line is None or line.closed:
            told(DisqueError(UNKNOWN))
            return
        copies = self._copies.get(line)
        if copies is None:
            copies = Copies(line, self.replicas.of[line], partial(self._second, line))
            copies.synced = self._synced
            self._copies[line] = copies
        copies.wait(shard.tag + b":mark", wanted, patience, told)

    async def _second(self, line: Line) -> Line:
        """Another connection to a server, which must not have been started anew meanwhile."""
        second = await self._visit(line.address)
        second.run = await _run_of(second)
        if second.run != line.run or line.closed:
            second.close()
            raise LineLostError("the server was restarted")
        return second

    def drop_silent(self) -> None:
        """Give up the connections on which something is asked and nothing said."""
        seconds = [copies.line for copies in self._copies.values()]
        for line in [*self.lines.values(), *seconds]:
            if line and line.is_hung(self.patience):
                line.abort(f"no reply for {self.patience:g} seconds")

    def look_at_replicas(self) -> None:
        """See soon which replicas each primary has, and which of them may be promoted."""
        self._look_again = True
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._look_at_replicas())

    async def _look_at_replicas(self) -> None:
        while self._look_again:
            self._look_again = False
            await self.replicas.look_at_all()
        primary = self.replicas.primary
        if primary and self.lines and primary not in self.lines:
            self._failed_over()
        for shard in self.shards:  # whether what held replies back is over
            line = shard.line
            if line and (copies := self._copies.get(line)) and copies.held_by:
                self.copied(shard, 1, self.patience, nobody, line)

    def held_by(self) -> list[str]:
        """The replicas for which replies wait."""
        return sorted({name for copies in self._copies.values() for name in copies.held_by})

    async def compare_clocks(self) -> None:
        """See whether the clocks of all servers agree."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.patience):
                await self.clocks.compare(list(self.lines.values()))

    async def _visit(self, address: Address) -> Line:
        """A connection to a server that is not missed when it is lost."""
        line = await self._connect(address)
        line.lost = lambda _line, _why: None
        return line

    # Finding

    async def _find(self) -> Slots:
        """The primaries by slots; a single one has all.

        Raises:
            LineLostError: none can be reached, or none of those that can is a primary.
        """
        reasons: list[str] = []
        for address in dict.fromkeys([*self._last, *self.place.hosts]):
            try:
                found = await self._ask(address)
            except LineLostError as error:
                reasons.append(str(error))
                continue
            except hiredis.ReplyError as error:
                reasons.append(f"{written(*address)}: {error}")
                continue
            if self.mode == "cluster":  # members come and go
                self._last = list(dict.fromkeys(address for *_, address in found.slots))[:8]
            elif self.mode == "sentinel":
                heard = [found, *await self._fellows_of(address)]
                found = max(heard, key=lambda found: found.failovers)
            return found.slots
        raise LineLostError("; ".join(reasons), sent=False)

    async def _fellows_of(self, sentinel: Address) -> list[Found]:
        """What the other Sentinels say, those that answer soon."""
        others = [address for address in self.place.hosts if address != sentinel]
        asked = [asyncio.create_task(self._ask(address)) for address in others]
        if asked:
            _, late = await asyncio.wait(asked, timeout=SENTINELS_PATIENCE)
            for task in late:
                task.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return [answer for answer in answers if isinstance(answer, Found)]

    async def _ask(self, address: Address) -> Found:
        line = self.lines.get(address) or self._sentinels.line(address)
        used = line is not None and not line.closed
        if line is None or not used:
            line = await self._connect(address, database=False)
        try:
            return await self._in_time(line, self._slots_by(line))
        finally:
            if not used:
                line.close()

    async def _slots_by(self, line: Line) -> Found:
        """The primaries as a server tells them, whichever kind it is of."""
        self.mode = line.server[b"mode"].decode()
        if self.mode == "cluster":
            return Found(_slots(await line.exchange("CLUSTER", "SLOTS"), line.address[0]))
        if self.mode == "sentinel":
            return await self._told_by(line)
        return Found([(*_ALL, await self._of_one(line))])

    async def _of_one(self, line: Line) -> Address:
        told = (await line.exchange("INFO", "replication")).decode()
        fields = dict(row.partition(":")[::2] for row in told.split())
        if "role" not in fields:
            raise WrongPlaceError(f"{line} is no Valkey; a node of Disque answers so")
        if fields["role"] == "master":
            return line.address
        primary = fields["master_host"], int(fields["master_port"])
        if primary in self.place.hosts:
            raise LineLostError(f"{line} is a replica of {written(*primary)}", sent=False)
        return primary

    async def _told_by(self, sentinel: Line) -> Found:
        service = self.place.service
        if not service:
            watched = await sentinel.exchange("SENTINEL", "MASTERS")
            names = [fields(one)[b"name"].decode() for one in watched]
            if len(names) != 1:
                raise WrongPlaceError(
                    f"the Sentinel at {sentinel} watches over {', '.join(names) or 'nothing'}: say "
                    "over which of them the jobs are kept, as in ?service=mymaster"
                )
            service = names[0]
        found = await sentinel.exchange("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        if not found:
            raise LineLostError(f"the Sentinel at {sentinel} knows no {service}", sent=False)
        self.replicas.service = service
        watched_over = fields(await sentinel.exchange("SENTINEL", "MASTER", service))
        primary = found[0].decode(), int(found[1])
        return Found([(*_ALL, primary)], int(watched_over[b"config-epoch"]))

    async def _connect_sentinel(
        self, address: Address, published: Callable[[Line, list[Any]], None]
    ) -> Line:
        return await connect(
            self.place,
            address,
            published,
            lambda _line, _why: None,
            tls=self._tls,
            patience=self.patience,
            database=False,
        )

    def _happened(self, event: bytes, message: bytes) -> None:
        """A Sentinel told of an event; see what follows."""
        if event == SWITCHED:
            name, _, _, host, port = message.decode().split()
            if name == self.replicas.service and (host, int(port)) not in self.lines:
                logger.warning("failover of %s: Valkey at %s:%s was promoted", name, host, port)
                self._failed_over()
        elif event == RECONFIGURED:  # slave NAME HOST PORT @ …
            _, _, host, port, *_ = message.decode().split()
            self.replicas.reconfigured((host, int(port)))
        self.look_at_replicas()

    def _failed_over(self) -> None:
        for primary in list(self.lines.values()):
            primary.abort("failover: another server was promoted")
        self._wanted.set()


async def _run_of(line: Line) -> bytes:
    """What a server calls itself for as long as it runs."""
    told: bytes = await line.exchange("INFO", "server")
    return told.partition(b"run_id:")[2].split()[0]


async def _load(line: Line) -> None:
    """See to it that our functions are there."""
    with contextlib.suppress(hiredis.ReplyError):  # they are there already
        await line.exchange("FUNCTION", "LOAD", keys.library())
    listed = await line.exchange("FUNCTION", "LIST", "LIBRARYNAME", keys.LIBRARY)
    if not listed:
        await line.exchange("FUNCTION", "LOAD", keys.library())  # and now say why not


def _slots(told: Iterable[Any], host: str) -> Slots:
    """What CLUSTER SLOTS says; a member that does not know its own address has the one asked."""
    return [
        (first, last, ((primary[0] or b"").decode() or host, int(primary[1])))
        for first, last, primary, *_ in told
    ]


def _at(slots: Slots, slot: int) -> Address:
    for first, last, address in slots:
        if first <= slot <= last:
            return address
    raise LineLostError("no server has this part of the Cluster", sent=False)


def _tls(place: Place) -> ssl.SSLContext | None:
    if not place.tls:
        return None
    try:
        return tls.for_client(place.cert, place.key, place.ca)
    except CertificateError as error:
        raise WrongPlaceError(f"{error.role}: {error}") from None
