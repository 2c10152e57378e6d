"""What several nodes tell of a queue, put together, and what changed a second."""

from __future__ import annotations

from pydisque.monitoring.figures import QueueFigures, Sample, total
from pydisque.protocol.replies import QueueStats


def stats(**told: object) -> QueueStats:
    fields = {
        "name": b"q", "len": 0, "age": 0, "idle": 0, "blocked": 0, "import-from": [],
        "import-rate": 0, "jobs-in": 0, "jobs-out": 0, "pause": b"none",
    } | {name.replace("_", "-"): value for name, value in told.items()}  # fmt: skip
    return QueueStats(part for pair in fields.items() for part in pair)


def test_nodes_are_put_together() -> None:
    """Jobs and clients are summed, the oldest age and the shortest idleness count."""
    queue = QueueFigures(b"q")
    one = stats(len=3, jobs_in=5, jobs_out=2, blocked=1, age=10, idle=4, pause=b"in")
    other = stats(len=1, jobs_in=1, blocked=2, age=30, idle=9, pause=b"out", import_from=[b"n"])
    queue.see({"one": one, "other": other}, 0.0)
    assert (queue.len, queue.jobs_in, queue.jobs_out, queue.blocked) == (4, 6, 2, 3)
    assert (queue.age, queue.idle, queue.pause) == (30, 4, b"all")
    assert queue.import_from == ["n"]


def test_rates_are_those_since_the_look_before() -> None:
    """The first look tells none; then it is what came in between, by the time between."""
    queue = QueueFigures(b"q")
    queue.see({"one": stats(jobs_in=100, jobs_out=40)}, 10.0)
    assert (queue.in_rate, queue.out_rate) == (0, 0)
    queue.see({"one": stats(jobs_in=130, jobs_out=60)}, 12.0)
    assert (queue.in_rate, queue.out_rate) == (15, 10)
    assert [sample.in_rate for sample in queue.samples] == [0, 15]


def test_a_node_that_comes_or_goes_makes_no_rate() -> None:
    """What a node counted before it was first asked did not happen just now."""
    queue = QueueFigures(b"q")
    queue.see({"one": stats(jobs_in=10)}, 0.0)
    queue.see({"one": stats(jobs_in=12), "other": stats(jobs_in=1000)}, 1.0)
    assert queue.in_rate == 2
    queue.see({"other": stats(jobs_in=1003)}, 2.0)
    assert queue.in_rate == 3


def test_counters_that_begin_anew() -> None:
    """A node that was started again counts from nothing, and no rate is below it."""
    queue = QueueFigures(b"q")
    queue.see({"one": stats(jobs_in=100, jobs_out=100)}, 0.0)
    queue.see({"one": stats(jobs_in=4, jobs_out=0)}, 2.0)
    assert (queue.in_rate, queue.out_rate) == (2, 0)


def test_all_together() -> None:
    """The system's numbers are the sums of its queues'."""
    queues = [QueueFigures(b"a"), QueueFigures(b"b")]
    for queue in queues:
        queue.see({"one": stats(len=2, jobs_in=1)}, 0.0)
        queue.see({"one": stats(len=2, jobs_in=3)}, 1.0)
    assert total(queues, 1.0) == Sample(1.0, 4, 4.0, 0.0)


def test_a_total_never_falls() -> None:
    """When a node goes, or forgets the queue, its share stays; what it counts then comes on top."""
    queue = QueueFigures(b"q")
    queue.see({"a": stats(jobs_in=100), "b": stats(jobs_in=50)}, 1.0)
    assert (queue.total_in, queue.new_in) == (150, 0)
    queue.see({"a": stats(jobs_in=110)}, 2.0)
    assert (queue.jobs_in, queue.total_in, queue.new_in) == (110, 160, 10)
    queue.see({"a": stats(jobs_in=110), "b": stats(jobs_in=60)}, 3.0)
    assert (queue.total_in, queue.new_in) == (170, 10)
    queue.see({"a": stats(jobs_in=110), "b": stats(jobs_in=5)}, 4.0)
    assert (queue.total_in, queue.new_in) == (175, 5)


def test_what_is_older_than_the_survey_is_not_new() -> None:
    """Jobs of a queue that was made meanwhile all count as new, those of an older one do not."""
    made, older = QueueFigures(b"q", since=100.0), QueueFigures(b"r", since=100.0)
    made.see({"a": stats(jobs_in=7, age=9)}, 110.0)
    older.see({"a": stats(jobs_in=7, age=10)}, 110.0)
    assert (made.total_in, made.new_in) == (7, 7)
    assert (older.total_in, older.new_in) == (7, 0)
    older.see({"a": stats(jobs_in=8, age=11), "late": stats(jobs_in=1000, age=500)}, 111.0)
    assert (older.total_in, older.new_in) == (8, 1)
