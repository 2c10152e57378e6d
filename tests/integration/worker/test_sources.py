"""Which queues a worker takes jobs from, and in which order."""

from __future__ import annotations

import threading
from collections import Counter
from itertools import groupby

import pytest

from pydisque.worker import Worker
from support.servers import until


@pytest.fixture
def several(server, queue):
    """Makes a worker for several queues whose jobs note their queue; it begins when told."""
    made = []

    def make(names, **options):
        seen: list[str] = []
        worker = Worker(server.addresses, **options)
        for name in names:
            worker.handler(name)(lambda job: seen.append(job.queue))
        made.append(worker)
        return worker, seen

    yield make
    for worker in made:
        worker.stop()
        worker.join(10)


def test_strict_priority(several, sync_client, queue):
    """With strict=True a queue has its turn when those before it are empty."""
    names = [f"{queue}-{n}" for n in range(3)]
    for name in reversed(names):
        sync_client.add_jobs(name, range(50))
    worker, seen = several(names, strict=True, concurrency=1)
    worker.start()
    until(lambda: len(seen) == 150)
    assert [name for name, _ in groupby(seen)] == names


def test_what_is_urgent_comes_first_when_it_comes_later(several, sync_client, queue):
    """With strict=True a job of the first queue overtakes those that wait in the others."""
    first, second = f"{queue}-1", f"{queue}-2"
    worker, seen = several([first, second], strict=True, concurrency=1, prefetch=0)
    gate = threading.Semaphore(0)
    worker.handlers.clear()
    for name in (first, second):
        worker.handler(name)(lambda job: (gate.acquire(timeout=20), seen.append(job.queue)))
    sync_client.add_jobs(second, range(5))
    worker.start()
    until(lambda: worker.tally.in_hand == 1)
    sync_client.add_job(first, "urgent")
    gate.release(6)
    until(lambda: len(seen) == 6)
    assert seen.index(first) <= 1


def test_weights(several, sync_client, queue):
    """With weights, queues that have jobs get their share."""
    one, three = f"{queue}-1", f"{queue}-3"
    for name in (one, three):
        sync_client.add_jobs(name, range(200))
    worker, seen = several([one, three], queues={one: 1, three: 3}, concurrency=1, prefetch=0)
    worker.start()
    until(lambda: len(seen) == 400)
    share = Counter(seen[:100])
    assert share[three] == pytest.approx(75, abs=8)


def test_only_the_queues_asked_for(several, sync_client, queue):
    """With queues, the others are left alone."""
    one, two = f"{queue}-1", f"{queue}-2"
    sync_client.add_job(one, "x")
    sync_client.add_job(two, "x")
    worker, seen = several([one, two], queues=[two])
    worker.start()
    until(lambda: seen == [two])
    assert sync_client.qlen(one) == 1


def test_waiting_for_queues_of_several_weights(several, sync_client, queue):
    """A worker that waits takes the job of whichever queue has one first, once."""
    one, two = f"{queue}-1", f"{queue}-2"
    worker, seen = several([one, two], queues={one: 2, two: 1})
    worker.start()
    until(lambda: worker.tally.wanting_since)
    for name in (two, one, two):
        sync_client.add_job(name, "x")
    until(lambda: len(seen) == 3)
    assert Counter(seen) == {one: 1, two: 2}


def test_a_paused_queue_is_left_alone(several, sync_client, queue):
    """Jobs of a queue paused in output wait, and the worker goes on with the others."""
    one, two = f"{queue}-1", f"{queue}-2"
    sync_client.pause(one, kw_out=True)
    sync_client.add_job(one, "x")
    worker, seen = several([one, two])
    worker.start()
    sync_client.add_job(two, "x")
    until(lambda: seen == [two])
    assert sync_client.qlen(one) == 1
    sync_client.pause(one, kw_none=True)
    until(lambda: seen == [two, one])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"concurrency": 0}, "concurrency must be"),
        ({"concurrency": 1.5}, "concurrency must be"),
        ({"executor": "fibers"}, "executor must be one of threads, asyncio, processes"),
        ({"prefetch": -1}, "prefetch must be"),
        ({"grace": -1}, "grace must be"),
        ({"queues": {"q": 0}}, "weight of queue 'q'"),
        ({"queues": "q"}, "several names"),
        ({"decode_responses": True}, "decode_responses is not for workers"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, text):
    """A wrong setting is refused by a text that names it and what is allowed."""
    with pytest.raises((ValueError, TypeError), match=text):
        Worker(**options)


def test_one_handler_for_each_queue():
    """A second handler for a queue is refused."""
    worker = Worker()
    worker.handler("q")(print)
    with pytest.raises(ValueError, match="queue 'q' has a handler already"):
        worker.handler("q")
