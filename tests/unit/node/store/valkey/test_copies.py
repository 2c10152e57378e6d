"""Changes that are to be in several of Valkey's servers: each waiter is called once, in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from hiredis import ReplyError

from pydisque.errors import DisqueError, NoReplError
from pydisque.node.store.valkey.connection import Line, LineLostError
from pydisque.node.store.valkey.promotable import Known, Promotable, View
from pydisque.node.store.valkey.replication import Copies

A, B = ("10.0.0.1", 6379), ("10.0.0.2", 6379)


def listing(*offsets: int, hosts: Sequence[str] = (A[0], B[0])) -> bytes:
    """What a primary at offset 8 lists: a replica for each acknowledged offset."""
    rows = [
        f"slave{number}:ip={hosts[number]},port=6379,state=online,offset={offset},lag=0"
        for number, offset in enumerate(offsets)
    ]
    lines = ["# Replication", "role:master", *rows, "master_repl_offset:8", ""]
    return "\r\n".join(lines).encode()


class FakeLine:
    """A server that answers as it is told to, or not at all."""

    def __init__(self) -> None:
        self.replicas = 1
        self.closed = False
        self.answers: dict[str, Any] = {"WAIT": 1, "INFO": listing(8)}
        self.moved: set[bytes] = set()

    def ask(self, words: list[Any], done: Callable[[Any], object]) -> None:
        done(ReplyError("MOVED 1 127.0.0.1:1") if words[1] in self.moved else b"OK")

    async def exchange(self, *words: Any) -> Any:
        answer = self.answers[words[0]]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


Wait = Callable[..., asyncio.Future[str]]


@pytest.fixture
def server() -> FakeLine:
    """One that has a replica."""
    return FakeLine()


@pytest.fixture
def replicas() -> Promotable:
    """Nobody would promote any."""
    return Promotable(("10.0.0.9", 6379))


@pytest.fixture
async def copies(server: FakeLine, replicas: Promotable) -> Copies:
    """Of that server's changes."""

    async def connect() -> Line:
        server.closed = False
        return cast("Line", server)

    return Copies(cast("Line", FakeLine()), replicas, connect)


@pytest.fixture
def wait(copies: Copies) -> Wait:
    """Waits, and gives what was told; being told twice fails."""

    def wait(mark: bytes = b"a:mark", wanted: int = 2, patience: float = 1) -> asyncio.Future[str]:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def told(error: DisqueError | None) -> None:
            assert not future.done(), "told twice"
            future.set_result("kept" if error is None else type(error).__name__)

        copies.wait(mark, wanted, patience, told)
        return future

    return wait


async def test_in_enough_places(wait: Wait) -> None:
    """Whoever waits hears that it is kept, or that there are not enough replicas."""
    assert await wait() == "kept"
    assert await wait(wanted=3) == NoReplError.__name__


async def test_a_shard_that_moved_troubles_no_other(server: FakeLine, wait: Wait) -> None:
    """That a shard has left the server is told to those who changed it, and to nobody else."""
    server.moved = {b"a:mark"}
    moved, stays = wait(b"a:mark"), wait(b"b:mark")
    assert await moved == DisqueError.__name__
    assert await stays == "kept"


async def test_all_are_told_when_the_server_is_lost(
    copies: Copies, server: FakeLine, wait: Wait
) -> None:
    """Also those whose round is under way."""
    server.answers["WAIT"] = None
    under_way = wait()
    await asyncio.sleep(0.01)
    waits = wait()
    copies.close()
    assert await under_way == await waits == DisqueError.__name__


async def test_another_connection_after_one_that_broke(server: FakeLine, wait: Wait) -> None:
    """Nobody knows what was kept; the next one waits on a new connection."""
    server.answers["WAIT"] = LineLostError("it says nothing")
    assert await wait() == DisqueError.__name__
    server.closed, server.answers["WAIT"] = True, 1
    assert await wait() == "kept"
    assert not server.closed


def watched(replicas: Promotable, *known: Known) -> None:
    """Have a Sentinel, the only one, know these replicas."""
    replicas.watched = True
    replicas.observe([View("sentinel", replicas.primary, known)], 0)


@pytest.mark.parametrize("wanted", [1, 2])
async def test_a_count_is_not_enough(
    server: FakeLine, replicas: Promotable, wait: Wait, wanted: int
) -> None:
    """A change that one replica has is not confirmed while another one may be promoted."""
    watched(replicas, Known(A), Known(B))
    server.answers["INFO"] = listing(8, hosts=[B[0]])  # A follows no more: it was just promoted
    assert await wait(wanted=wanted, patience=0.2) == NoReplError.__name__
    server.answers |= {"INFO": listing(7, 8)}
    assert await wait(wanted=wanted, patience=0.2) == NoReplError.__name__
    server.answers |= {"INFO": listing(8, 8), "WAIT": 2}
    assert await wait(wanted=wanted, patience=0.2) == "kept"


async def test_a_replica_that_is_left_out_meanwhile(
    server: FakeLine, replicas: Promotable, wait: Wait
) -> None:
    """Changes that wait for a replica are confirmed as soon as a majority says that it is down."""
    watched(replicas, Known(A), Known(B))
    server.answers["INFO"] = listing(7, 8)
    waiting = wait(patience=5)
    await asyncio.sleep(0.05)
    assert not waiting.done()
    watched(replicas, Known(A, down=True), Known(B))
    assert await waiting == "kept"


async def test_no_replica_matters_if_none_is_wanted(
    server: FakeLine, replicas: Promotable, wait: Wait
) -> None:
    """With 0 copies only the primary's disk is waited for."""
    watched(replicas, Known(A), Known(B))
    server.answers |= {"INFO": listing(), "WAIT": 0}
    assert await wait(wanted=0) == "kept"
