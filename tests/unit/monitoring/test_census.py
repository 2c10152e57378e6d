"""Jobs counted by what they wait for, step by step."""

from __future__ import annotations

from pydisque.monitoring.state_counts import LARGEST, LIGHT, SMALLEST, Census
from pydisque.protocol.replies import JobInfo

NOW = 1_000_000.0


def job(queue: bytes = b"q", *, age: float = 100, delay: int = 0, body: bytes = b"", node=b"a" * 8):
    fields = {
        "id": b"D-%b-x" % node, "queue": queue, "ctime": int((NOW - age) * 1e9), "delay": delay,
        "body": body,
    }  # fmt: skip
    return JobInfo(part for pair in fields.items() for part in pair)


def test_counts_stand_when_the_scan_is_through() -> None:
    """Until then those of the scan before are told."""
    census = Census()
    assert not census.take(b"7", [job(), job(b"other")], b"", NOW)
    assert (census.done, census.active) == (False, {})
    assert census.take(b"0", [job()], b"", NOW)
    assert (census.done, census.active, census.cursor) == (True, {b"q": 2, b"other": 1}, b"0")
    assert not census.take(b"7", [job()], b"", NOW)
    assert census.active[b"q"] == 2
    assert census.take(b"0", [], b"", NOW)
    assert census.active[b"q"] == 1


def test_delayed_are_those_whose_delay_is_not_over() -> None:
    """A job that was delayed once and is with a worker now counts as active."""
    census = Census()
    census.take(0, [job(age=5, delay=10), job(age=15, delay=10)], b"", NOW)
    assert (census.delayed, census.active) == ({b"q": 1}, {b"q": 1})


def test_copies_count_once() -> None:
    """A copy is counted by the node that made the job."""
    census = Census()
    census.take(0, [job(node=b"a" * 8), job(node=b"b" * 8)], b"D-" + b"a" * 8, NOW)
    assert census.active == {b"q": 1}


def test_steps_grow_while_they_are_light() -> None:
    """Where bodies are large less is asked for at a time."""
    census = Census()
    for _ in range(20):
        census.take(b"1", [], b"", NOW)
    assert census.step == LARGEST
    census.take(b"1", [job(body=b"x" * LIGHT)], b"", NOW)
    assert census.step == LARGEST // 2
    for _ in range(20):
        census.take(b"1", [job(body=b"x" * LIGHT)], b"", NOW)
    assert census.step == SMALLEST
