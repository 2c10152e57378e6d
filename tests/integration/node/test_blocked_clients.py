"""Clients that wait for a job: who is served, when, and with what."""

from __future__ import annotations

import socket

import pytest

from support.resp_peer import Connect, Peer, blocked, error, pack, wait_for_blocked


def test_blocked_clients_are_served_in_order_one_job_each(peer: Peer, connect: Connect) -> None:
    """First come, first served: each waiting client gets exactly one job, whatever its COUNT."""
    waiting = [connect() for _ in range(4)]
    for n, each in enumerate(waiting):
        each.send("GETJOB", "COUNT", 10, "FROM", "q")
        wait_for_blocked(peer, "q", n + 1)
    for n in range(3):
        peer.ask("ADDJOB", "q", n, 0)
    assert [each.read()[0][2] for each in waiting[:3]] == [b"0", b"1", b"2"]
    assert blocked(peer, "q") == 1
    waiting[0].send("GETJOB", "WITHCOUNTERS", "FROM", "q")
    wait_for_blocked(peer, "q", 2)
    peer.ask("ADDJOB", "q", "3", 0)
    peer.ask("ADDJOB", "q", "4", 0)
    assert waiting[3].read()[0][2] == b"3"
    assert waiting[0].read()[0][2:] == [b"4", b"nacks", 0, b"additional-deliveries", 0]


def test_one_command_serves_many(peer: Peer, connect: Connect) -> None:
    """A NACK of several jobs serves as many waiting clients."""
    ids = [peer.ask("ADDJOB", "q", n, 0).decode() for n in range(3)]
    peer.ask("GETJOB", "COUNT", 3, "FROM", "q")
    waiting = [connect() for _ in range(2)]
    for n, each in enumerate(waiting):
        each.send("GETJOB", "WITHCOUNTERS", "FROM", "q")
        wait_for_blocked(peer, "q", n + 1)
    assert peer.ask("NACK", *ids) == 3
    assert [each.read()[0][4] for each in waiting] == [1, 1]
    assert peer.ask("QLEN", "q") == 1


def test_waiting_for_many_queues(peer: Peer, connect: Connect) -> None:
    """Whichever queue gets a job first serves the client, which then waits nowhere."""
    consumer = connect()
    consumer.send("GETJOB", "FROM", "a", "b", "a")
    wait_for_blocked(peer, "b", 1)
    assert blocked(peer, "a") == 1
    job = peer.ask("ADDJOB", "b", "x", 0)
    assert consumer.read() == [[b"b", job, b"x"]]
    assert (blocked(peer, "a"), blocked(peer, "b")) == (0, 0)


@pytest.mark.parametrize("how", ["delay", "retry", "unpause"])
def test_time_serves_blocked_clients(peer: Peer, connect: Connect, how: str) -> None:
    """A job that comes into its queue by itself, or is let out of it, goes to who waits."""
    consumer = connect()
    if how == "delay":
        peer.ask("ADDJOB", "q", "x", 0, "DELAY", 1)
    elif how == "retry":
        peer.ask("ADDJOB", "q", "x", 0, "RETRY", 1)
        peer.ask("GETJOB", "FROM", "q")
    else:
        peer.ask("PAUSE", "q", "out")
        peer.ask("ADDJOB", "q", "x", 0)
    consumer.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    if how == "unpause":
        assert peer.ask("PAUSE", "q", "none") == b"none"
    assert consumer.read()[0][2] == b"x"


def test_what_is_pipelined_behind_a_wait_waits(peer: Peer, connect: Connect) -> None:
    """Commands behind a blocking GETJOB run after it, in order, even one that would feed it."""
    consumer = connect()
    consumer.raw(
        pack("PING", "before") + pack("GETJOB", "FROM", "q")
        + pack("ADDJOB", "other", "x", 0) + pack("PING", "after") + b"PI"
    )  # fmt: skip
    assert consumer.read() == b"before"
    wait_for_blocked(peer, "q", 1)
    consumer.raw(b"NG inline\r\n" + pack("QLEN", "other"))
    assert consumer.silent()
    assert peer.ask("QLEN", "other") == 0
    peer.ask("ADDJOB", "q", "x", 0)
    assert consumer.read()[0][0] == b"q"
    assert consumer.read()[:2] == b"D-"
    assert [consumer.read() for _ in range(3)] == [b"after", b"inline", 1]


def test_a_wait_times_out(peer: Peer) -> None:
    """After its timeout GETJOB gives the nil array, and the next command runs."""
    peer.raw(pack("GETJOB", "TIMEOUT", 30, "FROM", "q") + pack("PING"))
    assert peer.exactly(12) == b"*-1\r\n+PONG\r\n"
    assert blocked(peer, "q") == 0


def test_timeouts_beyond_all_bounds(peer: Peer, connect: Connect) -> None:
    """A timeout that overflows ends at once; one that nearly does waits."""
    peer.raw(pack("GETJOB", "TIMEOUT", 2**63 - 1, "FROM", "q"))
    assert peer.exactly(5) == b"*-1\r\n"
    consumer = connect()
    consumer.send("GETJOB", "TIMEOUT", 2**62, "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    peer.ask("ADDJOB", "q", "x", 0)
    assert consumer.read()


def test_delays_beyond_all_bounds(peer: Peer) -> None:
    """A job may be delayed by more than any clock can hold; the node goes on keeping time."""
    reply = peer.ask("ADDJOB", "q", "x", 0, "DELAY", 2**62, "TTL", 2**63 - 1)
    assert peer.ask("SHOW", reply)[5] == b"active"
    peer.ask("ADDJOB", "q", "soon", 0, "DELAY", 1)
    assert peer.ask("GETJOB", "FROM", "q")[0][2] == b"soon"


def test_nohang_never_waits(peer: Peer) -> None:
    """NOHANG wins over TIMEOUT."""
    peer.raw(pack("GETJOB", "TIMEOUT", 0, "NOHANG", "FROM", "q"))
    assert peer.exactly(5) == b"*-1\r\n"


@pytest.mark.parametrize("how", ["hangs up", "is killed", "quits behind"])
def test_a_waiting_client_that_goes_is_forgotten(peer: Peer, connect: Connect, how: str) -> None:
    """Nobody stands in line for a client that is gone, and no job is lost to it."""
    consumer = connect()
    number = consumer.ask("CLIENT", "ID")
    consumer.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    if how == "hangs up":
        consumer.sock.close()
    elif how == "is killed":
        assert peer.ask("CLIENT", "KILL", "ID", number) == 1
        assert consumer.rest() == b""
    else:
        consumer.raw(pack("QUIT"))
        consumer.sock.shutdown(socket.SHUT_WR)
    wait_for_blocked(peer, "q", 0)
    job = peer.ask("ADDJOB", "q", "x", 0)
    assert peer.ask("GETJOB", "FROM", "q") == [[b"q", job, b"x"]]


def test_a_job_added_behind_the_kill_of_who_waits_is_kept(peer: Peer, connect: Connect) -> None:
    """A client that is killed gets no job of the commands that follow in the same pipeline."""
    killed = connect()
    number = killed.ask("CLIENT", "ID")
    killed.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    peer.raw(pack("CLIENT", "KILL", "ID", number) + pack("ADDJOB", "q", "x", 0, "RETRY", 0))
    assert peer.read() == 1
    job = peer.read()
    assert peer.ask("GETJOB", "TIMEOUT", 5000, "FROM", "q") == [[b"q", job, b"x"]]


def test_flush_and_leaving_release_everyone(peer: Peer, connect: Connect) -> None:
    """DEBUG FLUSHALL answers waiting clients with nil, CLUSTER LEAVING with its error."""
    consumer = connect()
    consumer.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    peer.ask("DEBUG", "FLUSHALL")
    assert consumer.read() is None
    consumer.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    assert peer.ask("CLUSTER", "LEAVING", "yes") == b"OK"
    leaving = "LEAVING This node is leaving the cluster, please connect to a different one"
    assert error(consumer.read()) == leaving
    assert error(consumer.ask("GETJOB", "FROM", "q")) == leaving
    assert consumer.ask("GETJOB", "NOHANG", "FROM", "q") is None
    assert error(peer.ask("ADDJOB", "q", "x", 0)).endswith("I'm leaving the cluster")
    assert peer.ask("HELLO")[2][3] == b"100"
    assert b" myself,leaving " in peer.ask("CLUSTER", "NODES")
    assert (peer.ask("CLUSTER", "LEAVING"), peer.ask("CLUSTER", "LEAVING", "no")) == (b"yes", b"OK")
    assert peer.ask("ADDJOB", "q", "x", 0)


def test_a_job_that_falls_due_is_for_who_waited(peer: Peer, connect: Connect) -> None:
    """Who asks again and again does not snatch a delayed job from who was there before."""
    queues = [f"due-{number}" for number in range(10)]
    waiters = [connect() for _ in queues]
    for queue, waiter in zip(queues, waiters, strict=True):
        waiter.send("GETJOB", "FROM", queue)
        wait_for_blocked(peer, queue, 1)
        peer.ask("ADDJOB", queue, "body", 0, "DELAY", 1)
    while any(blocked(peer, queue) for queue in queues):
        assert peer.ask("GETJOB", "NOHANG", "COUNT", 10, "FROM", *queues) is None
    for queue, waiter in zip(queues, waiters, strict=True):
        [[name, _, body]] = waiter.read()
        assert (name, body) == (queue.encode(), b"body")
