"""Jobs that are put back before they were begun are none the worse for it."""

from __future__ import annotations

import pytest

from servers import until

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
