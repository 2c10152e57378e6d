"""A job that was added is there, as often and for as long as its options say."""

import re

import pytest

from conformance.steps import take
from pydisque.errors import MaxLenError, NoReplError


async def test_returns_the_id_the_job_is_received_with(client, queue):
    """What add_job returns is the ID under which a consumer gets the job."""
    job_id = await client.add_job(queue, "body")
    assert await take(client, queue) == (queue.encode(), job_id, b"body")


async def test_id_has_the_shape_of_disque(client, queue):
    """An ID is D-, eight hex digits, 24 letters and four hex digits that say TTL and RETRY."""
    job_id = await client.add_job(queue, "body", ttl=3600, retry=60)
    assert re.fullmatch(rb"D-[0-9a-f]{8}-[A-Za-z0-9+/]{24}-003d", job_id)


@pytest.mark.one_node
async def test_id_names_the_node_that_made_it(client, queue):
    """The eight digits of an ID are the first of its node's ID, so consumers can follow them."""
    job_id = await client.add_job(queue, "body")
    assert job_id[2:10] == (await client.hello())[1][:8]


async def test_equal_jobs_are_two_jobs(client, queue):
    """The same body twice is two jobs with two IDs."""
    assert await client.add_job(queue, "same") != await client.add_job(queue, "same")
    assert await client.qlen(queue) == 2


async def test_defaults(client, queue):
    """Without options a job lives a day, comes again after five minutes, and is not delayed."""
    job = await client.show(await client.add_job(queue, "body"))
    assert (job.retry, job.delay) == (300, 0)
    assert 86390 <= job.ttl <= 86400


async def test_options_reach_the_job(client, queue):
    """delay, retry, ttl and replicate stand in the job as they were given."""
    job_id = await client.add_job(queue, "body", replicate=1, delay=5, retry=7, ttl=100)
    job = await client.show(job_id)
    assert (job.repl, job.delay, job.retry) == (1, 5, 7)
    assert 95 <= job.ttl <= 100


@pytest.mark.parametrize(("ttl", "retry"), [(1, 1), (50, 5), (2_000, 200), (10_000, 300)])
async def test_retry_follows_the_ttl(client, queue, ttl, retry):
    """A job that is given no retry comes again after a tenth of its TTL, within limits."""
    job = await client.show(await client.add_job(queue, "body", ttl=ttl))
    assert job.retry == retry


async def test_maxlen_refuses_what_is_too_much(client, queue):
    """A queue that holds maxlen jobs takes no more, and takes one again when it is shorter."""
    for body in ("1", "2"):
        await client.add_job(queue, body, maxlen=2)
    with pytest.raises(MaxLenError):
        await client.add_job(queue, "3", maxlen=2)
    assert await client.qlen(queue) == 2
    await client.ack_job((await take(client, queue)).id)
    await client.add_job(queue, "3", maxlen=2)


async def test_maxlen_counts_queued_jobs_only(client, queue):
    """Delayed and delivered jobs do not count towards maxlen."""
    await client.add_job(queue, "delayed", delay=100)
    await client.add_job(queue, "delivered")
    await take(client, queue)
    await client.add_job(queue, "queued", maxlen=1)
    assert await client.qlen(queue) == 1


async def test_too_many_copies_are_refused_at_once(client, queue):
    """A job that wants more copies than there are nodes is refused, and is not there."""
    with pytest.raises(NoReplError):
        await client.add_job(queue, "body", replicate=100, timeout=60_000)
    assert await client.qlen(queue) == 0


@pytest.mark.parametrize("name", ["asynchronous", "async"])
async def test_asynchronous(client, queue, name):
    """An asynchronous job is queued and has its ID; the old name of the option works too."""
    job_id = await client.add_job(queue, "body", **{name: True})
    assert (await take(client, queue)).id == job_id


async def test_a_job_needs_no_queue_made_before(client, queue):
    """Adding a job makes its queue."""
    assert await client.qstat(queue) is None
    await client.add_job(queue, "body")
    assert (await client.qstat(queue)).jobs_in == 1
