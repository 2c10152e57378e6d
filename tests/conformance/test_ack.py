"""What was acknowledged is done: no node delivers it again, or knows it."""

import pytest

from conformance.steps import NO_SUCH_JOB, is_none, take, until

ENDINGS = ["ack_job", "fast_ack", "del_job"]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_job_is_gone(client, queue, ending):
    """After ACKJOB, FASTACK or DELJOB the node forgets a delivered job."""
    job_id = await client.add_job(queue, "body", replicate=1)
    await take(client, queue)
    assert await getattr(client, ending)(job_id) == 1
    await until(lambda: client.show(job_id), is_none)
    assert await client.enqueue(job_id) == 0


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_job_still_queued_leaves_its_queue(client, queue, ending):
    """A job can be ended before anybody got it, and then nobody gets it."""
    job_id = await client.add_job(queue, "body", replicate=1)
    assert await getattr(client, ending)(job_id) == 1
    assert await client.qlen(queue) == 0
    assert await client.get_job([queue], nohang=True) == []


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_delayed_job_never_comes(client, queue, ending):
    """A job can be ended while it is delayed."""
    job_id = await client.add_job(queue, "body", delay=100, replicate=1)
    assert await getattr(client, ending)(job_id) == 1
    assert await client.enqueue(job_id) == 0


@pytest.mark.parametrize("ending", ENDINGS)
async def test_many_at_once_are_counted(client, queue, ending):
    """Several IDs are ended by one command, and the answer is how many were known."""
    ids = await client.add_jobs(queue, ["1", "2", "3"])
    assert await getattr(client, ending)(*ids, NO_SUCH_JOB) == 3


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_unknown_job_counts_nothing(client, ending):
    """Ending a job that is not known, or none at all, is no error."""
    assert await getattr(client, ending)(NO_SUCH_JOB) == 0
    assert await getattr(client, ending)() == 0


@pytest.mark.parametrize("ending", ENDINGS)
async def test_twice_counts_once(client, queue, ending):
    """An acknowledgement that arrives twice does no harm."""
    job_id = await client.add_job(queue, "body")
    assert await getattr(client, ending)(job_id) == 1
    await until(lambda: client.show(job_id), is_none)
    assert await getattr(client, ending)(job_id) == 0


async def test_no_copy_survives(client, elsewhere, queue):
    """An acknowledged job is forgotten by every node that held it."""
    job_id = await client.add_job(queue, "body")
    await client.ack_job(job_id)
    for node in (client, elsewhere):
        await until(lambda node=node: node.show(job_id), is_none)


async def test_acknowledged_on_another_node(client, elsewhere, queue):
    """Any node takes the acknowledgement of a job that another made."""
    job_id = await client.add_job(queue, "body")
    await take(client, queue)
    assert await elsewhere.ack_job(job_id) == 1
    await until(lambda: client.show(job_id), is_none)
