"""A queue's length and figures follow what happens to its jobs."""

from conformance.steps import take, until

FIELDS = b"name len age idle blocked import-from import-rate jobs-in jobs-out pause"


async def test_qlen_counts_what_is_queued(client, queue):
    """QLEN is the number of jobs that could be fetched now."""
    assert await client.qlen(queue) == 0
    await client.add_jobs(queue, ["1", "2", "3"])
    assert await client.qlen(queue) == 3
    await take(client, queue)
    assert await client.qlen(queue) == 2


async def test_no_queue_no_figures(client, queue):
    """An unknown queue has none, as list and as dict."""
    assert await client.qstat(queue) is None
    assert await client.qstat(queue, return_dict=True) is None


async def test_the_flat_list(client, queue):
    """QSTAT gives names and values in turn, in the order of the protocol."""
    await client.add_job(queue, "body")
    stat = await client.qstat(queue)
    assert isinstance(stat, list)
    assert b" ".join(stat[::2]) == FIELDS
    assert stat[1] == queue.encode()


async def test_the_dict(client, queue):
    """With return_dict the names are keys, as bytes."""
    await client.add_job(queue, "body")
    stat = await client.qstat(queue, return_dict=True)
    assert set(stat) == set(FIELDS.split())
    assert (stat[b"len"], stat[b"pause"]) == (1, b"none")


async def test_jobs_in_and_out(client, queue):
    """jobs-in counts every queueing, jobs-out every delivery."""
    await client.add_jobs(queue, ["1", "2", "3"])
    job = await take(client, queue)
    await client.nack_job(job.id)
    await take(client, queue)
    stat = await client.qstat(queue)
    assert (stat.len, stat.jobs_in, stat.jobs_out) == (2, 4, 2)


async def test_a_new_queue_is_young(client, queue):
    """age and idle are seconds, and begin at 0."""
    await client.add_job(queue, "body")
    stat = await client.qstat(queue)
    assert 0 <= stat.idle <= stat.age <= 2


async def test_alone_nothing_is_imported(client, queue):
    """A queue whose jobs were made here has no foreign sources."""
    await client.add_job(queue, "body")
    stat = await client.qstat(queue)
    assert (stat.import_from, stat.import_rate) == ([], 0)


async def test_who_waits_is_counted(client, queue, waiting):
    """blocked is the number of consumers that wait for this queue."""
    first = await waiting(client, queue, timeout=60_000)
    await waiting(client, queue, timeout=60_000)
    assert (await client.qstat(queue)).blocked == 2
    await client.add_job(queue, "body")
    await first
    await until(lambda: client.qstat(queue), lambda stat: stat.blocked == 1)
