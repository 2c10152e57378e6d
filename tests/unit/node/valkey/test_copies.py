"""Changes that are to be in several of Valkey's servers: who waits hears of it, and once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from hiredis import ReplyError

from pydisque.errors import DisqueError, NoReplError
from pydisque.node.valkey.copies import Copies
from pydisque.node.valkey.line import Line, LineLostError


class FakeLine:
    """A server that answers as it is told to, or not at all."""

    def __init__(self) -> None:
        self.replicas = 1
        self.closed = False
        self.answers: dict[str, Any] = {"WAIT": 1, "INFO": b"slave0:state=online\r\n"}
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
async def copies(server: FakeLine) -> Copies:
    """Of that server's changes."""

    async def connect() -> Line:
        server.closed = False
        return cast("Line", server)

    return Copies(cast("Line", FakeLine()), connect)


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


async def test_a_server_that_is_lost_at_the_end_of_a_round(server: FakeLine, wait: Wait) -> None:
    """Those who heard already that theirs is kept hear nothing else."""
    server.answers["INFO"] = LineLostError("gone")
    kept, not_kept = wait(), wait(wanted=3)
    assert await kept == "kept"
    assert await not_kept == DisqueError.__name__
