"""A paused queue takes or gives no jobs until the pause ends."""

import pytest

from conformance.steps import take
from pydisque.errors import PausedError


@pytest.fixture(autouse=True)
async def resumed(client, queue):
    """Leaves no paused queue behind: it would be kept for ever."""
    yield
    await client.pause(queue, kw_none=True)


async def test_in(client, queue):
    """A queue paused in input refuses jobs, and hands out those it has."""
    await client.add_job(queue, "before")
    assert await client.pause(queue, kw_in=True) == b"in"
    with pytest.raises(PausedError):
        await client.add_job(queue, "refused")
    assert (await take(client, queue)).body == b"before"


async def test_out(client, queue):
    """A queue paused in output takes jobs and hands none out; looking at them is allowed."""
    assert await client.pause(queue, kw_out=True) == b"out"
    job_id = await client.add_job(queue, "kept")
    assert await client.get_job([queue], nohang=True) == []
    assert [job.id for job in await client.qpeek(queue, 1)] == [job_id]
    assert await client.qlen(queue) == 1


async def test_all_and_none(client, queue):
    """all pauses both ways, none ends it."""
    assert await client.pause(queue, kw_all=True) == b"all"
    with pytest.raises(PausedError):
        await client.add_job(queue, "body")
    assert await client.pause(queue, kw_none=True) == b"none"
    await client.add_job(queue, "body")
    assert len(await client.get_job([queue])) == 1


async def test_in_and_out_are_all(client, queue):
    """Two words in one command add up."""
    assert await client.pause(queue, kw_in=True, kw_out=True) == b"all"


async def test_a_second_pause_replaces_the_first(client, queue):
    """What one command says is the state afterwards, whatever it was before."""
    await client.pause(queue, kw_out=True)
    assert await client.pause(queue, kw_in=True) == b"in"


async def test_state_changes_nothing(client, queue):
    """state asks only, be there a pause or not even a queue."""
    assert await client.pause(queue, kw_state=True) == b"none"
    assert await client.qstat(queue) is None
    await client.pause(queue, kw_out=True)
    assert await client.pause(queue, kw_state=True) == b"out"
    assert (await client.qstat(queue)).pause == b"out"


async def test_who_waits_is_served_when_it_ends(client, queue, waiting):
    """A consumer that waits on a paused queue gets its job as soon as the pause ends."""
    await client.pause(queue, kw_out=True)
    task = await waiting(client, queue, timeout=60_000)
    job_id = await client.add_job(queue, "body")
    assert not task.done()
    await client.pause(queue, kw_none=True)
    assert [job.id for job in await task] == [job_id]


async def test_a_job_can_be_given_back(client, queue):
    """The pause of the input is for new jobs: those given back return to their queue."""
    job_id = await client.add_job(queue, "body")
    await take(client, queue)
    await client.pause(queue, kw_in=True)
    assert await client.nack_job(job_id) == 1
    assert await client.qlen(queue) == 1


async def test_saying_nothing_is_refused(client, queue):
    """A pause that names no word is the caller's mistake, told before anything is sent."""
    with pytest.raises(ValueError, match="kw_in"):
        await client.pause(queue)
