"""The node on its sockets: listen, accept, keep the time, stop.

`Server` is what programs use: in a thread of its own, in an asyncio loop that runs already, or as
the main thing of a process (`run`). What clients may ask is decided further in.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable
from functools import partial
from typing import Self

import uvloop

from pydisque.node.config import Config
from pydisque.node.connection import Connection
from pydisque.node.durable import DurableStore
from pydisque.node.journal import DURABILITIES
from pydisque.node.node import Node
from pydisque.node.store import LocalStore, Store
from pydisque.node.table import command_table

logger = logging.getLogger("pydisque.node")


class Server:
    """A Disque node in memory, for any Disque client in any language.

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
        durability: str = "always",
    ) -> None:
        """Prepare a node; it listens once it is entered, started or run.

        Args:
            host: the address to listen on.
            port: the TCP port; 0 for any that is free, -1 for none.
            unixsocket: the path of a Unix socket to listen on as well.
            password: what clients have to send with AUTH first.
            data: the directory in which jobs are kept, made if it is not there; without one they
                are kept in memory, and gone with the node.
            durability: when a reply is sent that tells of a change: ``always``, once it is synced
                to the disk; ``everysec``, once it is written, to be synced within a second;
                ``none``, once it is written, to be synced when the system likes.

        Raises:
            ValueError: the port or durability is none, or there is nothing to listen on.
        """
        if durability not in DURABILITIES:
            raise ValueError(f"durability is {durability}; it must be {', '.join(DURABILITIES)}")
        if not -1 <= port <= 65535:
            raise ValueError(
                f"port is {port}; it must be 1 to 65535, 0 for a free one, -1 for none"
            )
        if port == -1 and not unixsocket:
            raise ValueError("with port -1 give a unixsocket, else nobody could connect")
        self.host = host
        self.port = port
        self.unixsocket = unixsocket
        self.data = None if data is None else os.fspath(data)
        self.durability = durability
        self._password = password or ""
        self._servers: list[asyncio.Server] = []
        self._made_socket: str | None = None
        self._thread: threading.Thread | None = None
        self._closed: asyncio.Event | None = None

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as `Client` takes them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        tcp = [f"{host}:{self.port}"] if self.port != -1 else []
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
        self._closed = asyncio.Event()
        config = Config(
            requirepass=self._password, unixsocket=self.unixsocket or "", bind=self.host
        )
        store = await self._open_store(loop)
        self.node = node = Node(command_table(), store, config)
        node.commits.call_soon = loop.call_soon
        node.multiplexing_api = type(loop).__module__.partition(".")[0]
        node.stop = lambda: None if self._closed is None else self._closed.set()
        node.call_later = loop.call_later
        self._clock = Clock(node, loop)
        try:
            await self._listen(loop, lambda: Connection(node, loop))
        except BaseException:
            await self.aclose()
            raise
        config.fix("port", str(max(0, self.port)))
        logger.info("node %s listens on %s", node.id.decode(), self.address)

    async def _open_store(self, loop: asyncio.AbstractEventLoop) -> Store:
        if self.data is None:
            return LocalStore()
        report = loop.call_soon_threadsafe
        make = partial(DurableStore, self.data, self.durability, report)
        return await loop.run_in_executor(None, make)

    async def _listen(
        self, loop: asyncio.AbstractEventLoop, connection: Callable[[], Connection]
    ) -> None:
        if self.port != -1:
            server = await loop.create_server(connection, self.host, self.port, backlog=511)
            self._servers.append(server)
            self.port = server.sockets[0].getsockname()[1]
        if self.unixsocket:
            _remove_stale(self.unixsocket)
            self._servers.append(await loop.create_unix_server(connection, self.unixsocket))
            self._made_socket = self.unixsocket

    async def wait_closed(self) -> None:
        """Wait until SHUTDOWN, a signal or `close` ends the node."""
        if self._closed:
            await self._closed.wait()

    async def aclose(self) -> None:
        """Stop listening, answer what is in hand, keep it, and hang up on every client."""
        for server in self._servers:
            server.close()
        self._clock.stop()
        for session in list(self.node.sessions.values()):
            session.hush()
        kept = asyncio.Event()
        self.node.commits.finish(kept.set)
        await kept.wait()
        await self._hang_up()
        await self._loop.run_in_executor(None, self.node.store.close)
        self._servers.clear()
        if self._made_socket:  # not the one of another node, for which this one did not start
            with contextlib.suppress(OSError):
                os.unlink(self._made_socket)  # noqa: PTH108 - a string is what we have
        if self._closed:
            self._closed.set()

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

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Listen in this thread until SHUTDOWN, SIGTERM or SIGINT; call `ready` once listening.

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
                logger.info("node %s stops", self.node.id.decode())

        # Jobs that wait are many, live long and form no cycles: collect less often than for most.
        gc.set_threshold(100_000, 50, 100)
        uvloop.run(main())


class Clock:
    """Wakes the node when a job is due, and every second for its housekeeping."""

    def __init__(self, node: Node, loop: asyncio.AbstractEventLoop) -> None:
        self._node = node
        self._loop = loop
        self._due = 0
        self._alarm: asyncio.TimerHandle | None = None
        node.schedule = self.schedule
        self._second = loop.call_later(1, self._every_second)

    def schedule(self) -> None:
        """Set the alarm for the next job that will be due, if it is not set for then."""
        due = self._node.store.next_due()
        if due is None or due == self._due:
            return
        if self._alarm:
            self._alarm.cancel()
        self._due = due
        delay = max(1, due - self._node.store.now) / 1000
        self._alarm = self._loop.call_later(delay, self._ring)

    def _ring(self) -> None:
        self._due = 0
        self._advance()

    def _advance(self) -> None:
        self._node.store.tick()
        self._node.serve()
        self._node.end_turn()

    def _every_second(self) -> None:
        self._second = self._loop.call_later(1, self._every_second)
        self._advance()
        self._node.every_second()

    def stop(self) -> None:
        """Ring no more."""
        self._second.cancel()
        if self._alarm:
            self._alarm.cancel()


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
