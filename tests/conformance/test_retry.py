"""A job nobody acknowledges is delivered again after its retry, for as long as it lives."""

from conformance.steps import take


async def test_it_comes_again_and_says_so(client, queue):
    """A consumer that died loses nothing: after retry seconds the job goes to another."""
    job_id = await client.add_job(queue, "body", retry=1)
    await take(client, queue)
    again = await take(client, queue, withcounters=True)
    assert again.id == job_id
    assert again.additional_deliveries >= 1
    assert again.nacks == 0


async def test_an_acknowledged_job_does_not(client, queue):
    """What was acknowledged in time does not come again."""
    job_id = await client.add_job(queue, "body", retry=1)
    await take(client, queue)
    await client.ack_job(job_id)
    assert await client.get_job([queue], timeout=1500) == []


async def test_a_queued_job_is_not_queued_twice(client, queue):
    """A job that waits in its queue for longer than its retry is still there once."""
    await client.add_job(queue, "body", retry=1)
    assert await client.get_job([queue + "-other"], timeout=1500) == []
    assert await client.qlen(queue) == 1
    assert len(await client.get_job([queue], count=10)) == 1


async def test_the_node_tells_when(client, queue):
    """A delivered job shows the milliseconds until it is queued again, a quarter second about."""
    job_id = await client.add_job(queue, "body", retry=100)
    await take(client, queue)
    assert 95_000 < (await client.show(job_id)).next_requeue_within <= 100_250
