"""A job that is given back comes again at once, and says how often that happened."""

import pytest

from conformance.steps import NO_SUCH_JOB, take
from pydisque.errors import BadIDError


async def test_the_job_comes_again_at_once(client, queue):
    """A job given back is queued again without waiting for its retry."""
    job_id = await client.add_job(queue, "body")
    await take(client, queue)
    assert await client.nack_job(job_id) == 1
    assert await client.qlen(queue) == 1
    assert (await take(client, queue)).id == job_id


async def test_each_time_is_counted(client, queue):
    """The job carries the number of times it was given back."""
    job_id = await client.add_job(queue, "body")
    for times in range(3):
        job = await take(client, queue, withcounters=True)
        assert (job.nacks, job.additional_deliveries) == (times, 0)
        await client.nack_job(job_id)
    assert (await client.show(job_id)).nacks == 3


async def test_a_queued_job_stays_as_it_is(client, queue):
    """What nobody got cannot be given back: it is not counted and not queued twice."""
    job_id = await client.add_job(queue, "body")
    assert await client.nack_job(job_id) == 0
    assert await client.qlen(queue) == 1
    assert (await client.show(job_id)).nacks == 0


async def test_a_delayed_job_is_queued(client, queue):
    """Giving back a delayed job ends its delay."""
    job_id = await client.add_job(queue, "body", delay=100)
    assert await client.nack_job(job_id) == 1
    assert (await take(client, queue)).id == job_id


async def test_unknown_jobs_count_nothing(client, queue):
    """The answer is how many were queued; jobs that are not known are passed over."""
    job_id = await client.add_job(queue, "body")
    await take(client, queue)
    assert await client.nack_job(NO_SUCH_JOB, job_id) == 1
    assert await client.nack_job() == 0


async def test_after_a_delay(client, queue, server):
    """Our node lets the job wait first; a real Disque cannot: it says so, and changes nothing."""
    job_id = await client.add_job(queue, "body")
    await take(client, queue)
    if server.kind.startswith("disque"):
        with pytest.raises(BadIDError):
            await client.nack_job(job_id, delay=1)
        job = await client.show(job_id)
        assert (job.state, job.nacks) == (b"active", 0)
        return
    assert await client.nack_job(job_id, delay=1) == 1
    assert await client.qlen(queue) == 0
    job = await take(client, queue, withcounters=True)
    assert job == (queue.encode(), job_id, b"body", 1, 0)


async def test_a_delay_of_nothing(client, queue):
    """A delay of 0 is none, for every node."""
    job_id = await client.add_job(queue, "body")
    (job,) = await client.get_jobs([queue])
    assert await job.nack(delay=0) == 1
    assert (await take(client, queue)).id == job_id
