"""Leases are kept as long as a job runs, whatever it does, and a lost one is told."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from pydisque.worker import Retry
from support.servers import until

from . import handlers
from .conftest import gone


@pytest.mark.parametrize("executor", ["threads", "asyncio", "processes"])
def test_a_long_job_is_delivered_once(make_worker, sync_client, queue, notes, executor):
    """A job that runs longer than its RETRY is not delivered again meanwhile."""
    make_worker(executor, concurrency=2)
    id_ = sync_client.add_job(queue, "sleep 3", retry=1)
    gone(sync_client, queue)
    assert notes.attempts(id_) == [1]


def test_short_leases_beside_long_ones(make_worker, sync_client, queue, notes):
    """A job with a short lease is renewed in time while one with a long lease is not yet due."""
    make_worker(concurrency=2)
    long = sync_client.add_job(queue, "sleep 4", retry=300)
    until(lambda: notes.begun(long))
    time.sleep(1)
    short = sync_client.add_job(queue, "sleep 2.5", retry=1)
    gone(sync_client, queue)
    assert (notes.attempts(long), notes.attempts(short)) == ([1], [1])


def test_a_job_that_blocks_its_loop_keeps_its_lease(make_worker, sync_client, queue, notes):
    """A coroutine that never lets go of its loop does not starve the renewals."""

    async def blocks(job):
        handlers.note(job)
        time.sleep(3)  # noqa: ASYNC251 - the fault that is tested

    make_worker("asyncio", function=blocks)
    id_ = sync_client.add_job(queue, "", retry=1)
    gone(sync_client, queue)
    assert notes.attempts(id_) == [1]


def test_busy_threads_keep_their_leases(make_worker, sync_client, queue, notes):
    """Threads that compute without a pause do not starve the renewals."""

    def computes(job):
        handlers.note(job)
        until_then = time.monotonic() + 3
        while time.monotonic() < until_then:
            sum(range(1000))

    make_worker(function=computes, concurrency=4)
    ids = sync_client.add_jobs(queue, range(4), retry=1)
    gone(sync_client, queue)
    assert [notes.attempts(id_) for id_ in ids] == [[1]] * 4


@pytest.mark.parametrize("executor", ["threads", "asyncio", "processes"])
def test_a_job_that_is_gone_is_told_so(make_worker, sync_client, queue, notes, executor):
    """When the node knows a job no more, the job is told, a coroutine by being cancelled."""
    worker = make_worker(executor, concurrency=1)
    id_ = sync_client.add_job(queue, "until-lost", retry=1)
    until(lambda: notes.begun(id_))
    sync_client.ack_job(id_)
    until(lambda: "lost" in notes.words(id_))
    until(lambda: worker.tally.lost.total() == 1)
    later = sync_client.add_job(queue, "later")
    until(lambda: notes.begun(later))
    assert sync_client.qlen(f"{queue}:dead") == 0


def test_after_half_of_its_ttl_a_job_has_one_lease_more(make_worker, sync_client, queue, notes):
    """When the node allows no renewal, a job is told when what is left of its lease is over."""
    make_worker("threads")
    id_ = sync_client.add_job(queue, "until-lost", ttl=6, retry=2)
    begun = time.monotonic()
    until(lambda: "lost" in notes.words(id_), 20)
    assert time.monotonic() - begun > 2.5  # half of the TTL, which is in whole seconds, at least


def test_an_old_job_is_run_without_renewal(make_worker, sync_client, queue, notes):
    """A job that waited for more than half of its TTL is run, though it cannot be renewed."""
    id_ = sync_client.add_job(queue, "sleep 1.5", ttl=8, retry=60)
    until(lambda: sync_client.show(id_).ttl <= 3)
    worker = make_worker("asyncio")
    gone(sync_client, queue)
    assert worker.tally.lost.total() == 0


def test_a_failure_says_nothing_of_a_job_that_another_has(make_worker, sync_client, queue, notes):
    """What fails after its lease has ended is not given back from under its next worker."""
    gate = threading.Event()

    def fails(job):
        handlers.note(job)
        gate.wait(30)
        raise ValueError

    make_worker(function=fails, concurrency=1)
    id_ = sync_client.add_job(queue, "x", retry=300)
    until(lambda: notes.begun(id_))
    sync_client.enqueue(id_)  # as if its lease were over
    [job] = sync_client.get_jobs([queue], timeout=5000)
    gate.set()
    later = sync_client.add_job(queue, "later")
    until(lambda: notes.begun(later))
    info = sync_client.show(id_)
    assert (info.state, info.nacks) == (b"active", 0)
    assert job.ack() == 1


def test_what_was_fetched_ahead_does_not_wait_behind_long_jobs(
    make_worker, sync_client, queue, notes
):
    """When jobs turn out to be long, those behind them go back, where another worker takes them."""
    gate = threading.Event()

    def handler(job):
        if job.body == b"long":
            gate.wait(30)
        else:
            handlers.note(job)

    try:
        worker = make_worker(function=handler, concurrency=1)
        sync_client.add_jobs(queue, ["short"] * 300)
        until(lambda: worker.tally.done.total() == 300)
        assert worker._core._appetite.ahead > 50
        notes.path.write_text("")
        sync_client.pause(queue, kw_out=True)
        time.sleep(0.2)
        sync_client.add_job(queue, "long")
        ids = sync_client.add_jobs(queue, ["short"] * 20)
        sync_client.pause(queue, kw_none=True)
        until(lambda: worker.tally.returned.total() > 0, 20)
        make_worker(function=handler, concurrency=1)
        until(lambda: notes.begun(*ids), 20)
    finally:
        gate.set()


def test_a_job_that_lay_too_long_is_not_begun(make_worker, sync_client, queue, notes, monkeypatch):
    """A job whose lease may be over before it begins is begun only if nobody else was given it."""
    begun = threading.Event()

    def handler(job):
        begun.set()
        handlers.note(job)

    worker = make_worker(function=handler, concurrency=1)
    real = worker._core._executor.submit

    def late(jobs):  # as if this process had been stopped between fetch and start
        for job in jobs:
            if job.body == b"given away":
                sync_client.enqueue(job.key)
                sync_client.get_job([queue], timeout=5000)
            job.safe_until = 0.0
        monkeypatch.setattr(worker._core._executor, "submit", real)
        real(jobs)

    monkeypatch.setattr(worker._core._executor, "submit", late)
    ours = sync_client.add_job(queue, "ours", retry=60)
    until(lambda: notes.begun(ours))
    monkeypatch.setattr(worker._core._executor, "submit", late)
    given_away = sync_client.add_job(queue, "given away", retry=60)
    until(lambda: worker.tally.lost.total() == 1)
    later = sync_client.add_job(queue, "later")
    until(lambda: notes.begun(later))
    assert not notes.begun(given_away)


def test_a_renewal_under_way_does_not_hide_a_job_that_failed(
    make_worker, sync_client, queue, notes, monkeypatch
):
    """A job that fails while its lease is renewed is in its queue again, and stays there."""

    async def fails_once(job):
        handlers.note(job)
        if not job.nacks:
            await asyncio.sleep(0.7)
            raise Retry(in_seconds=0)

    worker = make_worker("asyncio", function=fails_once)
    until(lambda: hasattr(worker._core, "_renewal"))  # its thread makes it
    renewer = worker._core._renewal._client

    class Slow:  # a pipeline whose commands take their time to the node
        def __init__(self):
            self._pipeline = type(renewer).pipeline(renewer)
            self.working = self._pipeline.working

        async def execute(self, **options):
            await asyncio.sleep(0.5)
            return await self._pipeline.execute(**options)

    monkeypatch.setattr(renewer, "pipeline", Slow)
    id_ = sync_client.add_job(queue, "", retry=300)
    until(lambda: notes.attempts(id_) == [1])
    sync_client.pause(queue, kw_out=True)  # so that nobody takes it before the renewal comes
    until(lambda: sync_client.show(id_).nacks == 1)
    time.sleep(0.6)
    assert sync_client.qlen(queue) == 1
    sync_client.pause(queue, kw_none=True)
    until(lambda: notes.attempts(id_) == [1, 2])
