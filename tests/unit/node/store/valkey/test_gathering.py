"""Jobs of queues that are in several shards."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import pytest

from pydisque.errors import DisqueError
from pydisque.node.engine.job import Job
from pydisque.node.store.deferred import Later
from pydisque.node.store.valkey.multi_queue import Gathering, turns


class Shards:
    """Queues whose answers come when they are let."""

    def __init__(self, **queues: int) -> None:
        self.queues = {name.encode(): count for name, count in queues.items()}
        self.asked: deque[tuple[Later, object]] = deque()
        self.lines: list[tuple[list[bytes], int]] = []

    def get(self, name: bytes, count: int, size: int) -> Later[list[Job]]:
        given = min(count, self.queues[name])
        self.queues[name] -= given
        return self._later([Job(b"%b%d" % (name, n), name, b"", 0, 0, 0) for n in range(given)])

    def offered(self, name: bytes) -> Later[int]:
        return self._later(self.queues[name])

    def _later(self, value: object) -> Later:
        later: Later = Later()
        self.asked.append((later, value))
        return later

    def stand(self, names: Iterable[bytes], clients: int) -> None:
        self.lines.append((list(names), clients))

    def answer(self) -> None:
        """Let all that was asked until now be answered."""
        for _ in range(len(self.asked)):
            later, value = self.asked.popleft()
            later.done(value)

    def gather(self, *names: bytes, count: int = 1, wait: bool = False) -> list[object]:
        got: list[object] = []
        answer = Gathering(self.get, self.offered, self.stand).get(
            list(names), count, 2**31, wait=wait
        )
        answer.then(lambda jobs: got.append([job.id for job in jobs]), got.append)
        return got


def test_one_of_each_in_turn() -> None:
    """It is as if all queues were in one place."""
    shards = Shards(a=2, b=5, c=1)
    got = shards.gather(b"a", b"b", b"c", count=6)
    shards.answer()
    shards.answer()
    assert got == [[b"a0", b"b0", b"c0", b"a1", b"b1", b"b2"]]


def test_others_were_quicker() -> None:
    """It is looked again when what was offered is gone."""
    shards = Shards(a=1, b=0)
    got = shards.gather(b"a", b"b")
    shards.answer()
    shards.asked[0] = (shards.asked[0][0], [])
    shards.queues[b"b"] = 1
    shards.answer()
    assert got == []
    shards.answer()
    shards.answer()
    assert got == [[b"b0"]]


@pytest.mark.parametrize("wait", [True, False])
def test_nothing_there(wait: bool) -> None:
    """Who waits stands in line for each queue from then on, and for a queue named twice once."""
    shards = Shards(a=0, b=0)
    got = shards.gather(b"a", b"b", b"a", wait=wait)
    shards.answer()
    assert got == [[]]
    assert shards.lines == ([([b"a", b"b"], 1)] if wait else [])


def test_jobs_come_though_a_shard_fails() -> None:
    """What one shard gave is not lost for another's failure; that alone is one."""
    shards = Shards(a=1, b=1)
    got = shards.gather(b"a", b"b", count=2)
    shards.answer()
    (first, jobs), (second, _) = shards.asked
    first.done(jobs)
    second.failed(DisqueError("gone"))
    assert got == [[b"a0"]]
    shards = Shards(a=1)
    got = shards.gather(b"a")
    shards.answer()
    shards.asked[0][0].failed(DisqueError("gone"))
    assert [str(error) for error in got] == ["gone"]


def test_turns() -> None:
    """A queue named twice has two turns."""
    assert turns([b"a", b"b", b"a"], {b"a": 3, b"b": 2}, 9) == [b"a", b"b", b"a", b"a", b"b"]
    assert turns([b"a", b"b"], {b"a": 3, b"b": 2}, 3) == [b"a", b"b", b"a"]
    assert turns([b"a"], {b"a": 0}, 3) == []
