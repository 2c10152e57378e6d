"""A job can be got, given back and acknowledged on any node, wherever it was added."""

from conformance.steps import PATIENCE, take, until


async def test_got_elsewhere(client, elsewhere, queue):
    """A consumer of one node gets the jobs that were added on another."""
    job_id = await client.add_job(queue, "body")
    assert await take(elsewhere, queue) == (queue.encode(), job_id, b"body")


async def test_waited_for_elsewhere(client, elsewhere, queue, waiting):
    """A consumer that waits on one node gets a job added on another, if some seconds later."""
    task = await waiting(elsewhere, queue, timeout=PATIENCE)
    job_id = await client.add_job(queue, "body")
    assert [job.id for job in await task] == [job_id]


async def test_all_work_is_done(client, elsewhere, queue):
    """Whatever is added on both nodes is delivered and acknowledged on one, each job once."""
    here = await client.add_jobs(queue, [b"%d" % n for n in range(20)])
    there = await elsewhere.add_jobs(queue, [b"%d" % n for n in range(20, 40)])
    done = []

    async def work():
        jobs = await elsewhere.get_job([queue], timeout=1000, count=10)
        done.extend(job.body for job in jobs)
        await elsewhere.ack_job(*[job.id for job in jobs])
        return len(done) >= 40

    await until(work)
    assert sorted(done, key=int) == [b"%d" % n for n in range(40)]
    for job_id in (*here, *there):
        assert await elsewhere.enqueue(job_id) == 0


async def test_seen_by_all(client, elsewhere, queue):
    """A job that has copies is known to every node."""
    job_id = await client.add_job(queue, "body", retry=77)
    job = await until(lambda: elsewhere.show(job_id))
    assert (job.id, job.retry, job.body) == (job_id, 77, b"body")
