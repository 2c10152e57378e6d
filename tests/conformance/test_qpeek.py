"""Looking at a queue takes nothing out of it."""

import pytest


@pytest.mark.parametrize(
    ("count", "bodies"),
    [
        (2, [b"0", b"1"]),
        (10, [b"0", b"1", b"2", b"3"]),
        (-2, [b"3", b"2"]),
        (-10, [b"3", b"2", b"1", b"0"]),
        (0, []),
    ],
)
async def test_either_end(client, queue, count, bodies):
    """A positive count shows the oldest jobs in their order, a negative one the newest first."""
    await client.add_jobs(queue, ["0", "1", "2", "3"])
    assert [job.body for job in await client.qpeek(queue, count)] == bodies


async def test_a_job_looks_as_it_will_be_received(client, queue):
    """What is seen is the very tuple a consumer gets afterwards."""
    job_id = await client.add_job(queue, "body")
    assert await client.qpeek(queue, 1) == [(queue.encode(), job_id, b"body")]
    assert await client.get_job([queue]) == [(queue.encode(), job_id, b"body")]


async def test_a_queue_that_is_not_there(client, queue):
    """An unknown queue is empty, and is not made by looking."""
    assert await client.qpeek(queue, 10) == []
    assert await client.qstat(queue) is None
