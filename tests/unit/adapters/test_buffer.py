"""What lies between the engine's thread and kombu's, without either."""

from __future__ import annotations

from time import monotonic

import pytest

from pydisque.adapters.kombu.consumer import UNLIMITED, Bell, Box, Prefetch
from pydisque.worker.executors.base import StaleError
from pydisque.worker.handlers.job import WorkerJob


@pytest.fixture
def bell():
    made = Bell()
    yield made
    made.close()


@pytest.fixture
def told():
    return []


@pytest.fixture
def box(bell, told):
    made = Box(bell)
    made.start(lambda job, outcome, _: told.append((job, outcome)))
    return made


def job(number, safe=60.0):
    made = WorkerJob(b"q", b"D-%08d-%024d-05a1" % (number, number), b"", 0, 0)
    made.safe_until = monotonic() + safe
    return made


def test_a_box_gives_jobs_in_their_order(box, told):
    """Each once; until it is answered for it runs."""
    first, second = job(1), job(2)
    box.submit([first, second])
    assert (box.take(), box.running()) == (first, [first])
    box.answer(first, None)
    assert (box.running(), told) == ([], [(first, None)])
    assert (box.take(), box.take()) == (second, None)


def test_what_may_be_anothers_is_not_given(box, told):
    """It is told of instead, and the next one given."""
    late, good = job(1, safe=-1), job(2)
    box.submit([late, good])
    assert box.take() is good
    assert [(each, type(outcome)) for each, outcome in told] == [(late, StaleError)]


def test_what_was_not_taken_can_be_had_back(box):
    """All of it; what was taken stays where it is."""
    jobs = [job(number) for number in range(3)]
    box.submit(jobs)
    taken = box.take()
    assert box.take_back() == jobs[1:]
    assert (box.take(), box.running()) == (None, [taken])
    box.forget(taken)
    assert box.running() == []


def test_a_bell_rings_until_it_is_hushed(bell):
    """However often it was rung; a wait for one that rings is short."""
    begun = monotonic()
    bell.ring()
    bell.ring()
    bell.wait(10)
    bell.wait(10)
    assert monotonic() - begun < 5
    bell.hush()
    begun = monotonic()
    bell.wait(0.05)
    assert monotonic() - begun >= 0.04


def test_a_channel_wants_what_it_may_have(box):
    """Nothing without a queue, else up to its count; without one, while little waits."""
    prefetch = Prefetch(box)
    assert prefetch.room(0) == 0
    prefetch.wanting = True
    assert prefetch.room(10_000) == UNLIMITED
    box.submit([job(1)])
    assert prefetch.room(10_000) == UNLIMITED - 1
    prefetch.count = 4
    assert [prefetch.room(in_hand) for in_hand in (0, 3, 4, 5)] == [4, 1, 0, 0]
