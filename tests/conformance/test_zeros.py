"""Zero is a value: it is sent, or refused with what is allowed, never dropped."""

import pytest

from conformance.steps import take


async def test_no_delay(client, queue):
    """delay=0 queues the job at once."""
    await client.add_job(queue, "body", delay=0)
    assert await client.qlen(queue) == 1


async def test_no_limit_of_time_for_copies(client, queue):
    """timeout=0 lets the node take its time to place copies."""
    assert await client.add_job(queue, "body", timeout=0)


async def test_no_retry(client, queue):
    """retry=0 is at most once, not the default."""
    job_id = await client.add_job(queue, "body", retry=0, replicate=1)
    assert (await client.show(job_id)).retry == 0


@pytest.mark.parametrize("option", ["ttl", "replicate", "maxlen"])
async def test_options_that_must_not_be_zero(client, queue, option):
    """A job that could not live is refused, with the option's name."""
    with pytest.raises(ValueError, match=f"{option} must be"):
        await client.add_job(queue, "body", **{option: 0})
    assert await client.qstat(queue) is None


async def test_no_job_at_all(client, queue):
    """count=0 is refused: a consumer wants at least one."""
    with pytest.raises(ValueError, match="count must be 1 or more, not 0"):
        await client.get_job([queue], count=0)


async def test_for_ever(client, queue, waiting):
    """timeout=0 waits as long as it takes, as without a timeout."""
    task = await waiting(client, queue, timeout=0)
    job_id = await client.add_job(queue, "body")
    assert [job.id for job in await task] == [job_id]


async def test_looking_at_nothing(client, queue):
    """qpeek with 0 shows none."""
    await client.add_job(queue, "body")
    assert await client.qpeek(queue, 0) == []


async def test_the_least_work(client, queue):
    """count=0 in a scan is the least piece of work, and still gets to the end."""
    job_id = await client.add_job(queue, "body")
    found = [job async for job in client.iter_jobs(queue=queue, count=0)]
    assert found == [job_id]


async def test_empty_text(client):
    """An empty body and an empty queue's name are sent as such."""
    job_id = await client.add_job("", "")
    assert await take(client, "") == (b"", job_id, b"")
    await client.ack_job(job_id)
