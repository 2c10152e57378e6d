"""What is answered only once Valkey's replicas have it."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pydisque.node import Server
from support.resp_peer import Peer, error, wait_for_blocked
from support.servers import until
from support.valkeys import ValkeyProcess


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[ValkeyProcess, ValkeyProcess]]:
    """A primary and the replica that follows it."""
    with ExitStack() as stack:
        folders = [stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(2)]
        at_once = "--repl-diskless-sync-delay", "0"
        primary = stack.enter_context(ValkeyProcess(folders[0], *at_once))
        follows = "--replicaof", f"127.0.0.1 {primary.port}"
        replica = stack.enter_context(ValkeyProcess(folders[1], *follows))
        until(lambda: b"state=online" in primary.ask("INFO", "replication"), 30)
        with Peer(primary.address) as peer:  # the first time it takes a while
            peer.ask("SET", "anything", 1)
            until(lambda: peer.ask("WAIT", 1, 1000) == 1, 30)
        yield primary, replica


@pytest.fixture
def stopped(pair: tuple[ValkeyProcess, ValkeyProcess]) -> Iterator[None]:
    """The replica says nothing until the test is over."""
    pair[1].signal(signal.SIGSTOP)
    yield
    pair[1].signal(signal.SIGCONT)


def no_copies(reply: object) -> bool:
    return str(error(reply)).startswith("NOREPL")


@pytest.fixture
def node(pair, nodes) -> Server:
    """A node that wants two copies of everything."""
    (node,) = nodes(pair[0].url, replicate=2, store_timeout=2)
    return node


@pytest.fixture
def peer(node, connect) -> Peer:
    """A client of that node."""
    return connect(node)


def test_a_job_of_too_few_copies_is_removed(peer, stopped):
    """It is refused, and not there."""
    assert no_copies(peer.ask("ADDJOB", "refused", "x", 0))
    until(lambda: peer.ask("QLEN", "refused") == 0)


def test_async_waits_for_no_copy(node, peer, connect, stopped):
    """ASYNC is answered at once, also while others wait for their copies."""
    other = connect(node)
    other.send("ADDJOB", "others", "x", 0)
    assert peer.ask("ADDJOB", "async", "y", 0, "ASYNC").startswith(b"D-")
    assert peer.ask("QLEN", "others") == 1  # it is not refused yet
    assert no_copies(other.read())


def test_what_nobody_got_is_queued_again(pair, peer, nodes, connect):
    """A job whose handing out is not kept by enough servers is given to nobody, and comes again."""
    job = peer.ask("ADDJOB", "given", "x", 0)
    pair[1].signal(signal.SIGSTOP)
    try:
        assert no_copies(peer.ask("GETJOB", "NOHANG", "FROM", "given"))
        until(lambda: peer.ask("QLEN", "given") == 1)
    finally:
        pair[1].signal(signal.SIGCONT)
    assert until(lambda: _got(peer, "given")) == job


def _got(peer: Peer, queue: str) -> bytes | None:
    jobs = peer.ask("GETJOB", "NOHANG", "FROM", queue)
    return jobs[0][1] if isinstance(jobs, list) else None


def test_one_job_may_want_more_than_all(pair, nodes, connect, stopped):
    """REPLICATE waits as long as it says, for this job alone."""
    one = connect(nodes(f"{pair[0].url}?prefix=alone")[0])
    assert no_copies(one.ask("ADDJOB", "q", "x", 200, "REPLICATE", 2))
    assert one.ask("ADDJOB", "q", "y", 0).startswith(b"D-")
    assert one.ask("ADDJOB", "q", "z", 200, "REPLICATE", 2, "ASYNC").startswith(b"D-")
    assert no_copies(one.ask("ADDJOB", "q", "x", 0, "REPLICATE", 3))


def test_a_lease_that_has_run_is_given_to_nobody(pair, node, peer, connect):
    """A job whose lease ran while copies were waited for is queued again, and then handed out."""
    waiting = connect(node)
    waiting.send("GETJOB", "FROM", "late")
    wait_for_blocked(peer, "late", 1)
    pair[1].signal(signal.SIGSTOP)
    try:
        job = peer.ask("ADDJOB", "late", "x", 0, "ASYNC", "RETRY", 30)
        time.sleep(0.5)  # of the lease, which began when the job was taken
    finally:
        pair[1].signal(signal.SIGCONT)
    assert waiting.read() == [[b"late", job, b"x"]]
    shown = peer.ask("SHOW", job)
    assert shown[shown.index(b"next-requeue-within") + 1] > 29_600
    assert shown[shown.index(b"additional-deliveries") + 1] == 0
