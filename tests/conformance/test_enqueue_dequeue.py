"""Jobs can be put into their queue and taken out of it by hand."""

import pytest

from conformance.steps import NO_SUCH_JOB, take
from pydisque.errors import BadIDError


async def test_enqueue_brings_a_delivered_job_back(client, queue):
    """ENQUEUE queues a job again before its retry, which counts as another delivery."""
    job_id = await client.add_job(queue, "body")
    await take(client, queue)
    assert await client.enqueue(job_id) == 1
    job = await take(client, queue, withcounters=True)
    assert (job.id, job.nacks, job.additional_deliveries) == (job_id, 0, 1)


async def test_enqueue_leaves_a_queued_job(client, queue):
    """ENQUEUE of a job that is queued does nothing."""
    job_id = await client.add_job(queue, "body")
    assert await client.enqueue(job_id) == 0
    assert await client.qlen(queue) == 1


async def test_dequeue_takes_a_job_out(client, queue):
    """DEQUEUE takes a job out of its queue; the node still knows it."""
    job_id = await client.add_job(queue, "body")
    assert await client.dequeue(job_id) == 1
    assert await client.qlen(queue) == 0
    assert (await client.show(job_id)).state == b"active"


async def test_dequeue_leaves_a_job_that_is_not_queued(client, queue):
    """DEQUEUE of a delivered job does nothing."""
    job_id = await client.add_job(queue, "body")
    await take(client, queue)
    assert await client.dequeue(job_id) == 0


async def test_out_and_in_again(client, queue):
    """A job taken out can be put in again, and is then delivered."""
    job_id = await client.add_job(queue, "body")
    await client.dequeue(job_id)
    assert await client.enqueue(job_id) == 1
    assert (await take(client, queue)).id == job_id


async def test_a_dequeued_job_comes_back_by_itself(client, queue):
    """Taking a job out does not end it: its retry queues it again."""
    job_id = await client.add_job(queue, "body", retry=1)
    await client.dequeue(job_id)
    assert (await take(client, queue)).id == job_id


async def test_several_are_counted(client, queue):
    """Both take many IDs and answer how many of them changed."""
    ids = await client.add_jobs(queue, ["1", "2", "3"])
    assert await client.dequeue(*ids, NO_SUCH_JOB) == 3
    assert await client.enqueue(NO_SUCH_JOB, *ids[1:]) == 2
    assert await client.qlen(queue) == 2
    assert await client.enqueue() == 0
    assert await client.dequeue() == 0


async def test_enqueue_uncounted(client, queue, server):
    """Our node can take a delivery back; a real Disque says that it cannot, and changes nothing."""
    job_id = await client.add_job(queue, "body")
    await take(client, queue)
    if server.kind.startswith("disque"):
        with pytest.raises(BadIDError):
            await client.enqueue(job_id, uncounted=True)
        assert (await client.show(job_id)).state == b"active"
        return
    assert await client.enqueue(job_id, uncounted=True) == 1
    job = await take(client, queue, withcounters=True)
    assert job == (queue.encode(), job_id, b"body", 0, 0)


async def test_putting_back(client, queue, server):
    """Jobs that nobody works on come back at once, whichever server it is."""
    ids = await client.add_jobs(queue, range(3))
    jobs = await client.get_jobs([queue], count=3)
    await client.put_back(jobs)
    again = await client.get_jobs([queue], count=3)
    assert sorted(job.id for job in again) == sorted(ids)
    counted = 1 if server.kind.startswith("disque") else 0
    assert {job.additional_deliveries for job in again} == {counted}
