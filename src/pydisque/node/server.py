"""The node on its sockets: listen, accept, keep the time, stop.

`Server` is what programs use: in a thread of its own, in an asyncio loop that runs already, or as
the main thing of a process (`run`). What clients may ask is decided further in.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import gc
import logging
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import uvloop

from pydisque.node.commands.table import commands_for
from pydisque.node.config import exposure, users
from pydisque.node.config.parameters import LOG_LEVELS, Config, SettingError
from pydisque.node.config.sources import data_home, from_keywords
from pydisque.node.connection import Connection
from pydisque.node.state.node import Node
from pydisque.node.store.base import LocalStore, Store
from pydisque.node.store.durable.store import DurableStore
from pydisque.node.tls_listener import Doorway

if TYPE_CHECKING:
    from pydisque.node.observability.health import NodeDoor
    from pydisque.node.store.valkey.url import Place

logger = logging.getLogger("pydisque.node")

_M_MMAP_THRESHOLD = -3
LARGE_BLOCK = 512 * 1024
"""Bytes; more than one read of a socket."""

RETRY = 0.5
"""Seconds after which a Valkey is looked for again that was not there."""

IN_MEMORY = ":memory:"
"""The data directory of a node that has none."""


class Server:
    """A Disque node, for any Disque client in any language.

    In a thread of its own::

        with Server() as server:
            client = Client([server.address])

    or in a running asyncio loop::

        async with Server(port=7711) as server:
            await server.wait_closed()
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        unixsocket: str | None = None,
        password: str | None = None,
        data: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] | None = None,
        **settings: object,
    ) -> None:
        """Prepare a node; it listens once it is entered, started or run.

        Args:
            host: the address to listen on, or several with commas between them.
            port: the TCP port; 0 for any that is free, -1 for none.
            unixsocket: the path of a Unix socket to listen on as well.
            password: what clients have to send with AUTH first.
            data: the directory in which jobs are kept, made if it is not there; without one they
                are kept in memory, and gone with the node.
            clock: Unix time in seconds, asked in any thread, for tests; the real time unless given.
                Jobs, queues and idle clients go by it, retry times do not scatter; a client that
                waits does so in real time. It is looked at with each command, once a second, and
                in `catch_up`.
            settings: any other of docs/configuration.md, its dashes as underscores.

        Raises:
            ValueError: a setting is wrong, does not fit the others, or is not safe.
        """
        named = {"bind": host, "port": port, "unixsocket": unixsocket, "requirepass": password}
        kept = {} if data is None else {"data": os.fspath(data)}
        self._given = from_keywords(named | kept | settings)
        config = Config(**self._given)
        if config["port"] == "-1" and not config["unixsocket"]:
            raise SettingError("port", "with -1 give a unixsocket, else nobody could connect")
        self.host = config["bind"]
        self.port = config.number("port")
        self.unixsocket = config["unixsocket"] or None
        self._users = _read_users(config)
        self._given["requirepass"] = _read_password(config)
        exposure.check_protection(Config(**self._given))
        self._tls = exposure.tls_context(config)
        if config["store"] and "durability" not in self._given:
            self._given["durability"] = "none"  # as Valkey's own settings say
            config = Config(**self._given)
        self._place = _place(config)
        if self._place and clock is not None:
            raise ValueError("the clock of a node on Valkey is Valkey's")
        commands_for(config)
        self._clock = clock
        self._patient = False  # to wait for a Valkey that is not there yet
        self._alarm: Alarm | None = None
        self._loop_thread = 0
        self._servers: list[asyncio.Server] = []
        self._doorways: list[Doorway] = []
        self._made_socket: str | None = None
        self._thread: threading.Thread | None = None
        self._closed: asyncio.Event | None = None
        self._door: NodeDoor | None = None

    @property
    def http_address(self) -> str | None:
        """Where ``/health``, ``/live`` and ``/metrics`` are served now, as ``host:port``."""
        return self._door.address if self._door else None

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as `Client` takes them."""
        hosts = self.host.split(",") if self.port != -1 else []
        tcp = [f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}" for host in hosts]
        return tcp + ([f"unix:{self.unixsocket}"] if self.unixsocket else [])

    @property
    def address(self) -> str:
        """The first of `addresses`."""
        return self.addresses[0]

    # In a running loop

    async def start(self) -> None:
        """Listen in the running loop, once the jobs in the data directory are there.

        Raises:
            OSError: an address cannot be listened on, or the data directory not be used.
        """
        loop = self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._closed = asyncio.Event()
        config = Config(**self._given)
        self._open_door(config)
        try:
            store = await self._open_store(config)
        except BaseException:
            await self._close_door()
            raise
        self.node = node = Node(commands_for(config), store, config, users=self._users)
        node.commits.call_soon = node.turns.call_soon = loop.call_soon
        node.multiplexing_api = type(loop).__module__.partition(".")[0]
        node.stop = lambda: None if self._closed is None else self._closed.set()
        node.call_later = loop.call_later
        self._alarm = Alarm(node, loop, rings=self._clock is None)
        try:
            if self._clock is not None:
                self._alarm.catch_up()  # it may stand, and then says nothing new for ever
            await self._listen(loop, lambda: Connection(node, loop), config)
        except BaseException:
            await self.aclose()
            raise
        if self._door:
            self._door.show(node, queues=config.number("metrics-queues"))
        config.fix("port", str(max(0, self.port)))
        config.fix("store", str(self._place or ""))  # without its password
        if self._place:
            config.fix("durability", config["durability"])
        node.announce()
        if "loglevel" in self._given:
            logger.setLevel(LOG_LEVELS[config["loglevel"]])
        logger.info("node %s listens on %s", node.id.decode(), " and ".join(self.addresses))

    def _open_door(self, config: Config) -> None:
        """Tell from now on how it goes: that may take a while, until its jobs are there."""
        if config["http"]:
            from pydisque.node.observability.health import NodeDoor  # noqa: PLC0415 - most need no HTTP

            door = NodeDoor(config["http"], self._loop)
            door.open()
            self._door = door

    async def _close_door(self) -> None:
        door, self._door = self._door, None
        if door:
            await door.aclose()

    async def _open_store(self, config: Config) -> Store:
        if self._place:
            return await _open_valkey(self._place, config, patient=self._patient)
        if config["data"] in ("", IN_MEMORY):
            return LocalStore(clock=self._clock)
        report = self._loop.call_soon_threadsafe
        make = partial(DurableStore, config["data"], report, self._clock)
        return await self._loop.run_in_executor(None, make)

    async def _listen(
        self, loop: asyncio.AbstractEventLoop, connection: Callable[[], Connection], config: Config
    ) -> None:
        for host in exposure.hosts(config):
            if self._tls:
                self._doorways.append(Doorway((host, self.port), self._tls, connection))
                self.port = self._doorways[-1].port
                continue
            server = await loop.create_server(connection, host, self.port, backlog=511)
            self._servers.append(server)
            self.port = server.sockets[0].getsockname()[1]  # also for the hosts that follow
        if self.unixsocket:
            _remove_stale(self.unixsocket)
            sock = _bound(self.unixsocket, int(config["unixsocketperm"], 8))
            self._made_socket = self.unixsocket
            self._servers.append(await loop.create_unix_server(connection, sock=sock))

    async def wait_closed(self) -> None:
        """Wait until SHUTDOWN, a signal or `close` ends the node."""
        if self._closed:
            await self._closed.wait()

    async def aclose(self) -> None:
        """Stop listening, answer what is in hand, keep it, and hang up on every client."""
        await self._close_door()
        for server in self._servers:
            server.close()
        for doorway in self._doorways:
            await doorway.aclose()
        self._doorways.clear()
        if self._alarm:
            self._alarm.stop()
        await self._answer_all()
        kept = asyncio.Event()
        self.node.commits.finish(kept.set)
        await kept.wait()
        await self._hang_up()
        await self.node.store.aclose()
        self._servers.clear()
        if self._made_socket:  # not the one of another node, for which this one did not start
            with contextlib.suppress(OSError):
                os.unlink(self._made_socket)  # noqa: PTH108 - a string is what we have
        if self._closed:
            self._closed.set()

    async def _answer_all(self) -> None:
        """Take nothing more from any client, and answer what came, unless that takes too long."""
        sessions = self.node.sessions.values()
        for session in list(sessions):
            session.hush()
        patience = self._loop.time() + 5
        while any(session.in_hand() for session in sessions):
            await asyncio.sleep(0)
            if self._loop.time() > patience:
                break

    async def _hang_up(self) -> None:
        """Close every connection; one whose client does not read within a second is cut."""
        sessions = self.node.sessions  # each leaves by itself when its connection is lost
        for session in list(sessions.values()):
            session.close()
        patience = self._loop.time() + 1
        while sessions:
            await asyncio.sleep(0.001)
            if self._loop.time() > patience:
                for session in list(sessions.values()):
                    session.abort()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def catch_up(self) -> None:
        """Look at the clock now; on return all is queued, handed out and expired that is due.

        To be called from any thread. A node that does not run has nothing to catch up with: it
        looks at the clock when it starts.
        """
        if (alarm := self._alarm) is None:
            return
        if threading.get_ident() == self._loop_thread:
            alarm.catch_up()
            return
        done: Future[None] = Future()

        def catch_up() -> None:
            try:
                alarm.catch_up()
            except BaseException as error:  # noqa: BLE001 - whoever called raises it
                done.set_exception(error)
            else:
                done.set_result(None)

        with contextlib.suppress(RuntimeError):  # its loop is over already
            self._loop.call_soon_threadsafe(catch_up)
        while not (done.done() or self._loop.is_closed()):
            wait([done], timeout=0.1)
        if done.done():
            done.result()

    # In a thread

    def __enter__(self) -> Self:
        started = threading.Event()
        failure: list[BaseException] = []

        async def main() -> None:
            try:
                await self.start()
            except BaseException as error:  # noqa: BLE001 - whoever entered raises it
                failure.append(error)
                return
            finally:
                started.set()
            await self.wait_closed()
            await self.aclose()

        self._thread = threading.Thread(
            target=lambda: uvloop.run(main()), name="pydisque-node", daemon=True
        )
        self._thread.start()
        started.wait()
        if failure:
            self._thread.join()
            raise failure[0]
        return self

    def close(self) -> None:
        """Stop a node that runs in a thread, and wait until it has."""
        thread, closed = self._thread, self._closed
        if thread is None or closed is None:
            return
        with contextlib.suppress(RuntimeError):  # its loop is over already
            self._loop.call_soon_threadsafe(closed.set)
        thread.join()

    def __exit__(self, *exc: object) -> None:
        self.close()

    # As a process

    def run(
        self,
        ready: Callable[[], None] = lambda: None,
        stopping: Callable[[], None] = lambda: None,
    ) -> None:
        """Listen in this thread until SHUTDOWN, SIGTERM or SIGINT.

        The process may then open as many files as its clients need, if the system lets it.

        Args:
            ready: called once it listens.
            stopping: called when it begins to stop.

        Raises:
            OSError: an address cannot be listened on.
        """

        async def main() -> None:
            async with self:
                for signum in (signal.SIGTERM, signal.SIGINT):
                    self._loop.add_signal_handler(signum, self.node.stop)
                gc.freeze()
                ready()
                await self.wait_closed()
                stopping()
                logger.info("node %s stops", self.node.id.decode())

        self._make_room()
        self._patient = True
        # Jobs that wait are many, live long and form no cycles: collect less often than for most.
        gc.set_threshold(100_000, 50, 100)
        _free_large_blocks()
        uvloop.run(main())

    def _make_room(self) -> None:
        wanted = Config(**self._given).number("maxclients")
        room = exposure.room_for_clients(wanted)
        if room < wanted:
            logger.warning(
                "maxclients is %d, not %d: this process may not open more files", room, wanted
            )
            self._given["maxclients"] = str(room)


def _free_large_blocks() -> None:
    """Return large blocks of memory to the system when they are freed.

    glibc raises the size from which on it does so up to 32 MiB, each time that a larger block is
    freed. The requests and replies of large jobs then leave holes that take twice their size.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK)


def _place(config: Config) -> Place | None:
    """Where its Valkey is, if jobs are kept in one.

    Raises:
        SettingError: it is named wrongly, or jobs shall be kept in a directory as well.
    """
    from pydisque.node.store.valkey.url import parse  # noqa: PLC0415 - most nodes need none of it

    if not config["store"]:
        if config.number("replicate") != 1:
            raise SettingError("replicate", "only a Valkey keeps copies: give a store")
        return None
    if config["durability"] == "everysec":
        raise SettingError("durability", "with a store it is always or none")
    if config["data"] not in ("", IN_MEMORY):
        raise SettingError("store", "jobs are kept in Valkey or in a data directory, not in both")
    try:
        return parse(config["store"])
    except ValueError as error:
        raise SettingError("store", f"this is not allowed; allowed is {error}") from None


async def _open_valkey(place: Place, config: Config, *, patient: bool) -> Store:
    """The store in a Valkey, which is waited for if one is patient."""
    from pydisque.node.store.valkey.connection import LineLostError  # noqa: PLC0415

    told = ""
    while True:
        try:
            return await _open_valkey_now(place, config)
        except LineLostError as error:
            if not patient:
                raise
            if str(error) != told:
                told = str(error)
                logger.warning("waiting for Valkey: %s", told)
        await asyncio.sleep(RETRY)


async def _open_valkey_now(place: Place, config: Config) -> Store:
    from pydisque.node.store.valkey.store import ValkeyStore  # noqa: PLC0415

    stack = contextlib.AsyncExitStack()
    if not place.hosts:
        from pydisque.node.store.valkey.embedded import own_valkey  # noqa: PLC0415

        place = await stack.enter_async_context(own_valkey(data_home() / "valkey"))
    store = ValkeyStore(
        place,
        float(config["store-timeout"]),
        copies=config.number("replicate"),
        synced=config["durability"] == "always",
    )
    store.closed = stack.aclose
    try:
        await store.start()
    except BaseException:
        await store.aclose()
        raise
    return store


class Alarm:
    """Wakes the node when a job is due, and every second for its housekeeping.

    On a clock that is not the loop's it cannot tell when a job will be due, and so does not ring.
    """

    def __init__(self, node: Node, loop: asyncio.AbstractEventLoop, *, rings: bool) -> None:
        self._node = node
        self._loop = loop
        self._due = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        node.schedule = self.schedule if rings else lambda: None
        self._look = node.store.tick if rings else node.store.catch_up
        self._second = loop.call_later(1, self._every_second)

    def schedule(self) -> None:
        """Set the alarm for the next job that will be due, if it is not set for then."""
        due = self._node.store.next_due()
        if due is None or due == self._due:
            return
        if self._timer:
            self._timer.cancel()
        self._due = due
        delay = max(1, due - self._node.store.now) / 1000
        self._timer = self._loop.call_later(delay, self._ring)

    def _ring(self) -> None:
        self._due = 0
        self._advance(self._look)

    def catch_up(self) -> None:
        """Do all that is due now, unless the node stops."""
        if not self._stopped:
            self._advance(self._node.store.catch_up)

    def _advance(self, look: Callable[[], None]) -> None:
        look()
        self._node.serve()
        self._node.end_turn()

    def _every_second(self) -> None:
        self._second = self._loop.call_later(1, self._every_second)
        self._advance(self._look)
        self._node.every_second()

    def stop(self) -> None:
        """Ring no more."""
        self._stopped = True
        self._second.cancel()
        if self._timer:
            self._timer.cancel()


def _read_password(config: Config) -> str:
    """The password of `default`, wherever it is.

    Raises:
        SettingError: it is given in two ways, or its file cannot be read.
    """
    path = config["requirepass-file"]
    if not path:
        return config["requirepass"]
    if config["requirepass"]:
        raise SettingError("requirepass-file", "there is requirepass as well; give one of them")
    try:
        return users.read_password(Path(path)).decode("utf-8", "surrogateescape")
    except ValueError as error:
        raise SettingError("requirepass-file", str(error)) from None


def _read_users(config: Config) -> list[users.User]:
    try:
        return users.load(Path(config["users"])) if config["users"] else []
    except ValueError as error:
        raise SettingError("users", str(error)) from None


def _bound(path: str, mode: int) -> socket.socket:
    """A Unix socket with this mode, unless that is 0; nobody can connect before it has it."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(path)
        if mode:
            os.chmod(path, mode)  # noqa: PTH101
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket that a node which is gone left behind; one that answers stays.

    Raises:
        OSError: something listens there.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            if not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116
                raise FileExistsError(errno.EEXIST, f"{path} is a file, and no socket") from None
            os.unlink(path)  # noqa: PTH108
            return
    raise OSError(errno.EADDRINUSE, f"{path} is in use: another node listens there")
