"""A job lives as long as its ttl says, acknowledged or not, and no longer."""

from conformance.steps import is_none, take, until


async def test_a_queued_job_expires(client, queue):
    """A job nobody fetched in time leaves its queue and is forgotten."""
    job_id = await client.add_job(queue, "body", ttl=1)
    await until(lambda: client.show(job_id), is_none)
    assert await client.qlen(queue) == 0
    assert await client.get_job([queue], nohang=True) == []


async def test_a_delivered_job_expires(client, queue):
    """A job somebody works on for too long is forgotten, and cannot come again."""
    job_id = await client.add_job(queue, "body", ttl=1, retry=1000)
    await take(client, queue)
    await until(lambda: client.show(job_id), is_none)
    assert await client.nack_job(job_id) == 0


async def test_the_node_tells_how_long(client, queue):
    """A job shows the seconds it still has."""
    job_id = await client.add_job(queue, "body", ttl=100)
    assert 97 <= (await client.show(job_id)).ttl <= 100
