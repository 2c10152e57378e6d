"""Jobs come oldest first, and several queues in turn."""

from conformance.steps import take


async def test_first_in_first_out(client, queue):
    """Jobs of one queue are delivered in the order in which they were added."""
    bodies = [b"%d" % n for n in range(20)]
    for body in bodies:
        await client.add_job(queue, body)
    assert [(await take(client, queue)).body for _ in bodies] == bodies


async def test_a_job_put_back_keeps_its_place(client, queue):
    """A job given back is the oldest still, so it comes before those that waited behind it."""
    await client.add_jobs(queue, ["1", "2", "3"])
    first = await take(client, queue)
    await client.nack_job(first.id)
    jobs = await client.get_job([queue], count=3)
    assert [job.body for job in jobs] == [b"1", b"2", b"3"]


async def test_queues_take_turns(client, queue):
    """A consumer of several queues gets one job of each in turn, in the order it named them."""
    first, second = f"{queue}-1", f"{queue}-2"
    await client.add_jobs(first, ["a1", "a2", "a3"])
    await client.add_jobs(second, ["b1", "b2"])
    jobs = await client.get_job([second, first], count=4)
    assert [job.body for job in jobs] == [b"b1", b"a1", b"b2", b"a2"]


async def test_an_empty_queue_is_passed_over(client, queue):
    """When one queue has no more, the others fill the answer."""
    first, second = f"{queue}-1", f"{queue}-2"
    await client.add_jobs(first, ["a1", "a2", "a3"])
    await client.add_jobs(second, ["b1"])
    jobs = await client.get_job([first, second], count=10)
    assert [job.body for job in jobs] == [b"a1", b"b1", b"a2", b"a3"]


async def test_a_queue_named_twice_has_two_turns(client, queue):
    """Naming a queue twice gives it a double share."""
    first, second = f"{queue}-1", f"{queue}-2"
    await client.add_jobs(first, ["a1", "a2", "a3"])
    await client.add_jobs(second, ["b1", "b2"])
    jobs = await client.get_job([first, first, second], count=4)
    assert [job.body for job in jobs] == [b"a1", b"a2", b"b1", b"a3"]
