"""Many commands at once: answered in their order, each with its own reply or error."""

import pytest

from pydisque.errors import BadIDError, MaxLenError


async def test_add_jobs_keeps_the_order(client, queue):
    """add_jobs returns the IDs in the order of the bodies, and so they are queued."""
    bodies = [b"%d" % n for n in range(1000)]
    ids = await client.add_jobs(queue, bodies)
    assert len(set(ids)) == 1000
    jobs = await client.get_job([queue], count=1000)
    assert [(job.id, job.body) for job in jobs] == list(zip(ids, bodies, strict=True))


async def test_add_jobs_takes_the_options_of_add_job(client, queue):
    """Options hold for every job."""
    for job_id in await client.add_jobs(queue, ["1", "2"], retry=77, ttl=1000, replicate=1):
        assert (await client.show(job_id)).retry == 77


async def test_add_jobs_takes_any_iterable(client, queue):
    """Bodies may come from a generator, and may be none at all."""
    assert len(await client.add_jobs(queue, (str(n) for n in range(3)))) == 3
    assert await client.add_jobs(queue, []) == []
    assert await client.qlen(queue) == 3


async def test_add_jobs_gives_errors_in_their_places(client, queue):
    """A job that is refused has its error in the list; the others are there."""
    results = await client.add_jobs(queue, ["1", "2", "3"], maxlen=2)
    assert [type(result) for result in results] == [bytes, bytes, MaxLenError]
    assert await client.qlen(queue) == 2


async def test_a_pipeline_answers_in_order(client, queue):
    """Each command of a pipeline has its parsed reply in its place."""
    pipeline = client.pipeline()
    pipeline.add_job(queue, "body").qlen(queue).get_job([queue], withcounters=True)
    pipeline.qstat(queue, return_dict=True).execute_command("QLEN", queue).ping()
    assert len(pipeline) == 6
    job_id, length, (job,), stat, after, pong = await pipeline.execute()
    assert job == (queue.encode(), job_id, b"body", 0, 0)
    assert (length, after, pong, stat[b"jobs-out"]) == (1, 0, True, 1)


async def test_a_pipeline_is_empty_afterwards(client, queue):
    """What was sent is not sent again."""
    pipeline = client.pipeline()
    pipeline.add_job(queue, "body")
    await pipeline.execute()
    assert len(pipeline) == 0
    assert await pipeline.execute() == []
    assert await client.qlen(queue) == 1


async def test_a_pipeline_raises_its_first_error(client, queue):
    """An error is raised when all has been carried out."""
    pipeline = client.pipeline().ack_job("bad").add_job(queue, "body")
    with pytest.raises(BadIDError):
        await pipeline.execute()
    assert await client.qlen(queue) == 1


async def test_a_pipeline_can_give_its_errors(client, queue):
    """Without raise_on_error each error stands in its command's place."""
    pipeline = client.pipeline().qlen(queue).ack_job("bad").qlen(queue)
    before, error, after = await pipeline.execute(raise_on_error=False)
    assert (before, type(error), after) == (0, BadIDError, 0)


async def test_a_long_pipeline_with_large_bodies(client, queue):
    """A pipeline larger than any buffer on the way is carried out whole."""
    pipeline = client.pipeline()
    for number in range(300):
        pipeline.add_job(queue, b"%d." % number + b"x" * 20_000)
    ids = await pipeline.execute()
    jobs = await client.get_job([queue], count=300)
    assert [job.id for job in jobs] == ids
    assert sum(len(job.body) for job in jobs) > 6_000_000
    await client.ack_job(*ids)
