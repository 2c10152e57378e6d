"""What is asked of one shard when the connection to it goes, and when the node stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import hiredis
import pytest

from pydisque.errors import DisqueError
from pydisque.node.store.deferred import Later
from pydisque.node.store.valkey.batch import OTHER, Operation
from pydisque.node.store.valkey.connection import Line, LineLostError, Room
from pydisque.node.store.valkey.shard import Shard


class FakeLine:
    """A connection on which nothing comes back until it is closed."""

    def __init__(self) -> None:
        self.closed = False
        self.room = Room()
        self.ahead = 0.0
        self.asked = 0
        self.again = asyncio.Event()
        self._waiting: list[Callable[[Any], object]] = []

    def ask(self, words: list[Any], done: Callable[[Any], object]) -> None:
        self.asked += 1
        if self.asked > 1:
            self.again.set()
        if self.closed:
            done(LineLostError("it is closed", sent=False))
        else:
            self._waiting.append(done)

    def answer(self, reply: Any) -> None:
        """Say this to what was asked first."""
        self._waiting.pop(0)(reply)

    def hang_up(self) -> None:
        self.closed = True
        for done in self._waiting:
            done(LineLostError("it is closed"))


def nobody(*_: object) -> None:
    """Nobody is to be told."""


@pytest.mark.parametrize(
    "refusal",
    [
        "LOADING Valkey is loading the dataset in memory",
        "BUSY Valkey is busy running a script.",
        "READONLY You can't write against a read only replica.",
        "MASTERDOWN Link with MASTER is down",
        "MOVED 7 127.0.0.1:7001",
        "ASK 7 127.0.0.1:7001",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN The cluster is down",
        "NOREPLICAS Not enough good replicas to write.",
        "ERR Function not found",
    ],
)
async def test_what_is_refused_for_now_is_asked_again(refusal: str) -> None:
    """A server that did nothing is asked once more, and whoever looks for servers is told why."""
    line = FakeLine()
    stale: list[str] = []
    shard = Shard(0, b"disque{0}", heard=nobody, stale=lambda _, why: stale.append(why))
    shard.serve_on(cast("Line", line), b"token")
    answer: Later[bool] = Later()
    told: list[bool] = []
    answer.then(told.append, nobody)
    shard.open(None, OTHER).operate(Operation([b"tick", 0], bool, answer, again=False))
    await asyncio.sleep(0)
    line.answer(hiredis.ReplyError(refusal))
    assert stale == [refusal]
    async with asyncio.timeout(10):
        await line.again.wait()
    line.answer([1, 2, 0, True])
    assert told == [True]


async def test_what_was_asked_elsewhere_is_answered_first() -> None:
    """A shard that moves waits for what is under way at the old place."""
    line = FakeLine()
    shard = Shard(0, b"disque{0}", heard=nobody, stale=nobody)
    shard.serve_on(cast("Line", line), b"token")
    await shard.answered()
    shard.tell([b"tick", 0])
    await asyncio.sleep(0)
    shard.lose("it moves")
    moving = asyncio.create_task(shard.answered())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not moving.done()
    line.answer([1, 2, 0, True])
    await moving


async def test_what_comes_back_after_the_end_is_asked_no_more() -> None:
    """A node that gives up its connections, as one does that could not start, is not busy with
    what was under way on them; whoever asked hears that it failed."""
    line = FakeLine()
    shard = Shard(0, b"disque{0}", heard=nobody, stale=nobody)
    shard.serve_on(cast("Line", line), b"token")
    answer: Later[bool] = Later()
    failures: list[DisqueError] = []
    answer.then(nobody, failures.append)
    shard.open(None, OTHER).operate(Operation([b"tick", 0], bool, answer, again=True))
    await asyncio.sleep(0)
    assert line.asked == 1
    line.closed = True
    shard.close(DisqueError("this node stops"))
    line.hang_up()
    for _ in range(5):
        await asyncio.sleep(0)
    assert line.asked == 1
    assert [str(failure) for failure in failures] == ["this node stops"]
