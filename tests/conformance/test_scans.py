"""Scans find every queue and every job of the node, and only those asked for."""

import pytest

from conformance.steps import scan_all, take


async def test_queues(client, queue):
    """QSCAN answers a cursor, which is 0 at the end, and names."""
    await client.add_job(queue, "body")
    assert queue.encode() in await scan_all(client.qscan)


async def test_queues_piece_by_piece(client, queue):
    """Following the cursor from 0 to 0 meets every queue."""
    made = {f"{queue}-{n}".encode() for n in range(30)}
    for name in made:
        await client.add_job(name, "body")
    found, cursor = set(), 0
    while cursor != b"0":
        cursor, names = await client.qscan(cursor, count=5)
        found.update(names)
    assert made <= found


async def test_queues_by_length(client, queue):
    """minlen and maxlen are bounds that belong to what they bound, 0 among them."""
    names = [f"{queue}-{length}".encode() for length in range(4)]
    for length, name in enumerate(names):
        await client.ack_job(await client.add_job(name, "so that the queue is there"))
        await client.add_jobs(name, ["body"] * length)

    async def scanned(**limits):
        found = await scan_all(client.qscan, **limits)
        return [name in found for name in names]

    assert await scanned(minlen=1, maxlen=2) == [False, True, True, False]
    assert await scanned(minlen=2) == [False, False, True, True]
    assert await scanned(maxlen=0) == [True, False, False, False]
    assert await scanned(minlen=0) == [True, True, True, True]
    assert await scanned(importrate=1) == [False, False, False, False]


async def test_iterating_over_queues(client, queue):
    """iter_queues follows the cursor by itself, and takes the same limits."""
    made = {f"{queue}-{n}".encode() for n in range(30)}
    for name in made:
        await client.add_jobs(name, ["1", "2"])
    assert made <= {name async for name in client.iter_queues(count=5)}
    assert not made & {name async for name in client.iter_queues(count=5, maxlen=1)}


async def test_jobs_of_a_queue(client, queue):
    """JSCAN answers a cursor and IDs; with a queue given only those of its jobs."""
    ids = await client.add_jobs(queue, ["1", "2", "3"])
    await client.add_job(queue + "-other", "4")
    assert sorted(await scan_all(client.jscan, queue=queue)) == sorted(ids)


async def test_jobs_piece_by_piece(client, queue):
    """Following the cursor from 0 to 0 meets every job."""
    ids = await client.add_jobs(queue, [str(n) for n in range(50)])
    found, cursor = set(), 0
    while cursor != b"0":
        cursor, some = await client.jscan(cursor, count=10, queue=queue)
        found.update(some)
    assert found == set(ids)


async def test_jobs_by_state(client, queue):
    """Only jobs in one of the states asked for are found; a lone state needs no list."""
    delivered = await client.add_job(queue, "delivered")
    await take(client, queue)
    queued = await client.add_job(queue, "queued")

    async def scanned(state):
        return set(await scan_all(client.jscan, queue=queue, state=state))

    assert await scanned("queued") == {queued}
    assert await scanned(["active"]) == {delivered}
    assert await scanned(["active", "queued"]) == {delivered, queued}
    assert await scanned(["acked", "wait-repl"]) == set()


async def test_jobs_in_full(client, queue):
    """With reply all each job is described as SHOW does; with id it is its ID."""
    job_id = await client.add_job(queue, "body")
    (job,) = await scan_all(client.jscan, queue=queue, reply="all")
    shown = await client.show(job_id)
    assert (job.id, job.queue, job.state, job.body) == (job_id, queue.encode(), b"queued", b"body")
    assert job[::2] == shown[::2]
    assert await scan_all(client.jscan, queue=queue, reply="id") == [job_id]


async def test_iterating_over_jobs(client, queue):
    """iter_jobs follows the cursor by itself, giving IDs or descriptions."""
    ids = set(await client.add_jobs(queue, [str(n) for n in range(50)]))
    assert {job_id async for job_id in client.iter_jobs(queue=queue, count=10)} == ids
    jobs = client.iter_jobs(queue=queue, state="queued", reply="all", count=10)
    assert {job.id async for job in jobs} == ids


async def test_wrong_words_are_refused(client):
    """A state or a kind of reply that does not exist is refused, and what exists is named."""
    with pytest.raises(ValueError, match="queued"):
        await client.jscan(state=["done"])
    with pytest.raises(ValueError, match="all"):
        await client.jscan(reply="some")
