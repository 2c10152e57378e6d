"""Jobs as they come, and those that go back because nobody works on them."""

import asyncio
import contextlib

import pytest

from conformance.steps import take, until


@pytest.fixture(params=[{}, {"retry": 0, "replicate": 1}], ids=["at-least-once", "at-most-once"])
def options(request):
    """Of both sorts of job."""
    return request.param


async def test_jobs_end_after_a_time_without_any(client, queue):
    """With a timeout the iteration gives out all jobs, in their order, and then ends."""
    await client.add_jobs(queue, ["1", "2", "3"])
    found = []
    async for job in client.jobs(queue, count=2, timeout=300):
        found.append(job.body)
        assert await job.ack() == 1
    assert found == [b"1", b"2", b"3"]


async def test_jobs_wait_for_more(client, queue):
    """The iteration waits, and goes on with what comes."""
    await client.add_job(queue, "1")
    async with contextlib.aclosing(client.jobs(queue)) as jobs:
        assert (await anext(jobs)).body == b"1"
        following = asyncio.ensure_future(anext(jobs))
        await until(lambda: client.qstat(queue), lambda stat: stat.blocked == 1)
        await client.add_job(queue, "2")
        assert (await following).body == b"2"


async def test_leaving_puts_back_what_was_not_given_out(client, queue, options):
    """Of a batch that was fetched only the job in hand stays away when the iteration is closed."""
    await client.add_jobs(queue, ["1", "2", "3"], **options)
    await until(lambda: client.qlen(queue), lambda length: length == 3)
    async with contextlib.aclosing(client.jobs(queue, count=3)) as jobs:
        mine = await anext(jobs)
    await until(lambda: client.qlen(queue), lambda length: length == 2)
    others = [await take(client, queue), await take(client, queue)]
    assert {mine.body, *(job.body for job in others)} == {b"1", b"2", b"3"}
    assert await client.get_job([queue], nohang=True) == []


@pytest.mark.one_node
async def test_put_back(client, queue, options):
    """put_back queues jobs again at once; one to be delivered once is not there twice."""
    await client.add_job(queue, b"\xff body", **options, ttl=1000)
    (job,) = await client.get_jobs([queue], timeout=10_000)
    await client.put_back([job])
    (again,) = await client.get_jobs([queue], timeout=10_000)
    assert (again.queue, again.body) == (job.queue, job.body)
    shown = await client.show(again.id)
    assert 990 <= shown.ttl <= 1000
    assert (again.id == job.id) == (not options)
    assert (shown.retry == 0) == bool(options)
    await until(lambda: client.get_job([queue], nohang=True), lambda jobs: jobs == [])


@pytest.mark.one_node
async def test_what_is_done_is_not_put_back(client, queue, options):
    """A job that was acknowledged meanwhile stays so."""
    await client.add_job(queue, "body", **options)
    (job,) = await client.get_jobs([queue], timeout=10_000)
    assert await job.ack() == 1
    await client.put_back([job])
    assert await client.get_job([queue], nohang=True) == []


async def test_add_json(client, queue):
    """A value becomes compact JSON in UTF-8."""
    await client.add_json(queue, {"name": "Zoë", "n": [1, None, True]}, ttl=100)
    assert (await take(client, queue)).body == '{"name":"Zoë","n":[1,null,true]}'.encode()
