"""Finding the servers of a system, on servers that misbehave."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import cast

import pytest

from pydisque.node.store.valkey.connection import Line, LineLostError, connect
from pydisque.node.store.valkey.keys import Layout
from pydisque.node.store.valkey.shard import Shard
from pydisque.node.store.valkey.topology import System
from pydisque.node.store.valkey.url import Place

GREETING = b"%2\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$7\r\nversion\r\n$1\r\n9\r\n"


def nothing(*_: object) -> None:
    """For what is told to nobody."""


class Greeter(asyncio.Protocol):
    """Answers HELLO, and nothing more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if b"HELLO" in data:
            self._transport.write(GREETING)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """Where a server is that greets, and says nothing more."""
    server = await asyncio.get_running_loop().create_server(Greeter, "127.0.0.1", 0)
    async with server:
        yield Place((server.sockets[0].getsockname()[:2],))


def system_at(place: Place) -> System:
    return System(place, 0.2, synced=False, published=nothing, placed=nothing)


async def test_a_server_that_greets_and_says_nothing_more(place: Place) -> None:
    """It is given up, so that others are looked for."""
    with pytest.raises(LineLostError, match="does not answer"):
        await system_at(place).start(lambda _: [])


async def test_whatever_goes_wrong_it_is_looked_again(place: Place) -> None:
    """An error nobody thought of does not end the search for the servers."""
    system = system_at(place)
    looks = 0

    async def find() -> list[tuple[int, int, tuple[str, int]]]:
        nonlocal looks
        looks += 1
        raise KeyError(looks)

    system._find = find
    system.shards = [Shard(0, Layout("disque", 1).tags[0], heard=nothing, stale=nothing)]
    system._wanted.set()
    keeper = asyncio.create_task(system._keep())
    while looks < 3:
        assert not keeper.done()
        await asyncio.sleep(0.01)
    keeper.cancel()


async def test_silent_connections_are_probed(place: Place) -> None:
    """A connection on which nothing is asked is found out by the system when it is dead."""
    line = await connect(place, place.hosts[0], nothing, nothing, tls=None, patience=2)
    sock = line._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    line.close()


async def test_a_reply_that_cannot_be_dealt_with(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and those after it are dealt with all the same."""
    line = Line(("host", 1), nothing, nothing)
    got: list[object] = []

    def fails(_: object) -> None:
        raise KeyError("reply")

    line._waiting.extend([(fails, 0.0), (got.append, 0.0)])
    line.data_received(b":1\r\n:2\r\n")
    assert got == [2]
    assert "cannot be dealt with" in caplog.text
