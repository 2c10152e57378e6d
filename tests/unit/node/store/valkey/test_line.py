"""When a connection to Valkey counts as hung."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest import mock

from pydisque.node.store.valkey.connection import Line, Room

TIMEOUT = 3.0


def nobody(*_: object) -> None:
    """Nobody is to be told."""


class Now:
    """The loop's clock, by hand."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ahead = 0.0
        self._time = loop.time

    def __call__(self) -> float:
        return self._time() + self.ahead


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Line, Now, asyncio.StreamWriter]]:
    """A line, its clock, and the server's end, which reads nothing."""
    ends: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

    async def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.set_result(writer)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()[:2]
    loop = asyncio.get_running_loop()
    line = Line(address, nobody, nobody)
    await loop.create_connection(lambda: line, *address)
    end = await ends
    now = Now(loop)
    try:
        with mock.patch.object(loop, "time", now):
            yield line, now, end
    finally:
        line.close()
        end.close()
        server.close()


async def test_a_silent_server_hangs() -> None:
    """A request without any byte in return for the timeout is a hang at the second look."""
    async with connected() as (line, now, _):
        line.ask(["PING"], nobody)
        assert not line.is_hung(TIMEOUT)
        now.ahead += TIMEOUT - 0.5
        assert not line.is_hung(TIMEOUT)
        now.ahead += 1
        assert line.is_hung(TIMEOUT)


async def test_what_came_while_the_node_was_busy_counts() -> None:
    """A node that did not look for a while takes no server for dead whose reply has come."""
    async with connected() as (line, now, end):
        line.ask(["PING"], nobody)
        assert not line.is_hung(TIMEOUT)
        end.write(b"$1000\r\nbegin")
        now.ahead += 2 * TIMEOUT
        assert not line.is_hung(TIMEOUT)  # nothing was read yet
        for _ in range(100):
            await asyncio.sleep(0)
        assert not line.is_hung(TIMEOUT)


async def test_a_reply_that_is_coming_is_progress() -> None:
    """A large reply may take longer than the timeout, as long as parts of it come."""
    async with connected() as (line, now, end):
        line.ask(["PING"], nobody)
        assert not line.is_hung(TIMEOUT)
        end.write(b"$1000000\r\n")
        for _ in range(10):
            before = line.silent_for()
            end.write(b"x" * 1000)
            now.ahead += TIMEOUT - 0.5
            async with asyncio.timeout(10):
                while line.silent_for() > before + 1:  # noqa: ASYNC110 - the loop's clock is ours
                    await asyncio.sleep(0)
            assert not line.is_hung(TIMEOUT)


def test_room_is_for_replies_of_one_size_in_all() -> None:
    """A reply has room if all together are small enough, or if no other is under way."""
    room, freed = Room(100), list[str]()
    assert room.has(1000)
    room.take(1000)
    assert not room.has(1)
    room.wait(lambda: freed.append("one"))
    assert not freed
    room.give(1000)
    assert freed == ["one"]
    room.take(60)
    assert room.has(40)
    assert not room.has(41)
    room.give(60)
    assert freed == ["one"]
