"""A delayed job is nobody's until its delay has passed."""

import time

from conformance.steps import take, until


async def test_it_comes_after_its_delay(client, queue):
    """A consumer that waits gets a delayed job when it is due, and as its first delivery."""
    started = time.monotonic()
    job_id = await client.add_job(queue, "body", delay=1)
    job = await take(client, queue, withcounters=True)
    assert job == (queue.encode(), job_id, b"body", 0, 0)
    assert time.monotonic() - started > 0.85


async def test_meanwhile_it_is_not_in_the_queue(client, queue):
    """A delayed job is neither counted, nor seen, nor handed out, nor does it make its queue."""
    job_id = await client.add_job(queue, "body", delay=100)
    assert (await client.show(job_id)).state == b"active"
    assert await client.qlen(queue) == 0
    assert await client.qpeek(queue, 1) == []
    assert await client.qstat(queue) is None
    assert await client.get_job([queue], nohang=True) == []


async def test_the_node_tells_when(client, queue):
    """A delayed job shows the milliseconds that are left."""
    job = await client.show(await client.add_job(queue, "body", delay=100))
    assert job.delay == 100
    assert 95_000 < job.next_requeue_within <= 100_000


async def test_it_can_be_queued_before(client, queue):
    """ENQUEUE ends a delay, and the delivery is the job's first nevertheless."""
    job_id = await client.add_job(queue, "body", delay=100)
    assert await client.enqueue(job_id) == 1
    job = await take(client, queue, withcounters=True)
    assert (job.id, job.additional_deliveries) == (job_id, 0)


async def test_others_overtake_it(client, queue):
    """Jobs added later are delivered while it waits; when due it takes its place by age."""
    late = await client.add_job(queue, "late", delay=1)
    early = await client.add_job(queue, "early")
    assert (await take(client, queue)).id == early
    await client.nack_job(early)
    await until(lambda: client.qlen(queue), lambda length: length == 2)
    assert [job.id for job in await client.get_job([queue], count=2)] == [late, early]
