"""The line of connections to a node in an event loop: one for all, and those of commands that wait.

A node that makes a command wait reads nothing more from its connection, so such a command has one
alone. Nothing here knows which node to use, or what may be sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from pydisque.client.async_connection import AsyncConnection
from pydisque.client.connection import HELLO, MAX_IDLE, greeting, reason
from pydisque.client.nodes import Node
from pydisque.errors import ConnectionLostError
from pydisque.protocol.command import Command, without_timeout
from pydisque.protocol.validation import Argument

# So many jobs at once may be copied by a cluster for one client, each on a connection of its own.
MAX_COPYING = 32

# So many cancelled waits may be left to come to their end; of more the node is made to forget.
MAX_ORPHANS = 256

# Seconds that a command may hold up others, should a node be alone no longer.
SHARED_WAIT = 1.0


class Host(Protocol):
    """What a line needs of the transport it belongs to."""

    timeout: float | None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background."""

    def learn(self, line: AsyncLine, hello: list[Any]) -> None:
        """Take in what a node said of itself."""

    def rescue(self, node: Node, replies: list[Any]) -> None:
        """Put back jobs that nobody got."""


class AsyncLine:
    """All connections of one client to one node: one that is shared, and those that wait."""

    def __init__(self, node: Node, client: redis.asyncio.Redis, host: Host) -> None:
        """Make the line from a `redis.asyncio.Redis`, which says how to open a connection."""
        self.node = node
        self.redis = client
        self.was_open = False
        self.alone = False
        """Whether the node is its cluster, so that no command waits for other nodes."""
        self.copying = asyncio.Semaphore(MAX_COPYING)
        self._host = host
        self._shared: AsyncConnection | None = None
        self._opening: asyncio.Future[AsyncConnection] | None = None
        self._tls: Any = None
        self.orphans: dict[AsyncConnection, tuple[Argument, ...]] = {}
        """Those on which the reply to a cancelled GETJOB is to come, and what it asks for."""
        self._idle: list[AsyncConnection] = []
        self._all: set[AsyncConnection] = set()

    def shares(self, command: Command[Any]) -> bool:
        """Whether a command may go with others, as it cannot hold them up.

        A node reads no further while it copies a job to others; one that is alone has none. HELLO
        was asked some time ago, so a long wait is not risked.
        """
        wait = command.wait
        if wait == 0.0:
            return True
        return self.alone and not command.takes and wait is not None and wait <= SHARED_WAIT

    def ready(self) -> AsyncConnection | None:
        """The shared connection if something can be sent on it now."""
        connection = self._shared
        return connection if connection is not None and connection.is_ready() else None

    def idle(self) -> AsyncConnection | None:
        """A connection for a command that waits; None when a new one must be opened."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_ready():
                return connection
            connection.close()
        return None

    def adopt(self, command: Command[Any], now: float) -> AsyncConnection | None:
        """A connection on which the node was sent this very GETJOB, by a cancelled coroutine.

        Its wait ends within that of the command. So coroutines that are cancelled again and again
        leave one wait at the node, and not one each.
        """
        wanted = without_timeout(command.args)
        for connection, words in self.orphans.items():
            fits = command.wait is None or connection.ends <= now + command.wait
            if words == wanted and fits:
                del self.orphans[connection]
                return connection
        return None

    async def shared(self) -> AsyncConnection:
        """The connection for commands that do not wait; whoever needs it first has it opened.

        Raises:
            redis.exceptions.RedisError: The node cannot be reached, or does not let us in.
        """
        while (connection := self._shared) is not None:
            await connection.writable()
            if connection.is_ready():
                return connection
            connection.close()
        if self._opening is None:
            self._opening = self._open_soon()
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Future[AsyncConnection]) -> None:
        self._opening = None
        if opening.exception() is None and not opening.result().closed:
            self._shared = opening.result()

    async def own(self) -> AsyncConnection:
        """A connection for one command alone, idle or new; `give_back` it.

        Raises:
            redis.exceptions.RedisError: The node cannot be reached, or does not let us in.
        """
        connection = self.idle()
        if connection is not None:
            return connection
        opening = self._open_soon()
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._opened_in_vain)
            raise

    def _opened_in_vain(self, opening: asyncio.Future[AsyncConnection]) -> None:
        if opening.exception() is None:
            self.give_back(opening.result())

    def give_back(self, connection: AsyncConnection, commands: Sequence[Command[Any]] = ()) -> None:
        """Take back what was lent; if its coroutine was cancelled the reply is waited for.

        Args:
            connection: The connection.
            commands: What was sent on it.
        """
        if connection is self._shared or connection.closed:
            return
        if not connection.busy:
            if connection.abandoned or len(self._idle) >= MAX_IDLE:
                connection.close()
            else:
                self._idle.append(connection)
        elif len(self.orphans) >= MAX_ORPHANS:
            connection.half_close()
        else:
            connection.linger()
            if len(commands) == 1 and commands[0].takes and connection.awaits_one:
                self.orphans[connection] = without_timeout(commands[0].args)

    # Opening

    def _open_soon(self) -> asyncio.Future[AsyncConnection]:
        """Open a connection in the background, so that no cancelling breaks it off halfway."""
        opening: asyncio.Future[AsyncConnection] = asyncio.get_running_loop().create_future()
        self._host.spawn(self._open_into(opening))
        return opening

    async def _open_into(self, opening: asyncio.Future[AsyncConnection]) -> None:
        try:
            connection = await self._open()
        except asyncio.CancelledError:
            opening.set_exception(ConnectionLostError("closed", sent=False))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must get it
            opening.set_exception(error)
        else:
            opening.set_result(connection)
        opening.exception()  # it was looked at, should nobody wait for it any longer

    async def _open(self) -> AsyncConnection:
        connection = await self._connect()
        self._all.add(connection)
        connection.gone.add_done_callback(lambda _: self._all.discard(connection))
        try:
            hello = greeting(await connection.exchange(HELLO))
        except BaseException:
            connection.close()
            raise
        self.was_open = True
        self.alone = len(hello) <= 3
        self._host.learn(self, hello)
        return connection

    async def _connect(self) -> AsyncConnection:
        pool = self.redis.connection_pool
        link = pool.connection_class(**pool.connection_kwargs)
        if hasattr(link, "ssl_context"):  # reading all the authorities takes long: do it once
            link.ssl_context = self._tls = self._tls or link.ssl_context
        try:
            await link.connect()  # type: ignore[no-untyped-call]
        except RedisError as error:
            raise _plainer(error) from error
        except (OSError, UnicodeError) as error:  # a name that is no name is a UnicodeError
            raise ConnectionLostError(reason(error, None), sent=False) from error
        except BaseException:
            if link._writer is not None:  # noqa: SLF001
                link._writer.close()  # noqa: SLF001
                link._writer = None  # noqa: SLF001
            raise
        return AsyncConnection(link, self._host.timeout, self._orphaned, self._forget)

    def _orphaned(self, reply: Any) -> None:
        self._host.rescue(self.node, [reply])

    def _forget(self, connection: AsyncConnection) -> None:
        if connection is self._shared:
            self._shared = None
        self.orphans.pop(connection, None)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    # The end

    def close_idle(self) -> None:
        """Close the connections nobody uses: one to this node just broke.

        The shared one too: if the wire is dead it would look well until something is sent on it.
        """
        for connection in self._idle[:]:
            connection.close()
        if self._shared is not None and not self._shared.busy:
            self._shared.close()

    def abandon(self) -> None:
        """Fail whoever waits for an answer; jobs that may still come are waited for."""
        for connection in list(self._all):
            connection.abandon()

    def close(self) -> None:
        """Close whatever is open."""
        for connection in list(self._all):
            connection.close()

    def gone(self) -> list[asyncio.Future[None]]:
        """What is done when each connection that is open now has ended."""
        return [connection.gone for connection in self._all]


def _plainer(error: RedisError) -> RedisError:
    """Say why a connection was not made as the system does, not as asyncio does."""
    cause = error.__context__
    if isinstance(cause, OSError) and cause.errno and isinstance(error, RedisConnectionError):
        own = cause.strerror if isinstance(cause, ssl.SSLError) else None  # its errno is OpenSSL's
        return ConnectionLostError(own or os.strerror(cause.errno), sent=False)
    return error
