"""Whose turn it is when replies of Valkey are full."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import hiredis

from pydisque.errors import DisqueError
from pydisque.node.store.deferred import Later
from pydisque.node.store.valkey.batch import ADD, READ, Batch, Operation
from pydisque.node.store.valkey.connection import Line, Room
from pydisque.node.store.valkey.lanes import Lanes
from pydisque.node.store.valkey.shard import Shard

BIG = 1 << 20
GONE = DisqueError("it is gone")


class Client:
    """A client: whether it reads, and whether it is gone."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_reading = True
        self.gone = False


def read(client: object, number: int) -> Operation:
    """A read of one job, and a number that says which."""
    later: Later[Any] = Later()
    later.then(lambda _: None, lambda _: None)
    return Operation(
        [b"show", 0, number], lambda told: told, later, again=True, asker=client, jobs=1, limit=1
    )


def lane(client: object, *numbers: int) -> dict[object, Batch]:
    """What a client wants, as a part of what goes into lanes."""
    batch = Batch(0.0)
    for number in numbers:
        batch.takes(client, READ)
        batch.operate(read(client, number))
    return {client: batch}


def numbers(batch: Batch | None) -> list[int]:
    """Which reads go next."""
    return batch.words()[2::3] if batch else []


def test_each_client_has_its_turn() -> None:
    """Of large reads each client gets one in a call; those that were left over come first then."""
    lanes = Lanes()
    a, b, c = Client("a"), Client("b"), Client("c")
    lanes.append(lane(a, 1, 2, 3) | lane(b, 11, 12) | lane(c, 21))
    assert numbers(lanes.next(1000, BIG, GONE)) == [1, 11, 21]
    assert c not in lanes
    lanes.prepend(lane(b, 11) | lane(c, 21))  # the call ended after the first
    assert numbers(lanes.next(1000, BIG, GONE)) == [11, 21, 2]
    assert numbers(lanes.next(1000, BIG, GONE)) == [12, 3]
    assert not lanes


def test_small_reads_go_together() -> None:
    """Of small reads a client gets many in a call."""
    lanes = Lanes()
    lanes.append(lane(Client("a"), *range(100)))
    assert numbers(lanes.next(1000, 100, GONE)) == list(range(100))


def test_who_does_not_read_is_not_served() -> None:
    """A client that does not read gets nothing more, until it has read."""
    lanes = Lanes()
    slow, other = Client("slow"), Client("other")
    lanes.append(lane(slow, 1) | lane(other, 2))
    slow.is_reading = False
    assert numbers(lanes.next(1000, BIG, GONE)) == [2]
    assert lanes.next(1000, BIG, GONE) is None
    slow.is_reading = True
    assert numbers(lanes.next(1000, BIG, GONE)) == [1]


def test_who_is_gone_is_forgotten() -> None:
    """What a client wanted that is gone fails, and is not asked of Valkey."""
    lanes = Lanes()
    client = Client("a")
    lanes.append(lane(client, 1, 2))
    client.gone = True
    assert lanes.next(1000, BIG, GONE) is None
    assert not lanes


def test_what_a_client_adds_waits_behind_its_reads() -> None:
    """A lane keeps the order of its client, although jobs to add come first in a batch."""
    lanes = Lanes()
    client = Client("a")
    lanes.append(lane(client, 1))
    lanes.open(client, ADD, 1000, 0.0).add(b"id", b"head", b"body", Later())
    lanes.open(client, READ, 1000, 0.0).operate(read(client, 2))
    assert numbers(lanes.next(1000, BIG, GONE)) == [1]
    batch = lanes.next(1000, BIG, GONE)
    assert batch is not None
    assert batch.words() == [b"add", 1, b"head", 1, b"id", b"body", b"show", 0, 2]


class FakeLine:
    """A connection whose replies the test makes."""

    def __init__(self) -> None:
        self.closed = False
        self.ahead = 0.0
        self.room = Room()
        self.asked: list[tuple[list[Any], Any]] = []

    def ask(self, words: list[Any], done: Any) -> None:
        self.asked.append((words, done))

    def answer(self, reply: Any) -> list[Any]:
        """Answer what was asked first; the words of it after the node's name."""
        words, done = self.asked.pop(0)
        done(reply)
        return words[6:]


def nobody(*_: object) -> None:
    """Nobody is to be told."""


async def turns() -> None:
    """Let the loop run on."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_no_command_overtakes_one_that_was_left_over() -> None:
    """What was sent after a call that ended early is refused, and sent again in order."""
    line = FakeLine()
    shard = Shard(0, b"disque{0}", heard=nobody, stale=nobody)
    shard.serve_on(cast("Line", line), b"token")
    a, b = Client("a"), Client("b")
    done: list[str] = []

    def ask(client: Client, number: int) -> None:
        later: Later[Any] = Later()
        later.then(lambda _: done.append(f"{client.name}{number}"), nobody)
        operation = Operation(
            [b"show", 0, number], lambda told: told, later,
            again=True, asker=client, jobs=1, limit=1,
        )  # fmt: skip
        shard.open(client, READ).operate(operation)

    ask(a, 1)
    ask(a, 2)
    ask(b, 1)
    await turns()
    ask(a, 3)
    ask(b, 2)
    await turns()
    assert len(line.asked) == 2
    line.answer([1, 2, BIG, b"told"])  # the first read of three
    assert done == ["a1"]
    refused = line.answer(hiredis.ReplyError("STOPPED an earlier call ended early"))
    assert refused[2:] == [b"show", 0, 3, b"show", 0, 2]
    await turns()
    [(words, _)] = line.asked  # one at a time from here on
    assert words[6:] == [4 << 20, 1, b"show", 0, 2, b"show", 0, 1]
    line.answer([1, 2, BIG, b"told"])
    await turns()
    sent = line.answer([1, 2, BIG, b"told", b"told"])
    assert sent[1] == 1
    await turns()
    while line.asked:
        line.answer([1, 2, BIG, b"told"])
        await turns()
    assert sorted(done) == ["a1", "a2", "a3", "b1", "b2"]
    assert [each for each in done if each[0] == "a"] == ["a1", "a2", "a3"]
    assert [each for each in done if each[0] == "b"] == ["b1", "b2"]


async def test_a_greedy_client_does_not_fill_the_next_call() -> None:
    """Jobs that another client adds go with the next call, before thousands of one client."""
    line = FakeLine()
    shard = Shard(0, b"disque{0}", heard=nobody, stale=nobody)
    shard.serve_on(cast("Line", line), b"token")
    greedy, honest = Client("greedy"), Client("honest")
    for client, count in ((greedy, 100), (honest, 1)):
        for number in range(count):
            batch = shard.open(client, ADD)
            batch.add(b"%s%d" % (client.name.encode(), number), b"head", b"x" * BIG, Later())
    await turns()
    assert len(line.asked) == 2
    assert b"honest0" in line.asked[0][0]
