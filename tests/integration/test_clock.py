"""A node on a clock that stands still: what it does when time is moved, and only then."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pydisque.client import Client
from pydisque.node import Server
from pydisque.testing import Clock
from support.resp_peer import Peer, wait_for_blocked
from support.servers import until


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "durable"])
def server(clock: Clock, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with clock.server(data=None if request.param == "memory" else tmp_path) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as client:
        yield client


def take(client: Client, name: str = "q") -> list[tuple[bytes, int | None, int | None]]:
    """What is handed out now: ID, nacks, additional deliveries."""
    jobs = client.get_job([name], count=99, nohang=True, withcounters=True)
    return [(job.id, job.nacks, job.additional_deliveries) for job in jobs]


def test_a_delay(clock, client):
    """A delayed job comes when its delay is over, to the millisecond."""
    job = client.add_job("q", "body", delay=60)
    clock.advance(59.999)
    assert take(client) == []
    clock.advance(0.001)
    assert take(client) == [(job, 0, 0)]


def test_retries(clock, client):
    """A job that is not acknowledged comes again after RETRY, exactly, each time."""
    job = client.add_job("q", "body", retry=300)
    for times in range(3):
        assert take(client) == [(job, 0, times)]
        clock.advance(299.999)
        assert take(client) == []
        clock.advance(0.001)


def test_working_and_nack(clock, client):
    """So is what WORKING and NACK with a delay put off."""
    job = client.add_job("q", "body", retry=300)
    take(client)
    clock.advance(200)
    client.working(job)
    clock.advance(200)
    assert take(client) == []
    client.nack_job(job, delay=3600)
    clock.advance(3599)
    assert take(client) == []
    clock.advance(1)
    assert take(client) == [(job, 1, 0)]


def test_the_end_of_a_life(clock, client):
    """A job expires at its TTL, after which nothing brings it back."""
    queued = client.add_job("q", "body", ttl=3600)
    delayed = client.add_job("p", "body", ttl=3600)
    assert take(client, "p")
    client.nack_job(delayed, delay=3601)
    clock.advance(3599)
    assert (client.qlen("q"), client.show(queued).ttl <= 1) == (1, True)
    clock.advance(2)
    assert (client.show(queued), client.show(delayed), client.qlen("q")) == (None, None, 0)


def test_one_leap_does_all(clock, client):
    """However many jobs are due, all are queued when `advance` returns."""
    with client.pipeline() as pipeline:
        for n in range(5000):
            pipeline.add_job("q", n, delay=60)
        pipeline.execute()
    clock.advance(60)
    assert client.qlen("q") == 5000


def test_time_stands(clock, client):
    """Nothing comes by itself, however long one waits."""
    job = client.add_job("q", "body", delay=1)
    left = client.show(job).next_requeue_within
    assert client.get_job(["q"], timeout=1300) == []
    assert client.show(job).next_requeue_within == left == 1000


def test_who_waits_is_served(clock, server, client):
    """A client that waits gets the job when time is moved, and not a second later."""
    client.add_job("q", "body", delay=3600)
    with Peer(server.address) as peer, Peer(server.address) as other:
        peer.send("GETJOB", "FROM", "q")
        wait_for_blocked(other, "q", 1)
        started = time.monotonic()
        clock.advance(3600)
        assert peer.read()[0][2] == b"body"
        assert time.monotonic() - started < 0.5


def test_waiting_takes_real_time(server):
    """The timeout of a GETJOB and CLIENT PAUSE are over when they are."""
    with Peer(server.address) as peer:
        started = time.monotonic()
        assert peer.ask("GETJOB", "TIMEOUT", 200, "FROM", "q") is None
        assert peer.ask("CLIENT", "PAUSE", 200) == b"OK"
        assert peer.ask("PING") == b"PONG"
        assert 0.35 < time.monotonic() - started < 2


def test_a_clock_that_is_moved_behind_the_nodes_back():
    """A command sees the time as it is; those who wait are served within a second or so."""
    now = [1_000_000_000.0]
    with Server(clock=lambda: now[0]) as server, Client(server.address) as client:
        client.add_job("q", "first", delay=60)
        client.add_job("p", "second", delay=90)
        now[0] += 60
        assert [job.body for job in client.get_job(["q"], nohang=True)] == [b"first"]
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(client.get_job, ["p"])
            until(lambda: server.node.waiting.count(b"p"))
            now[0] += 30
            assert [job.body for job in waiting.result(5)] == [b"second"]


def test_time_does_not_go_back(clock, client):
    """Neither by `advance`, which refuses, nor by a clock that does: the node's time stands."""
    with pytest.raises(ValueError, match=r"seconds must be 0 or more, not -1"):
        clock.advance(-1)
    now = [1_000_000_000.0]
    with Server(clock=lambda: now[0]) as server, Client(server.address) as other:
        job = other.add_job("q", "body", delay=60)
        now[0] -= 30
        server.catch_up()
        assert other.show(job).next_requeue_within == 60_000
        now[0] += 90
        assert take(other) == [(job, 0, 0)]


def test_a_restart(clock, tmp_path):
    """What fell due while a durable node was down, ended in order or not, is due at its start."""
    with clock.server(data=tmp_path / "a") as server, Client(server.address) as client:
        nacked, leased = (client.add_job("q", n, retry=300) for n in range(2))
        take(client)
        client.nack_job(nacked, delay=3600)
        shutil.copytree(tmp_path / "a", tmp_path / "crashed")
    for folder, down in (("a", 0), ("crashed", 3600)):
        clock.advance(down)
        with clock.server(data=tmp_path / folder) as server, Client(server.address) as client:
            assert client.qlen("q") == 2 * bool(down)
            clock.advance(300)
            assert (leased, 0, 1) in take(client)
    clock.advance(3600)
    with clock.server(data=tmp_path / "a") as server, Client(server.address) as client:
        assert take(client) == [(nacked, 1, 0), (leased, 0, 2)]


def test_a_journal_from_the_future(clock, tmp_path):
    """Where a journal is ahead of the clock, time goes on from there, as fast as the clock."""
    ahead = Clock()
    ahead.advance(86400)
    with ahead.server(data=tmp_path) as server, Client(server.address) as client:
        job = client.add_job("q", "body", delay=60)
    with clock.server(data=tmp_path) as server, Client(server.address) as client:
        clock.advance(59)
        assert take(client) == []
        clock.advance(1)
        assert take(client) == [(job, 0, 0)]


def test_nodes_of_one_clock(clock):
    """All of them catch up; one that has not started, or has stopped, is left alone."""
    clock.server()
    with clock.server():
        pass
    with clock.server() as a, clock.server() as b:
        clients = Client(a.address), Client(b.address)
        for client in clients:
            client.add_job("q", "body", delay=60)
        clock.advance(60)
        for client in clients:
            assert client.qlen("q") == 1
            client.close()


async def test_in_a_running_loop(clock):
    """In the node's own loop moving time is a plain call, and from another thread it waits."""
    async with clock.server() as server:
        job = server.node.store.add(b"q", b"body", 3600, 300, 60, None)
        clock.advance(60)
        assert server.node.store.length(b"q") == 1
        server.node.store.get([b"q"])
        await asyncio.get_running_loop().run_in_executor(None, clock.advance, 300)
        assert server.node.store.peek(b"q", 1)[0].id == job
    clock.advance(60)
    await asyncio.get_running_loop().run_in_executor(None, clock.advance, 60)


def test_catching_up_while_the_node_ends(clock):
    """It never hangs, whichever of the two comes first."""
    for _ in range(20):
        with clock.server() as server:
            threads = [threading.Thread(target=server.catch_up) for _ in range(3)]
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


def test_catching_up_in_real_time():
    """Without a clock it does what is due just now."""
    with Server() as server, Client(server.address) as client:
        client.add_job("q", "body")
        server.catch_up()
        assert client.qlen("q") == 1


def test_what_cannot_be_kept_is_not_done(clock, tmp_path, monkeypatch):
    """While its disk fails a durable node moves nothing; the time is made up for later."""
    with clock.server(data=tmp_path) as server, Client(server.address) as client:
        client.add_job("q", "body", delay=60)
        with monkeypatch.context() as broken:
            journal = server.node.store.journal
            broken.setattr(journal, "commit", lambda _work, done: done("no space", b""))
            with pytest.raises(Exception, match="no space"):
                client.add_job("q", "another")
            clock.advance(60)
            assert client.qlen("q") == 0
        until(lambda: server.node.store.failure == "")
        server.catch_up()
        assert client.qlen("q") == 1


def test_what_goes_wrong_is_told(clock):
    """An error on the way, as of a clock that fails, is raised where it was asked for."""
    broken = False

    def fails() -> float:
        if broken:
            raise ZeroDivisionError
        return clock()

    with Server(clock=fails) as server:
        broken = True
        with pytest.raises(ZeroDivisionError):
            server.catch_up()
        broken = False
