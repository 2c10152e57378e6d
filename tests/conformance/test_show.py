"""SHOW tells all about a job."""

import time

import pytest

from conformance.steps import NO_SUCH_JOB, take

FIELDS = (
    b"id queue state repl ttl ctime delay retry nacks additional-deliveries nodes-delivered"
    b" nodes-confirmed next-requeue-within next-awake-within body"
)


async def test_the_flat_list(client, queue):
    """SHOW gives names and values in turn, in the order of the protocol."""
    job = await client.show(await client.add_job(queue, "body"))
    assert isinstance(job, list)
    assert b" ".join(job[::2]) == FIELDS


async def test_the_dict(client, queue):
    """With return_dict the names are keys, as bytes."""
    job_id = await client.add_job(queue, "body")
    job = await client.show(job_id, return_dict=True)
    assert set(job) == set(FIELDS.split())
    assert (job[b"id"], job[b"body"], job[b"nacks"]) == (job_id, b"body", 0)


@pytest.mark.one_node
async def test_its_fields(client, queue):
    """Every field has a name of its own, and says what was asked for."""
    before = time.time_ns()
    job_id = await client.add_job(queue, "body", replicate=1, retry=60, ttl=600)
    job = await client.show(job_id)
    assert (job.id, job.queue, job.body) == (job_id, queue.encode(), b"body")
    assert (job.state, job.repl, job.delay, job.retry) == (b"queued", 1, 0, 60)
    assert (job.nacks, job.additional_deliveries) == (0, 0)
    assert before - 2e9 < job.ctime < before + 5e9
    assert 590 <= job.ttl <= 600
    assert job.nodes_delivered == [(await client.hello())[1]]
    assert job.nodes_confirmed == []
    assert 0 < job.next_awake_within <= job.next_requeue_within <= 60_250


async def test_the_state_follows_the_job(client, queue):
    """A job is active while delayed or at work, and queued in between."""
    job_id = await client.add_job(queue, "body", delay=100)
    assert (await client.show(job_id)).state == b"active"
    await client.enqueue(job_id)
    assert (await client.show(job_id)).state == b"queued"
    await take(client, queue)
    assert (await client.show(job_id)).state == b"active"


async def test_unknown(client):
    """A job that is not known is None, as list and as dict."""
    assert await client.show(NO_SUCH_JOB) is None
    assert await client.show(NO_SUCH_JOB, return_dict=True) is None
