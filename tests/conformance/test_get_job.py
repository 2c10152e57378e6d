"""A consumer gets what is queued, as tuples, as many as it asks for, and none twice."""

import pytest

from conformance.steps import take


async def test_a_job_is_a_tuple_of_queue_id_and_body(client, queue):
    """A job unpacks to queue, ID and body, equals that tuple, and has names for its parts."""
    job_id = await client.add_job(queue, "body")
    (job,) = await client.get_job([queue])
    assert job == (queue.encode(), job_id, b"body")
    assert (job.queue, job.id, job.body) == tuple(job)
    assert (job.nacks, job.additional_deliveries) == (None, None)


async def test_counters_are_added_when_asked_for(client, queue):
    """With counters a job has two more parts, both zero for a job nobody got before."""
    job_id = await client.add_job(queue, "body")
    (job,) = await client.get_job([queue], withcounters=True)
    assert job == (queue.encode(), job_id, b"body", 0, 0)
    assert (job.nacks, job.additional_deliveries) == (0, 0)


async def test_a_job_is_handed_out_once(client, queue):
    """Until its retry a job that was delivered is not delivered again."""
    await client.add_job(queue, "body")
    await take(client, queue)
    assert await client.get_job([queue], nohang=True) == []
    assert await client.qlen(queue) == 0


async def test_nohang_returns_at_once(client, queue):
    """Without a job and with nohang the answer is an empty list, whatever the timeout."""
    assert await client.get_job([queue], timeout=60_000, nohang=True) == []


async def test_without_count_it_is_one(client, queue):
    """A consumer that gives no count gets a single job."""
    await client.add_jobs(queue, ["1", "2"])
    assert len(await client.get_job([queue])) == 1


@pytest.mark.parametrize(("count", "got"), [(1, 1), (3, 3), (10, 5)])
async def test_count_is_the_most(client, queue, count, got):
    """A consumer gets as many jobs as it asks for, or as there are; it never waits for more."""
    await client.add_jobs(queue, [str(n) for n in range(5)])
    assert len(await client.get_job([queue], count=count, timeout=60_000)) == got


async def test_several_queues_at_once(client, queue):
    """Jobs of all queues named come in one answer, each with the name of its queue."""
    first, second = f"{queue}-1", f"{queue}-2"
    await client.add_job(second, "2")
    await client.add_job(first, "1")
    jobs = await client.get_job([first, second], count=10)
    assert [(job.queue, job.body) for job in jobs] == [
        (first.encode(), b"1"),
        (second.encode(), b"2"),
    ]


async def test_other_queues_are_left_alone(client, queue):
    """A consumer gets no job of a queue it did not name."""
    await client.add_job(queue, "body")
    assert await client.get_job([queue + "-other"], nohang=True) == []
    assert await client.qlen(queue) == 1


async def test_jobs_as_objects(client, queue):
    """get_jobs gives the same jobs, with counters, able to be acknowledged by themselves."""
    job_id = await client.add_job(queue, "body")
    (job,) = await client.get_jobs([queue])
    assert job == (queue.encode(), job_id, b"body", 0, 0)
    assert await job.nack() == 1
    (again,) = await client.get_jobs([queue])
    assert (again.id, again.nacks) == (job_id, 1)
    assert await again.working() == 300
    assert await again.ack() == 1
    assert await client.get_jobs([queue], nohang=True) == []


async def test_objects_come_in_numbers_too(client, queue):
    """get_jobs knows the same count and timeout."""
    await client.add_jobs(queue, ["1", "2", "3"])
    jobs = await client.get_jobs([queue], count=2, timeout=60_000)
    assert [job.body for job in jobs] == [b"1", b"2"]


async def test_a_lone_name_is_refused(client):
    """A queue's name that is not in a list is an error: its letters are no names."""
    with pytest.raises(TypeError, match="queues must be a list"):
        await client.get_job("mail")
