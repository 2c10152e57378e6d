"""A job with retry=0 is delivered once or never, whatever happens."""

import pytest

from conformance.steps import take


@pytest.fixture
async def job_id(client, queue):
    """A job to be delivered at most once."""
    return await client.add_job(queue, "body", retry=0, replicate=1)


async def test_it_is_delivered(client, queue, job_id):
    """It is queued and delivered like any other."""
    assert await take(client, queue, withcounters=True) == (
        queue.encode(),
        job_id,
        b"body",
        0,
        0,
    )


@pytest.mark.parametrize("way", ["nack_job", "enqueue"])
async def test_no_way_back(client, queue, job_id, way):
    """Once delivered, neither giving it back nor queueing it delivers it again."""
    await take(client, queue)
    assert await getattr(client, way)(job_id) == 0
    assert await client.get_job([queue], nohang=True) == []


async def test_time_does_not_bring_it_back(client, queue, job_id):
    """Once queued it has no time at which it would be queued again."""
    assert (await client.show(job_id)).next_requeue_within is None
    await take(client, queue)
    assert (await client.show(job_id)).next_requeue_within is None


async def test_it_is_known_until_acknowledged(client, queue, job_id):
    """The node remembers it, delivered or not, until it is acknowledged."""
    await take(client, queue)
    assert (await client.show(job_id)).state == b"active"
    assert await client.ack_job(job_id) == 1
    assert await client.show(job_id) is None


async def test_working_wins_nothing(client, queue, job_id):
    """WORKING on it answers 0."""
    await take(client, queue)
    assert await client.working(job_id) == 0


async def test_a_delay_is_kept(client, queue):
    """A delayed one is delivered after its delay, once."""
    job_id = await client.add_job(queue, "body", retry=0, replicate=1, delay=1)
    assert (await take(client, queue)).id == job_id
    assert await client.enqueue(job_id) == 0
