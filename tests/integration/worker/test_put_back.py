"""Jobs that are put back before they were begun are none the worse for it."""

from __future__ import annotations

import threading

import pytest

from support.servers import until

from .conftest import gone


def test_a_job_that_was_put_back_often_is_run(make_worker, sync_client, queue, notes, server):
    """Workers that stopped, or had fetched too much, say nothing against a job they never began."""
    if server.kind.startswith("disque"):
        pytest.skip("Disque counts every delivery but the first, whatever came of it")
    id_ = sync_client.add_job(queue, "innocent", retry=300)
    for _ in range(8):
        sync_client.put_back(sync_client.get_jobs([queue], timeout=5000))
    make_worker()
    gone(sync_client, queue)
    assert notes.begun(id_)
    assert sync_client.qlen(f"{queue}:dead") == 0


def test_jobs_left_unanswered_are_still_counted(make_worker, sync_client, queue, notes):
    """What was delivered too often without an answer is not run, whoever put it back between."""
    worker = make_worker(max_additional_deliveries=0)
    worker.stop()
    worker.join(10)
    id_ = sync_client.add_job(queue, "deadly", retry=1)
    sync_client.get_job([queue], timeout=5000)
    make_worker(max_additional_deliveries=0)
    until(lambda: sync_client.qlen(f"{queue}:dead") == 1, 20)
    assert not notes.begun(id_)


def test_a_job_that_was_given_to_another_is_not_put_back(
    make_worker, sync_client, queue, monkeypatch
):
    """What lay here until its lease was over is another's, and stays with that one."""
    gate = threading.Event()
    worker = make_worker(function=lambda _: gate.wait(30), concurrency=1)
    running = sync_client.add_job(queue, "runs", retry=300)
    until(worker._core._executor.running)
    real = worker._core._executor.submit
    handed_over = threading.Event()

    def late(jobs):  # as if this process had been stopped
        for job in jobs:
            sync_client.enqueue(job.key)
            sync_client.get_job([queue], timeout=5000)
            job.safe_until = 0.0
        real(jobs)
        handed_over.set()

    monkeypatch.setattr(worker._core._executor, "submit", late)
    monkeypatch.setattr(worker._core._appetite, "ahead", 1)
    worker._loop.call_soon_threadsafe(worker._core._freed.set)
    given_away = sync_client.add_job(queue, "given away", retry=300)
    assert handed_over.wait(10)
    worker.stop()
    try:
        until(lambda: worker.tally.in_hand == 1)
        info = sync_client.show(given_away)
        assert (info.state, info.additional_deliveries) == (b"active", 1)
    finally:
        gate.set()
    until(lambda: sync_client.show(running) is None)
