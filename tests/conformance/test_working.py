"""A worker that says it is working has another retry's time."""

import pytest

from conformance.steps import NO_SUCH_JOB, take, until
from pydisque.errors import NoJobError, TooLateError


async def test_the_answer_is_the_time_won(client, queue):
    """WORKING answers the job's retry in seconds."""
    job_id = await client.add_job(queue, "body", retry=77)
    await take(client, queue)
    assert await client.working(job_id) == 77


async def test_the_next_delivery_is_put_off(client, queue):
    """After WORKING the job's time until it is queued again is whole once more."""
    job_id = await client.add_job(queue, "body", retry=10)
    await take(client, queue)
    await until(lambda: client.show(job_id), lambda job: job.next_requeue_within < 9000)
    await client.working(job_id)
    assert (await client.show(job_id)).next_requeue_within > 9000


async def test_a_queued_job_leaves_its_queue(client, queue):
    """WORKING on a job that came back meanwhile takes it out again."""
    job_id = await client.add_job(queue, "body")
    assert await client.working(job_id) == 300
    assert await client.qlen(queue) == 0
    assert (await client.show(job_id)).state == b"active"


async def test_a_delay_becomes_a_retry(client, queue):
    """WORKING on a delayed job puts it off by its retry."""
    job_id = await client.add_job(queue, "body", delay=10, retry=100)
    await client.working(job_id)
    assert (await client.show(job_id)).next_requeue_within > 90_000


async def test_half_of_the_life_is_the_limit(client, queue):
    """When half of a job's ttl is gone the worker is told that it is too late."""
    job_id = await client.add_job(queue, "body", ttl=2, retry=100)
    await take(client, queue)

    async def too_late():
        try:
            return await client.working(job_id) != 100
        except TooLateError:
            return True

    await until(too_late, seconds=3)


async def test_unknown(client):
    """WORKING on a job that is not known raises its own error."""
    with pytest.raises(NoJobError):
        await client.working(NO_SUCH_JOB)
