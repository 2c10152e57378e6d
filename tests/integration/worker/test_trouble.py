"""A worker outlives its nodes: it goes on by itself when one answers again."""

from __future__ import annotations

import signal
import time

import pytest

from pydisque.client import Client
from pydisque.errors import NoAuthError
from pydisque.node import Server
from pydisque.worker import Worker
from support.servers import NodeProcess, until

from . import handlers


@pytest.fixture
def working(notes):
    """Starts a worker on nodes of this test."""
    made = []

    def work(*addresses, **options):
        worker = Worker(list(addresses), executor="threads", concurrency=4, **options)
        worker.handler("q", backoff=0)(handlers.plain)
        worker.start()
        made.append(worker)
        return worker

    yield work
    for worker in made:
        worker.stop()
        worker.stop()
        worker.join(20)


def add(address: str, body: str = "x") -> bytes:
    with Client(address) as client:
        return client.add_job("q", body, retry=300)


def test_a_worker_waits_for_its_node(working, notes):
    """A worker started before its node begins when the node does."""
    with NodeProcess() as node:
        node.kill()
        worker = working(node.address)
        time.sleep(0.5)
        node.start()
        id_ = add(node.address)
        until(lambda: notes.begun(id_))
        assert worker.tally.last_fetch is not None


def test_a_node_that_is_restarted(working, notes, tmp_path):
    """After a restart of its node the worker goes on, and acknowledges what it did meanwhile."""
    with NodeProcess("--data", str(tmp_path / "data")) as node:
        working(node.address)
        first = add(node.address, "sleep 1")
        until(lambda: notes.begun(first))
        node.kill()
        time.sleep(1.2)  # the job ends while there is no node to tell
        node.start()
        later = add(node.address)
        until(lambda: notes.begun(later))
        until(lambda: not node.jobs("q"))
        assert notes.attempts(first) == [1]


def test_the_next_node(working, notes):
    """When its node is gone for good, the worker goes on at the next."""
    with NodeProcess() as first, NodeProcess() as second:
        working(first.address, second.address)
        until(lambda: first.blocked("q") == 1)
        first.kill()
        id_ = add(second.address)
        until(lambda: notes.begun(id_))


def test_a_node_that_falls_silent(working, notes):
    """A connection that is open but dead is noticed, and the worker goes on at the next node."""
    with NodeProcess() as first, NodeProcess() as second:
        working(first.address, second.address, socket_timeout=1)
        until(lambda: first.blocked("q") == 1)
        first.signal(signal.SIGSTOP)
        try:
            id_ = add(second.address)
            until(lambda: notes.begun(id_), 20)
        finally:
            first.signal(signal.SIGCONT)


def test_a_node_that_is_leaving_is_left(working, notes):
    """A node that leaves its cluster is fetched from no more."""
    with NodeProcess() as first, NodeProcess() as second:
        working(first.address, second.address)
        until(lambda: first.blocked("q") == 1)
        first.ask("CLUSTER", "LEAVING", "yes")
        id_ = add(second.address)
        until(lambda: notes.begun(id_), 20)


def test_a_wrong_password_ends_it_at_once(working):
    """A worker that may not log in says so and ends, as no patience helps."""
    with Server(password="right") as server:
        worker = working(server.address, password="wrong")
        with pytest.raises(Exception, match="invalid password"):
            worker.join(10)
        worker = working(server.address)
        with pytest.raises(NoAuthError):
            worker.join(10)
