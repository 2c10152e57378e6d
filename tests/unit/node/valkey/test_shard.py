"""What is asked of one shard when the connection to it goes, and when the node stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from pydisque.errors import DisqueError
from pydisque.node.later import Later
from pydisque.node.valkey.batch import OTHER, Operation
from pydisque.node.valkey.line import Line, LineLostError
from pydisque.node.valkey.shard import Shard


class FakeLine:
    """A connection on which nothing comes back until it is closed."""

    def __init__(self) -> None:
        self.closed = False
        self.asked = 0
        self._waiting: list[Callable[[Any], object]] = []

    def ask(self, words: list[Any], done: Callable[[Any], object]) -> None:
        self.asked += 1
        if self.closed:
            done(LineLostError("it is closed", sent=False))
        else:
            self._waiting.append(done)

    def hang_up(self) -> None:
        self.closed = True
        for done in self._waiting:
            done(LineLostError("it is closed"))


def nobody(*_: object) -> None:
    """Nobody is to be told."""


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
