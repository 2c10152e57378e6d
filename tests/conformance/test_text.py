"""With decode_responses everything that is text comes as str."""

import pytest

from conformance.steps import scan_all, take


@pytest.fixture
def client(make_client):
    """A client that decodes."""
    return make_client(decode_responses=True)


async def test_jobs(client, queue):
    """Queue, ID and body are str, counters stay numbers."""
    job_id = await client.add_job(queue, "grün")
    assert isinstance(job_id, str)
    assert await client.qpeek(queue, 1) == [(queue, job_id, "grün")]
    assert await take(client, queue, withcounters=True) == (queue, job_id, "grün", 0, 0)
    assert await client.ack_job(job_id) == 1


async def test_descriptions(client, queue):
    """The names and texts of SHOW and QSTAT are str, and their properties work as ever."""
    job_id = await client.add_job(queue, "body")
    job = await client.show(job_id)
    assert (job[0], job.id, job.state, job.body) == ("id", job_id, "queued", "body")
    assert (await client.show(job_id, return_dict=True))["retry"] == 300
    assert (await client.qstat(queue)).name == queue
    assert (await client.qstat(queue, return_dict=True))["pause"] == "none"


async def test_scans(client, queue):
    """Cursors, names and IDs are str, and scanning to the end works with them."""
    ids = await client.add_jobs(queue, ["body"] * 70)
    # Other tests leave names that are no text; none of those queues is so long.
    assert queue in await scan_all(client.qscan, minlen=70)
    assert {job async for job in client.iter_jobs(queue=queue, count=1)} == set(ids)


@pytest.mark.one_node
async def test_the_rest(client, queue):
    """So it is for HELLO, PAUSE, INFO, PING and raw commands."""
    own = (await client.hello())[1]
    assert isinstance(own, str)
    assert client.connected_node.node_id == own
    assert await client.pause(queue, kw_state=True) == "none"
    assert isinstance((await client.info())["disque_version"], str)
    assert await client.ping() is True
    assert await client.execute_command("CLUSTER", "MYID") == own
