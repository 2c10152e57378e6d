"""What the worker does for itself where a node does less than ours, tried on ours as well.

A real Disque starts a lease when the job is queued, and its NACK knows no delay. The same tests run
on a real one too, if there is one; here the worker is made to believe that it has one before it.
"""

from __future__ import annotations

import pytest

from pydisque.worker.consumer.acknowledger import Answers
from support.servers import until

from .conftest import gone, letters


@pytest.fixture(autouse=True)
def as_on_disque(monkeypatch):
    async def no(self):
        return False

    monkeypatch.setattr(Answers, "starts_lease_at_delivery", no)


def test_a_lease_is_renewed_before_the_job_begins(make_worker, sync_client, queue, notes):
    """A job's lease begins anew when it is fetched, however long it was queued."""
    id_ = sync_client.add_job(queue, "sleep 0.3", retry=300)
    worker = make_worker()
    until(lambda: notes.begun(id_))
    [job] = worker._core._executor.running()
    assert job.lease_ends is not None
    gone(sync_client, queue)


def test_a_long_job_is_delivered_once(make_worker, sync_client, queue, notes):
    """Leases are renewed for as long as a job runs."""
    make_worker()
    id_ = sync_client.add_job(queue, "sleep 2.5", retry=1)
    gone(sync_client, queue)
    assert notes.attempts(id_) == [1]


def test_a_job_that_was_taken_back_meanwhile_is_not_begun(make_worker, sync_client, queue, notes):
    """A job of which the node knows nothing any more when its lease is to begin is not run."""
    worker = make_worker()
    real = worker._core._confirm

    async def confirm(jobs):
        sync_client.ack_job(*(job.key for job in jobs))
        worker._core._confirm = real
        return await real(jobs)

    worker._core._confirm = confirm
    id_ = sync_client.add_job(queue, "taken back")
    until(lambda: worker.tally.lost.total() == 1)
    later = sync_client.add_job(queue, "later")
    until(lambda: notes.begun(later))
    assert not notes.begun(id_)


def test_a_pause_is_kept_by_a_new_job(make_worker, sync_client, queue, notes):
    """What failed is added again with a delay; its first ID, counters and headers go with it."""
    make_worker(max_attempts=3)
    id_ = sync_client.add_job(queue, "retry 1", retry=60, ttl=600)
    [letter] = letters(sync_client, f"{queue}:dead")
    gone(sync_client, queue)
    assert [note.attempt for note in notes.all()] == [1, 2, 3]
    assert len({note.id for note in notes.all()}) == 3
    assert (letter.id, letter.nacks) == (id_.decode(), 2)
    assert letter.body == b"retry 1"
