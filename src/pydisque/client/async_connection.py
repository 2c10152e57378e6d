"""One connection to a node in an event loop, shared by any number of coroutines.

redis-py opens it; then its transport gets this protocol. What coroutines send in one turn of the
loop leaves together, and replies are given out in the order of the commands, so that pipelining
needs no doing. A coroutine that was cancelled keeps its place in the line: its reply is taken and
dropped, and jobs in it are handed to whoever puts them back. Nothing here knows which node to use,
or what may be sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import hiredis

from pydisque.client.connection import (
    FRESH,
    UNREADABLE,
    input_poll,
    patience,
    reason,
    reply_reader,
    unreadable,
)
from pydisque.errors import ConnectionLostError, UnexpectedReplyError

# What may wait to be sent before new commands have to, and what of it may be left when they may
# go on; the system's own buffers hold as much again or more.
HIGH_WATER = 1 << 20
LOW_WATER = 1 << 18

# Bytes that are not kept until the end of the loop's turn.
FLUSH_AT = 1 << 16

# Seconds that a connection without timeout may take to end.
LINGER = 5.0

# So many of those who wait until the node reads again go on in one turn.
ADMITTED = 64


class Exchange(NamedTuple):
    """Commands on their way and who waits for their replies.

    ``replies`` takes those of several commands, whose future then has no result of its own;
    ``takes`` tells which of them hand out jobs.
    """

    future: asyncio.Future[Any]
    request: bytes
    wait: float | None
    takes: Collection[int]
    replies: list[Any] | None
    expected: int


class AsyncConnection(asyncio.Protocol):
    """An open connection; it takes itself out of use when it is lost."""

    def __init__(
        self,
        link: Any,
        timeout: float | None,
        on_orphan: Callable[[Any], None],
        on_lost: Callable[[AsyncConnection], None],
    ) -> None:
        """Take over a connection that redis-py opened.

        Args:
            link: redis-py's connection, which is left without its transport.
            timeout: Seconds of silence that are a loss when something is awaited.
            on_orphan: Gets each reply with jobs whose coroutine was cancelled.
            on_lost: Told when this is lost or closed, before anybody who waits is.
        """
        self._loop = asyncio.get_running_loop()
        self._writer, link._writer, link._reader = link._writer, None, None  # noqa: SLF001
        transport = self._writer.transport  # the writer closes it when it goes away itself
        reader = reply_reader(link)
        self._feed, self._gets, self._has_data = reader.feed, reader.gets, reader.has_data
        self._transport = transport
        self.timeout = timeout
        self._on_orphan = on_orphan
        self._on_lost = on_lost
        self._queued: list[Exchange] = []
        self._size = 0
        self._one_by_one = True
        self._pending: deque[Exchange] = deque()
        self._heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._held_up: deque[asyncio.Future[None]] = deque()
        self._reason: str | None = None
        self.paused = False
        self.closed = False
        self.abandoned = False
        self._leaving = False
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._poll = input_poll(transport.get_extra_info("socket").fileno())
        transport.set_protocol(self)
        transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)

    # Sending

    @property
    def busy(self) -> bool:
        """Whether a reply is still to come, be it for somebody who waits or for one who left."""
        return bool(self._pending) or not all(each.future.cancelled() for each in self._queued)

    @property
    def awaits_one(self) -> bool:
        """Whether one reply is to come, and nothing else."""
        return len(self._pending) == 1 == self._pending[0].expected and not self._queued

    def is_ready(self) -> bool:
        """Whether a command can be sent now; one sent regardless fails if this is closed.

        A connection that was silent for a while is looked at: the node may have hung up, and the
        loop had no turn to notice.
        """
        if self.closed or self.paused:
            return False
        if self._pending or self._queued or self._loop.time() - self._heard < FRESH:
            return True
        return not self._poll(0)

    def exchange(
        self, request: bytes, wait: float | None = 0.0, takes: Collection[int] = ()
    ) -> asyncio.Future[Any]:
        """Send one command; the future's result is its reply, an error reply included.

        Args:
            request: The bytes of the command.
            wait: Seconds the node itself may take before it answers, see `patience`.
            takes: ``(0,)`` if the reply hands out jobs.

        Returns:
            A future; cancelling it is safe at any time. It fails with `ConnectionLostError`, whose
            ``sent`` is false if nothing was given to the system.
        """
        future = self._loop.create_future()
        self._queue(Exchange(future, request, wait, takes, None, 1))
        return future

    def exchange_all(
        self,
        request: bytes,
        replies: list[Any],
        count: int,
        wait: float | None,
        takes: Collection[int],
    ) -> asyncio.Future[None]:
        """Send several commands and append their replies to a list.

        Args:
            request: The bytes of the commands.
            replies: Takes the replies; those that came before a loss stay in it.
            count: How many commands these are.
            wait: Seconds the node itself may take before it answers.
            takes: The places of the commands whose replies hand out jobs.
        """
        future = self._loop.create_future()
        self._queue(Exchange(future, request, wait, takes, replies, count))
        return future

    def _queue(self, exchange: Exchange) -> None:
        if self.closed or self.abandoned:
            exchange.future.set_exception(self._loss(sent=False))
            return
        if self._one_by_one and not self._pending and not self._queued:
            self._queued.append(exchange)
            self._flush()  # nobody to wait for, as far as one can tell
            return
        if not self._queued:
            self._loop.call_soon(self._flush)
        self._queued.append(exchange)
        self._size += len(exchange.request)
        if self._size > FLUSH_AT:
            self._flush()

    def _flush(self) -> None:
        """Send what has gathered in this turn, but for what was cancelled already."""
        queued, self._queued, self._size = self._queued, [], 0
        wanted = [exchange for exchange in queued if not exchange.future.cancelled()]
        if not wanted or self.closed:
            return
        begins = not self._pending
        self._one_by_one = begins and len(wanted) == 1
        self._pending.extend(wanted)
        if begins:
            self._heard = self._loop.time()
            self._watch()
        self._transport.write(b"".join([exchange.request for exchange in wanted]))

    async def writable(self) -> None:
        """Wait while the node reads more slowly than we send; returns at once after a loss."""
        while self.paused:
            turn = self._loop.create_future()
            self._held_up.append(turn)
            await turn

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._admit()

    def _admit(self) -> None:
        """Let those who wait go on, some in each turn, in their order."""
        for _ in range(min(ADMITTED, len(self._held_up)) if not self.paused else 0):
            turn = self._held_up.popleft()
            if not turn.done():
                turn.set_result(None)
        if self._held_up and not self.paused:
            self._loop.call_soon(self._admit)

    # Receiving

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        pending, gets = self._pending, self._gets
        try:
            self._feed(data)
            while pending:
                if (reply := gets()) is False:
                    return
                exchange = pending[0]
                if exchange.replies is None:
                    pending.popleft()
                    if not exchange.future.done():
                        exchange.future.set_result(reply)
                    elif exchange.takes:
                        self._on_orphan(reply)
                else:
                    self._take_one(exchange, exchange.replies, reply)
            if self._leaving:
                self.close()
            elif self._has_data():  # nobody asked for it, so it must not answer the next command
                self.close("the node said what nobody asked for")
        except hiredis.HiredisError as error:
            self.close(reason(error, None))
        except UNREADABLE as error:
            self._take_unreadable(pending[0], unreadable(error))
            self.close("unreadable reply")

    def _take_unreadable(self, exchange: Exchange, error: UnexpectedReplyError) -> None:
        """Give an error to the commands whose reply it is; the rest of them has none."""
        if exchange.replies is not None:
            self._take_one(exchange, exchange.replies, error)
            return
        self._pending.popleft()
        if not exchange.future.done():
            exchange.future.set_result(error)

    def _take_one(self, exchange: Exchange, replies: list[Any], reply: Any) -> None:
        replies.append(reply)
        if len(replies) < exchange.expected:
            return
        self._pending.popleft()
        if exchange.future.done():
            self._give_orphans(exchange)
        else:
            exchange.future.set_result(None)

    def _give_orphans(self, exchange: Exchange) -> None:
        replies = exchange.replies or []
        for at in exchange.takes:
            if at < len(replies):
                self._on_orphan(replies[at])

    # Silence

    def _watch(self) -> None:
        """See to it that silence is noticed; one timer serves all, and is seldom set anew."""
        limit = patience(self.timeout, self._pending[0].wait)
        if limit is None:
            return
        due = self._heard + limit
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._check)

    def _check(self) -> None:
        self._timer = None
        if not self._pending:
            return
        limit = patience(self.timeout, self._pending[0].wait)
        if limit is not None and self._heard + limit <= self._loop.time():
            self.close(f"no answer within {limit:g} s")
        else:
            self._watch()

    # The end

    def eof_received(self) -> None:
        self._end("the node hung up")  # and the transport closes itself

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("the node hung up" if exc is None else reason(exc, None))
        if not self.gone.done():
            self.gone.set_result(None)

    def close(self, why: str = "closed") -> None:
        """Close it now; who waits for a reply gets a `ConnectionLostError`."""
        self._end(why)
        self._transport.abort()

    def adopt(self) -> asyncio.Future[Any]:
        """Wait for the one reply whose coroutine was cancelled, in its place."""
        future = self._loop.create_future()
        exchange = self._pending[0]
        self._pending[0] = exchange._replace(future=future, replies=None, expected=1)
        self._leaving = False
        self._stop_timer()
        self._watch()
        return future

    @property
    def ends(self) -> float:
        """When the node has to have answered the command on its way."""
        return self._heard + (self._pending[0].wait or 0.0)

    def linger(self) -> None:
        """Read what still comes, for as long as the node may take for it, and then close.

        Our side is not closed, as a proxy that knows no half of an end would then discard what the
        node sends just now.
        """
        if self._leaving:
            return
        self._leaving = True
        self._on_lost(self)
        waits = [LINGER + 1 if each.wait is None else each.wait for each in self._pending]
        self._close_in((self.timeout or LINGER) + max(waits, default=0.0))

    def abandon(self) -> None:
        """Fail whoever waits, as the client is closed; take what jobs may still come."""
        if self.closed or self.abandoned:
            return
        self.abandoned, self.paused = True, False
        self._fail("closed")
        self._admit()
        if any(exchange.takes for exchange in self._pending):
            self.half_close()
        else:
            self.close()

    def half_close(self) -> None:
        """Close our side alone, and read what still comes until the node closes its own.

        A node forgets at once who waits for jobs when it sees the end; but it may be sending one
        just now. TLS knows no half of an end: it is done to the socket itself.
        """
        self._leaving = True
        self._on_lost(self)
        self._close_in(self.timeout or LINGER)
        fd = self._transport.get_extra_info("socket").fileno()
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
            sock.shutdown(socket.SHUT_WR)

    def _close_in(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, self.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, why: str) -> None:
        if self.closed:
            return
        self.closed, self.paused, self._reason = True, False, why
        self._on_lost(self)
        if self._timer is not None:
            self._timer.cancel()
        left = [exchange for exchange in self._pending if exchange.future.done()]
        self._fail(why)
        self._pending.clear()
        for exchange in left:
            self._give_orphans(exchange)
        self._admit()

    def _fail(self, why: str) -> None:
        """Tell everybody who waits that no reply will come."""
        self._reason = why
        for exchanges, sent in ((self._pending, True), (self._queued, False)):
            for exchange in exchanges:
                if not exchange.future.done():
                    exchange.future.set_exception(self._loss(sent=sent))
                    exchange.future.exception()  # looked at, should its task be cancelled now
        self._queued.clear()

    def _loss(self, *, sent: bool) -> ConnectionLostError:
        return ConnectionLostError(self._reason or "closed", sent=sent)
