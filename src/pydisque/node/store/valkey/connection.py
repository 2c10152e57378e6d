"""One connection to a Valkey server: requests go out in order, and so do their replies come in.

Speaks RESP3, so that what is published comes on the same connection, at its place among the
replies. A server is given up when it neither takes nor sends a byte although something is asked;
one that is busy with a large request or reply is not. Knows nothing of jobs.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import hiredis

from pydisque.node.store.valkey.url import Place, written

KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}
"""A connection on which nothing is asked is found out within some ten seconds when it is dead."""

LOOK = 1.0
"""Seconds between two looks whether a connection hangs."""

logger = logging.getLogger("pydisque.node")

PUSH = hiredis.PushNotification

_SUBSCRIBED = (b"subscribe", b"ssubscribe")
"""What is published in place of a reply, to a command that subscribes to one channel."""

Done = Callable[[Any], object]
"""Gets a reply, be it an error: an `Exception`."""


class LineLostError(OSError):
    """The connection is gone, or could not be made; the text says why."""

    def __init__(self, why: str, *, sent: bool = True) -> None:
        """Say why, and whether the server may have got what was asked."""
        super().__init__(why)
        self.sent = sent


class Room:
    """Bytes of replies that may be under way on a connection at a time."""

    def __init__(self, size: int = 64 << 20) -> None:
        self._size = size
        self._taken = 0
        self._waiting: dict[Callable[[], object], None] = {}

    def has(self, weight: int) -> bool:
        """Whether a reply of this size may be asked for: any, if no other one is under way."""
        return not self._taken or self._taken + weight <= self._size

    def take(self, weight: int) -> None:
        """A reply of at most this size was asked for."""
        self._taken += weight

    def give(self, weight: int) -> None:
        """Such a reply was processed."""
        self._taken -= weight
        waiting, self._waiting = self._waiting, {}
        for freed in waiting:
            freed()

    def wait(self, freed: Callable[[], object]) -> None:
        """Call this once when a reply was processed."""
        self._waiting[freed] = None


class Line(asyncio.Protocol):
    """A connection that is open."""

    _transport: asyncio.Transport

    def __init__(
        self,
        address: tuple[str, int],
        published: Callable[[Line, list[Any]], None],
        lost: Callable[[Line, str], None],
    ) -> None:
        """Prepare it.

        Args:
            address: the server's.
            published: gets what the server says by itself.
            lost: called once, when the connection is gone, before those who wait hear of it.
        """
        self.address = address
        self.server: dict[bytes, Any] = {}
        """What the server said of itself: its ``mode``, its ``role``, its ``version``."""
        self.run = b""
        """Which run of the server this is."""
        self.replicas = 0
        """How many replicas it has, when that was last looked at."""
        self.ahead = 0.0
        """Milliseconds by which its clock is ahead of this machine's monotonic one."""
        self.awaits_copies = False
        """Whether replies wait for copies of what is changed on it."""
        self.here = ""
        """The address of this end."""
        self.room = Room()
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[Done, float]] = deque()
        self._published = published
        self.lost = lost
        self._why = "connection closed by the server"
        self._written = self._sent = 0  # bytes, for the transport and by it
        self._progress = 0.0  # when a byte came, or was known to have gone
        self.suspected = False
        """Whether it was nearly silent for too long when that was last looked at."""

    def __str__(self) -> str:
        return written(*self.address)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note where this end is."""
        self._transport = cast("asyncio.Transport", transport)
        self.here = transport.get_extra_info("sockname")[0]
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            if hasattr(socket, option):  # not every system has each
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def data_received(self, data: bytes) -> None:
        """Give out the replies that these bytes complete."""
        reader, waiting = self._reader, self._waiting
        self._progress = self._loop.time()
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if type(reply) is not PUSH or reply[0] in _SUBSCRIBED:
                    self._tell(waiting.popleft()[0], reply)
                else:
                    self._tell(partial(self._published, self), reply)
        except hiredis.ProtocolError:
            self.abort("it does not speak RESP3")

    @staticmethod
    def _tell(done: Done, reply: Any) -> None:
        """Give out a reply; what goes wrong with one must not hold up the others."""
        try:
            done(reply)
        except Exception:
            logger.exception("a reply of Valkey's cannot be dealt with")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody."""
        why = self._why if exc is None else str(exc) or type(exc).__name__
        was_closed, self.closed = self.closed, True
        if not was_closed or self._why:
            self.lost(self, why)
        while self._waiting:
            self._tell(self._waiting.popleft()[0], LineLostError(why))

    # Asking

    def ask(self, words: list[Any], done: Done) -> None:
        """Send a command; `done` gets its reply, in time."""
        if self.closed:
            done(LineLostError(self._why, sent=False))
            return
        self._waiting.append((done, self._loop.time()))
        data = hiredis.pack_command(tuple(words))
        self._written += len(data)
        self._transport.write(data)

    async def exchange(self, *words: Any) -> Any:
        """Send a command and wait for its reply.

        Raises:
            LineLostError: the connection went away.
            hiredis.ReplyError: the server refuses.
        """
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(reply: Any) -> None:
            if future.done():
                return
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

        self.ask(list(words), done)
        return await future

    def silent_for(self) -> float:
        """Seconds for which the oldest request has gone without a byte either way."""
        now = self._loop.time()
        sent = self._written - self._transport.get_write_buffer_size()
        if sent > self._sent:
            self._sent, self._progress = sent, now
        return now - max(self._waiting[0][1], self._progress) if self._waiting else 0.0

    def is_hung(self, seconds: float) -> bool:
        """Whether it was silent for so long, as of two looks at least.

        One look is not enough: this process may have been busy, and the reply has come.
        """
        silent = self.silent_for()
        is_hung = self.suspected and silent > seconds
        self.suspected = silent > seconds - LOOK
        return is_hung

    def abort(self, why: str) -> None:
        """Give the connection up."""
        self._why = why
        self._transport.abort()

    def close(self) -> None:
        """End it; nobody is told."""
        self.closed = True
        self._why = ""
        self._transport.abort()


async def connect(
    place: Place,
    address: tuple[str, int],
    published: Callable[[Line, list[Any]], None],
    lost: Callable[[Line, str], None],
    *,
    tls: ssl.SSLContext | None,
    patience: float,
    database: bool = True,
) -> Line:
    """Connect to a server and log in.

    Args:
        place: how to log in.
        address: the server's.
        published: see `Line`.
        lost: likewise; not called when this raises.
        tls: speak TLS.
        patience: seconds after which a server that does not answer is given up.
        database: whether to use the place's database, which a Sentinel has none of.

    Raises:
        LineLostError: that was not possible; `LineLostError` says why.
    """
    line = Line(address, published, lambda _line, _why: None)
    try:
        async with asyncio.timeout(patience):
            await asyncio.get_running_loop().create_connection(
                lambda: line, *address, ssl=tls, server_hostname=address[0] if tls else None
            )
            await _greet(line, place, database=database)
    except TimeoutError:
        raise LineLostError("it does not answer", sent=False) from None
    except OSError as error:
        raise LineLostError(error.strerror or str(error), sent=False) from None
    except hiredis.ReplyError as error:
        line.close()
        raise LineLostError(str(error), sent=False) from None
    finally:
        if not line.server and hasattr(line, "_transport"):
            line.close()
    line.lost = lost
    return line


def _login(user: str | None, password: str | None) -> list[str]:
    return [] if password is None else ["AUTH", user or "default", password]


async def _greet(line: Line, place: Place, *, database: bool) -> None:
    login = _login(place.user, place.password)
    if not database and place.sentinel_password is not None:
        login = _login(place.sentinel_user, place.sentinel_password)
    name = ["SETNAME", "pydisque"]
    try:
        told = await line.exchange("HELLO", 3, *login, *name)
    except hiredis.ReplyError as error:
        # Sentinels often have no password, and no users, though what they watch over has.
        if database or not login:
            raise
        try:
            told = await line.exchange("HELLO", 3, *name)
        except hiredis.ReplyError:
            raise error from None
    if database and place.database:
        await line.exchange("SELECT", place.database)
    line.server = told
