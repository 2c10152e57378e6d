"""A consumer that waits is served as soon as there is a job, each in its turn."""

import time

import pytest
import redis

from conformance.steps import take, until


async def test_a_waiting_consumer_is_served(client, queue, waiting):
    """A job that is added goes to the consumer that waits for it, and not into the queue."""
    task = await waiting(client, queue)
    job_id = await client.add_job(queue, "body")
    assert await task == [(queue.encode(), job_id, b"body")]
    assert await client.qlen(queue) == 0


async def test_a_wait_that_ends(client, queue):
    """After its timeout, a second later at most, a consumer gets an empty list."""
    started = time.monotonic()
    assert await client.get_job([queue], timeout=200) == []
    assert 0.15 < time.monotonic() - started < 2


@pytest.mark.one_node
async def test_first_come_first_served(client, queue, waiting):
    """Consumers of one queue are served in the order in which they began to wait."""
    tasks = [await waiting(client, queue) for _ in range(4)]
    ids = [await client.add_job(queue, str(n)) for n in range(4)]
    assert [job.id for task in tasks for job in await task] == ids


async def test_who_was_served_goes_to_the_end(client, queue, waiting):
    """A consumer that comes again waits behind those who were waiting."""
    first, second = await waiting(client, queue), await waiting(client, queue)
    await client.add_job(queue, "1")
    await first
    again = await waiting(client, queue)
    await client.add_job(queue, "2")
    assert [job.body for job in await second] == [b"2"]
    await client.add_job(queue, "3")
    assert [job.body for job in await again] == [b"3"]


async def test_a_wait_ends_with_one_job(client, queue, waiting):
    """Who waits gets the first job that comes, even if it asked for more."""
    task = await waiting(client, queue, count=10)
    await client.add_jobs(queue, ["1", "2", "3"])
    assert [job.body for job in await task] == [b"1"]
    assert await client.qlen(queue) == 2


async def test_with_counters(client, queue, waiting):
    """A consumer that waits for counters gets them."""
    task = await waiting(client, queue, withcounters=True)
    job_id = await client.add_job(queue, "body")
    assert await task == [(queue.encode(), job_id, b"body", 0, 0)]


async def test_several_queues(client, queue, waiting):
    """Who waits for several queues is served by the first that has a job, and once."""
    names = [f"{queue}-{n}" for n in range(3)]
    task = await waiting(client, *names)
    job_id = await client.add_job(names[1], "body")
    assert [job.id for job in await task] == [job_id]
    await client.add_job(names[0], "left")
    assert await client.qlen(names[0]) == 1


@pytest.mark.parametrize("way", ["nack_job", "enqueue"])
async def test_a_job_that_comes_back(client, queue, waiting, way):
    """A job that is queued again goes to the consumer that waits."""
    job_id = await client.add_job(queue, "body")
    await take(client, queue)
    task = await waiting(client, queue)
    await getattr(client, way)(job_id)
    assert [job.id for job in await task] == [job_id]


async def test_who_went_away_takes_nothing_along(client, make_client, queue, waiting):
    """A job that comes after a waiting consumer has gone is not lost on it."""
    leaver = make_client()
    await client.ack_job(await client.add_job(queue, "so that the queue stays"))
    task = await waiting(leaver, queue)
    await leaver.close()
    with pytest.raises(redis.exceptions.ConnectionError):
        await task
    await until(lambda: client.qstat(queue), lambda stat: stat.blocked == 0)
    job_id = await client.add_job(queue, "body")
    assert (await take(client, queue)).id == job_id


async def test_others_are_served_meanwhile(client, queue, waiting):
    """While one call waits, the same client carries out others."""
    await waiting(client, queue)
    assert await client.qlen(queue + "-other") == 0
    assert await client.ping()
