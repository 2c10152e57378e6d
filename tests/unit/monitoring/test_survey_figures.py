"""What is kept of a queue that is looked at again and again."""

from __future__ import annotations

from pydisque.monitoring.figures import KEPT, KEPT_SECONDS, QueueFigures
from pydisque.protocol.replies import QueueStats


def stats(jobs_in: int, jobs_out: int = 0) -> dict[str, QueueStats]:
    told = {
        "name": b"q", "len": 0, "age": 1, "idle": 0, "blocked": 0, "import-from": [],
        "import-rate": 0, "jobs-in": jobs_in, "jobs-out": jobs_out, "pause": b"none",
    }  # fmt: skip
    return {"node": QueueStats(x for name, value in told.items() for x in (name.encode(), value))}


def test_rates_are_of_the_time_between_two_looks():
    """A counter that began anew counts from nothing, and no rate is ever negative."""
    queue = QueueFigures(b"q")
    queue.see(stats(100, 50), 10.0)
    assert (queue.in_rate, queue.out_rate) == (0, 0)
    queue.see(stats(300, 50), 12.0)
    assert (queue.in_rate, queue.out_rate) == (100, 0)
    queue.see(stats(8, 4), 14.0)
    assert (queue.in_rate, queue.out_rate) == (4, 2)


def test_a_queue_keeps_what_is_recent():
    """However often or seldom a queue is looked at, its samples are few and none is old."""
    often, seldom = QueueFigures(b"often"), QueueFigures(b"seldom")
    for at in range(2 * KEPT):
        often.see(stats(at), float(at))
    for at in range(10):
        seldom.see(stats(at), at * KEPT_SECONDS / 2)
    assert len(often.samples) == KEPT
    assert len(seldom.samples) == 3
