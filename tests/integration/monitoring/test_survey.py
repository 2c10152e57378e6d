"""What a survey finds on real nodes: one of ours, several on a Valkey, Disques in a cluster."""

from __future__ import annotations

import asyncio

import pytest

from pydisque import Client
from pydisque.errors import DisqueError, UnreachableError
from pydisque.monitoring.jobs import JobList, find_job
from pydisque.monitoring.monitor import Survey
from support.servers import Server, free_port, unique

from .conftest import kinds


@kinds
async def test_queues_and_nodes(server, client, survey):
    """All nodes of the system are found, and a queue wherever it is; each job counts once."""
    queue = unique("q").encode()
    client.add_jobs(queue, ["x"] * 5)
    client.add_job(queue, "x", delay=1000)
    client.get_job([queue], count=2)
    client.pause(queue, kw_in=True)
    survey.watched.add(queue)
    await survey.look()
    while survey.queues[queue].active is None:
        await survey.look()
    found = survey.queues[queue]
    assert (found.len, found.jobs_in, found.jobs_out) == (3, 5, 2)
    assert (found.active, found.delayed, found.pause) == (2, 1, b"in")
    assert len(survey.nodes) == len(server.addresses)
    assert not any(node.error for node in survey.nodes)
    assert all(node.info["uptime_in_seconds"] >= 0 for node in survey.nodes)
    await survey.ask_oldest([queue])
    assert 0 <= found.oldest < 60
    client.add_jobs(queue + b"-new", ["x"] * 2)
    client.get_job([queue], count=3)
    await survey.look()
    assert (found.len, found.out_rate > 0) == (0, True)


@kinds
async def test_queues_come_in_turn(client, survey):
    """Each look asks for a few; all are there in the end, and those that are gone are not."""
    prefix = unique("turn").encode()
    names = [b"%b-%d" % (prefix, i) for i in range(50)]
    for name in names:
        client.add_job(name, "x")
    await survey.look()
    survey._budget = 20
    for name in names[:10]:
        client.pause(name, kw_all=True)
    paused = set()
    for _ in range(200):
        await survey.look()
        paused = {name for name, queue in survey.queues.items() if queue.pause == b"all"}
        if paused.issuperset(names[:10]):
            break
    assert set(survey.queues).issuperset(names)
    assert paused.issuperset(names[:10])
    for name in names[:10]:
        client.pause(name, kw_none=True)


@kinds
async def test_jobs_of_a_queue(client, survey):
    """Jobs are listed by what they wait for, each once wherever its copies are, and found again."""
    queue = unique("jobs").encode()
    ids = client.add_jobs(queue, [f"body {i}" for i in range(4)])
    delayed = client.add_job(queue, "x", delay=1000)
    taken = {job.id for job in client.get_jobs([queue], count=2)}
    queued = [id_ for id_ in ids if id_ not in taken]
    await survey.look()
    for state, wanted in (("queued", queued), ("active", taken), ("delayed", [delayed])):
        jobs = JobList(survey, queue, state)
        while not jobs.complete:
            await jobs.look()
        assert sorted(job.id for job in jobs.jobs) == sorted(wanted), state
        few = JobList(survey, queue, state, 1)
        while not few.complete:
            await few.look()
        assert len(few.jobs) == 1
    assert (await find_job(survey, delayed)).delay == 1000
    assert (await find_job(survey, queued[0])).state == b"queued"
    client.ack_job(delayed)


@kinds
async def test_jobs_of_a_queue_that_changes(client, survey):
    """They are asked for again whether a job came, was taken, came back, or one came for another,
    so that the queue is as long as it was."""
    queue = unique("jobs").encode()
    jobs = JobList(survey, queue, "queued")

    async def listed(*wanted: tuple[bytes, int]) -> None:
        """Wait until these are, each with its nacks."""
        survey.watched.add(queue)
        for _ in range(200):
            await survey.look()
            await survey.ask_oldest([queue])
            await jobs.look(3)
            if sorted((job.body, job.nacks) for job in jobs.jobs) == sorted(wanted):
                return
            await asyncio.sleep(0.02)
        pytest.fail(f"{jobs.jobs} instead of {wanted}")

    client.add_jobs(queue, ["0", "1"])
    await listed((b"0", 0), (b"1", 0))
    client.add_job(queue, "2")
    await listed((b"0", 0), (b"1", 0), (b"2", 0))
    [taken] = client.get_jobs([queue])
    client.add_job(queue, "3")
    there = [(body, 0) for body in (b"0", b"1", b"2", b"3") if body != taken.body]
    await listed(*there)
    taken.nack()
    await listed((taken.body, 1), *there)
    for job in client.get_jobs([queue], count=4):
        job.ack()
    await listed()
    assert queue not in survey.queues or survey.queues[queue].oldest is None


async def test_what_is_gone_is_forgotten():
    """A queue that the node dropped is not shown any more."""
    with Server() as node, Client(node.address) as client:
        client.add_job("q", "x")
        survey = Survey([node.address])
        await survey.look()
        assert b"q" in survey.queues
        client.execute_command("DEBUG", "FLUSHALL")
        await survey.look()
        assert not survey.queues
        await survey.aclose()


async def test_a_list_that_cannot_be_had():
    """A node that refuses to list its queues for once makes none of them disappear."""
    with Server() as node, Client(node.address) as client:
        client.add_job("q", "x")
        survey = Survey([node.address])
        await survey.look()
        [probe] = survey.probes

        async def refused(*_: object) -> None:
            raise DisqueError("LOADING for once")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(probe.client, "qscan", refused)
            patch.setattr(
                "pydisque.monitoring.monitor.BUSIEST", 0
            )  # so that it is not asked for anyhow
            await survey.look()
        assert b"q" in survey.queues
        client.execute_command("DEBUG", "FLUSHALL")
        await survey.look()
        assert not survey.queues
        await survey.aclose()


async def test_a_node_that_is_gone():
    """It is told why it cannot be asked; it is there again when it is back."""
    with Server() as node:
        survey = Survey([node.address])
        await survey.look()
        port = node.port
    with pytest.raises(UnreachableError, match=r"refused|hung up"):
        await survey.look()
    assert survey.nodes[0].error
    with Server(port=port):
        await survey.look()
        assert not survey.nodes[0].error
    await survey.aclose()


async def test_a_unix_socket(tmp_path):
    """A node is asked on its Unix socket as on its port."""
    path = str(tmp_path / "node")
    with Server(unixsocket=path) as node, Client(node.address) as client:
        client.add_job("q", "x")
        survey = Survey([f"unix:{path}"])
        await survey.look()
        await survey.ask_oldest([b"q"])
        assert survey.queues[b"q"].oldest is not None
        assert [(each.address, each.error) for each in survey.nodes] == [(f"unix:{path}", "")]
        await survey.aclose()


async def test_no_node():
    """Nothing there is told at once."""
    survey = Survey([f"127.0.0.1:{free_port()}"])
    with pytest.raises(UnreachableError, match="refused"):
        await survey.look()
    await survey.aclose()
