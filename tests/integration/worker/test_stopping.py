"""How a worker ends: nothing is lost, and little is done twice."""

from __future__ import annotations

import threading
import time

import pytest

from pydisque.worker import Worker
from support.servers import until

from . import handlers
from .conftest import gone


def test_jobs_not_begun_go_back_at_once(make_worker, sync_client, queue, notes):
    """A worker that stops puts back what it fetched ahead, without waiting for what runs."""
    gate = threading.Event()

    def handler(job):
        if job.body == b"wait":
            gate.wait(30)

    worker = make_worker(function=handler, concurrency=2)
    sync_client.add_jobs(queue, ["quick"] * 300)
    until(lambda: worker.tally.done.total() == 300)
    sync_client.pause(queue, kw_out=True)
    sync_client.add_jobs(queue, ["wait"] * 10)
    sync_client.pause(queue, kw_none=True)
    until(lambda: worker.tally.fetched.total() > 302 and len(worker._core._executor.running()) == 2)
    worker.stop()
    until(lambda: sync_client.qlen(queue) == 8)
    gate.set()
    assert worker.join(10) == 0
    assert sync_client.qlen(queue) == 8
    assert worker.tally.done.total() == 302


@pytest.mark.parametrize("executor", ["threads", "asyncio", "processes"])
def test_what_runs_may_end(make_worker, sync_client, queue, notes, executor):
    """Running jobs get their time when the worker stops, and are acknowledged."""
    worker = make_worker(executor, concurrency=1, grace=20)
    id_ = sync_client.add_job(queue, "sleep 0.5")
    until(lambda: notes.begun(id_))
    worker.stop()
    assert worker.join(20) == 0
    assert sync_client.show(id_) is None or sync_client.show(id_).state == b"acked"


@pytest.mark.parametrize("executor", ["threads", "asyncio", "processes"])
def test_what_takes_too_long_is_given_back(make_worker, sync_client, queue, notes, executor):
    """A job that outlasts the grace is nacked at once, so another worker has it at once."""
    worker = make_worker(executor, concurrency=1, grace=0.2)
    id_ = sync_client.add_job(queue, "sleep 20", retry=300)
    until(lambda: notes.begun(id_))
    worker.stop()
    assert worker.join(10) == 1
    assert sync_client.qlen(queue) == 1
    info = sync_client.show(id_)
    assert (info.nacks, info.additional_deliveries) == (1, 0)
    sync_client.ack_job(id_)


def test_a_second_stop_is_now(make_worker, sync_client, queue, notes):
    """Who stops a worker twice does not wait for its jobs."""
    worker = make_worker("asyncio", concurrency=1, grace=60)
    id_ = sync_client.add_job(queue, "sleep 20")
    until(lambda: notes.begun(id_))
    worker.stop()
    worker.stop()
    assert worker.join(5) == 1
    sync_client.ack_job(id_)


def test_at_most_once_is_put_back_too(make_worker, sync_client, queue, notes):
    """A job with retry=0 that was fetched and not begun is neither lost nor run twice."""
    gate = threading.Event()

    def handler(job):
        handlers.note(job)
        if job.body == b"wait":
            gate.wait(30)

    worker = make_worker(function=handler, concurrency=1)
    sync_client.add_jobs(queue, ["quick"] * 300)
    until(lambda: worker.tally.done.total() == 300)
    notes.path.write_text("")
    sync_client.pause(queue, kw_out=True)
    sync_client.add_job(queue, "wait")
    sync_client.add_jobs(queue, range(5), retry=0, replicate=1)
    sync_client.pause(queue, kw_none=True)
    until(lambda: worker.tally.fetched.total() > 301 and notes.all())
    worker.stop()
    until(lambda: sync_client.qlen(queue) == 5)
    gate.set()
    worker.join(10)
    make_worker(concurrency=1)
    gone(sync_client, queue)
    assert len(notes.all()) == 6


def test_a_worker_that_waits_ends_at_once(make_worker, queue):
    """A worker without jobs ends at once, and takes no job with it."""
    worker = make_worker()
    until(lambda: worker.tally.wanting_since)
    began = time.monotonic()
    worker.stop()
    assert worker.join(10) == 0
    assert time.monotonic() - began < 3


def test_a_job_that_comes_at_the_last_moment(make_worker, sync_client, queue, notes):
    """Jobs that are delivered while the worker ends are either done or in their queue again."""
    for wait in range(12):
        worker = make_worker()
        until(lambda w=worker: w.tally.wanting_since)
        adding = threading.Thread(target=sync_client.add_jobs, args=(queue, ["x"] * 100))
        adding.start()
        time.sleep(wait / 5000)
        worker.stop()
        worker.join(10)
        adding.join()
        done = worker.tally.done.total()
        until(lambda left=100 - done: sync_client.qlen(queue) == left)
        while jobs := sync_client.get_jobs([queue], count=100, nohang=True):
            sync_client.ack_job(*(job.id for job in jobs))


def test_a_worker_can_begin_again(make_worker, sync_client, queue, notes):
    """A worker that has ended can be started again."""
    worker = make_worker()
    worker.stop()
    worker.join(10)
    worker.start()
    id_ = sync_client.add_job(queue, "again")
    until(lambda: notes.begun(id_))


def test_stopping_what_does_not_run_is_harmless(queue):
    """stop and join before start do nothing."""
    worker = Worker()
    worker.stop()
    assert worker.join() == 0


def test_a_worker_without_handlers_says_so():
    """A worker with nothing to do does not start."""
    with pytest.raises(ValueError, match="needs a handler"):
        Worker().run()
    with pytest.raises(ValueError, match="queue 'x' has no handler"):
        Worker(queues=["x"]).run()


def test_a_job_looked_at_again_at_the_end_goes_back(make_worker, sync_client, queue, notes):
    """A job that was to be begun after all is put back when the worker has begun to stop."""
    worker = make_worker()
    real = worker._core._executor.submit

    def late(jobs):
        for job in jobs:
            job.safe_until = 0.0
        real(jobs)
        worker.stop()

    worker._core._executor.submit = late
    sync_client.add_job(queue, "x")
    assert worker.join(20) == 0
    assert sync_client.qlen(queue) == 1
    assert notes.all() == []
    assert worker.tally.in_hand == 0
