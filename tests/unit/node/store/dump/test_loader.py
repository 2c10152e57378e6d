"""What a dump adds to those who are there."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisque.node.store.dump import line_format
from pydisque.node.store.dump.loader import Count, DumpError, Intake
from pydisque.node.store.durable.records import LARGE
from pydisque.node.store.durable.recovery import Replay

NOW = 1_700_000_000_000
HEAD = {"type": "pydisque-dump", "version": 1}


def job(number: int, ctime: int = NOW * 10**6, **more: object) -> dict[str, object]:
    id_ = f"D-72821d12-{number:024}-05a1"
    return {"type": "job", "id": id_, "queue": "q", "body": "b", "ctime": ctime, "etime": 9} | more


def queue(name: str, **more: object) -> dict[str, object]:
    return {"type": "queue", "queue": name, "ctime": NOW} | more


def lines(*objects: object) -> list[bytes]:
    return [json.dumps(it).encode() + b"\n" for it in objects]


def take(present: Replay, told: Iterable[bytes]) -> Intake:
    """Take in a dump and apply what comes of it to those who were there."""
    intake = Intake(present, NOW)
    intake.take(told)
    for number, data in intake.records:
        present.apply(number, data)
    return intake


def test_ctimes_stay_unique():
    """A job whose ctime is taken gets the next one that is free, in the order of the lines."""
    state = Replay()
    take(state, lines(HEAD, job(1, 10), job(2, 11)))
    take(state, lines(HEAD, job(3, 10), job(4, 10), job(5, 14), job(6, 13)))
    assert [(int(it.id[11:35]), ctime) for ctime, it in state.jobs.items()] == [
        (1, 10), (2, 11), (3, 12), (4, 13), (5, 14), (6, 15),
    ]  # fmt: skip


@given(st.lists(st.integers(1, 12), max_size=40), st.lists(st.integers(1, 12), max_size=40))
def test_every_job_keeps_its_place_or_one_after_it(first, second):
    """However many have the same ctime, each gets one of its own that is not before its own."""
    state = Replay()
    take(state, lines(HEAD, *(job(n, ctime) for n, ctime in enumerate(first))))
    take(state, lines(HEAD, *(job(n, ctime) for n, ctime in enumerate(second, 100))))
    asked = dict(enumerate(first)) | dict(enumerate(second, 100))
    assert len(state.jobs) == len(first) + len(second)
    assert all(ctime >= asked[int(it.id[11:35])] for ctime, it in state.jobs.items())


def test_many_of_one_ctime():
    """A hundred thousand jobs of the same ctime find their places in a moment."""
    state = Replay()
    take(state, lines(HEAD, *(job(n, 1) for n in range(100_000))))
    assert list(state.jobs) == list(range(1, 100_001))


def test_who_is_there_stays():
    """Jobs by their ID and queues in use by their name are left as they are, and counted."""
    state = Replay()
    take(state, lines(HEAD, queue("q", jobs_in=5), queue("bare"), job(1)))
    told = lines(HEAD, queue("q", jobs_in=9), queue("bare", paused="in"), job(1, body="x"), job(2))
    intake = take(state, told)
    assert (intake.skipped, intake.loaded) == (Count(1, 1), Count(1, 1))
    assert state.queues[b"q"].jobs_in == 5
    assert state.queues[b"bare"].paused_in
    assert [it.body for it in state.jobs.values()] == [b"b", b"b"]
    assert len({it.serial for it in state.queues.values()}) == 2


def test_queues_of_jobs_are_made():
    """A queue that has jobs in the dump but no line of its own is there afterwards."""
    state = Replay()
    take(state, lines(HEAD, job(1), job(2, queue="r", state="active", retry=0)))
    assert list(state.queues) == [b"q"]
    assert state.queues[b"q"].ctime == NOW


def test_large_dumps_make_several_records():
    """Records stay small enough for a node to move what is in them in one go."""
    intake = take(Replay(), lines(HEAD, *(job(n, body="b" * 100_000) for n in range(50))))
    assert len(intake.records) > 4
    assert max(len(data) for _, data in intake.records) < LARGE * 1.2


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ([], "line 1: not a dump of pydisque: it is empty"),
        (lines(job(1)), "line 1: not a dump of pydisque: the head line is missing"),
        (lines(HEAD, job(1), HEAD), "line 3: a second head line"),
        ([*lines(HEAD, job(1)), b"\n", b"garbage\n"], "line 4: not JSON"),
        (lines(HEAD | {"jobs": 2}, job(1)), "line 2: the end comes after 1 jobs, where .* 2"),
        (lines(HEAD | {"queues": 0}, queue("q")), "line 2: the end comes after 1 queues"),
    ],
)
def test_dumps_that_are_none(told, error):
    """A dump is taken as a whole or not at all; the line that is wrong is named."""
    intake = Intake(Replay(), NOW)
    with pytest.raises(DumpError, match=error):
        intake.take(told)


def test_dump_load_dump():
    """What was loaded is dumped as it was, line for line, in the same order."""
    first, second = Replay(), Replay()
    take(first, lines(HEAD, job(2, 5), queue("z", jobs_in=1), job(1, 4), queue("a", jobs_out=1)))
    told = list(line_format.lines(first, b"n" * 40))
    take(second, told)
    assert list(line_format.lines(second, b""))[1:] == told[1:]
