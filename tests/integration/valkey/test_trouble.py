"""What clients get while Valkey is away, stopped, full or has forgotten what it was told."""

from __future__ import annotations

import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.resp_peer import Peer, blocked, clients, error, info, pack, wait_for_blocked
from support.servers import free_port, until
from support.valkeys import ValkeyProcess, valkey

PATIENCE = 2


@pytest.fixture
def own() -> Iterator[ValkeyProcess]:
    """A Valkey that may be hurt, and keeps what it has."""
    with valkey("--appendonly", "yes", "--appendfsync", "always") as process:
        yield process


@pytest.mark.parametrize("shards", [1, 64])
def test_valkey_is_killed_and_comes_back(own, nodes, connect, shards):
    """Who waits goes on waiting and is served afterwards; nothing that was answered is lost."""
    [node] = nodes(f"{own.url}?shards={shards}", **{"store-timeout": 30})
    peer, waiting, asking = connect(node), connect(node), connect(node)
    job = peer.ask("ADDJOB", "kept", "x", 0)
    waiting.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    own.kill()
    until(lambda: info(peer)["valkey_shards_missing"] == str(shards))
    asking.send("GETJOB", "FROM", "q", "other")
    peer.send("QLEN", "kept")
    own.start()
    assert peer.read() == 1
    wait_for_blocked(peer, "q", 2)
    assert peer.ask("GETJOB", "FROM", "kept") == [[b"kept", job, b"x"]]
    added = {peer.ask("ADDJOB", "q", number, 0) for number in range(2)}
    assert {each.read()[0][1] for each in (waiting, asking)} == added
    wait_for_blocked(peer, "q", 0)


@pytest.mark.parametrize("shards", [1, 64])
def test_a_stopped_valkey_stops_no_node(own, nodes, connect, shards):
    """What needs no Valkey is answered, the rest refused in time; then all goes on."""
    [node] = nodes(f"{own.url}?shards={shards}", **{"store-timeout": PATIENCE})
    peer, waiting, asking, other = (connect(node) for _ in range(4))
    waiting.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    own.signal(signal.SIGSTOP)
    try:
        peer.send("ADDJOB", "q", "x", 0)
        asking.send("GETJOB", "FROM", "q", "other", "third")
        started = time.monotonic()
        assert other.ask("PING") == b"PONG"
        assert "valkey_mode" in info(other)  # and not how many jobs there are
        assert time.monotonic() - started < PATIENCE
        assert error(peer.read()).startswith("ERR Valkey went away meanwhile")
        assert error(peer.ask("QLEN", "q")).startswith("MISCONF Valkey cannot be reached")
        assert other.ask("PING") == b"PONG"
    finally:
        own.signal(signal.SIGCONT)
    until(lambda: info(other)["valkey_shards_missing"] == "0")
    peer.ask("ADDJOB", "q", "y", 0)
    peer.ask("ADDJOB", "q", "z", 0)
    assert waiting.read()[0][2] in (b"x", b"y", b"z")
    assert asking.read()[0][2] in (b"x", b"y", b"z")


def counted(peer, queue):
    """Jobs in and jobs out, as QSTAT has them."""
    told = peer.ask("QSTAT", queue)
    fields = dict(zip(told[::2], told[1::2], strict=True))
    return fields[b"jobs-in"], fields[b"jobs-out"]


@pytest.mark.parametrize("queues", [("q",), ("q", "other")])
def test_a_timeout_starts_once_there_is_no_job(own, nodes, connect, queues):
    """A Valkey that takes longer than a GETJOB's TIMEOUT still returns the job that is queued; from
    an empty queue nothing comes once the timeout is over."""
    [node] = nodes(f"{own.url}?shards=64")
    peer, consumer = connect(node), connect(node)
    job = peer.ask("ADDJOB", "q", "x", 0)
    own.signal(signal.SIGSTOP)
    try:
        consumer.send("GETJOB", "TIMEOUT", 1, "FROM", *queues)
        until(lambda: any("b" in client["flags"] for client in clients(peer)))
        time.sleep(0.05)  # longer than its timeout
    finally:
        own.signal(signal.SIGCONT)
    assert consumer.read() == [[b"q", job, b"x"]]
    assert consumer.ask("GETJOB", "TIMEOUT", 1, "FROM", *queues) is None
    assert counted(peer, "q") == (1, 1)


def test_a_timeout_ends_also_when_valkey_says_nothing(own, nodes, connect):
    """A GETJOB with a timeout ends a while after it, though Valkey is stopped."""
    [node] = nodes(own.url, **{"store-timeout": 1})
    consumer = connect(node)
    own.signal(signal.SIGSTOP)
    try:
        consumer.send("GETJOB", "TIMEOUT", 500, "FROM", "q")
        assert consumer.read() is None
    finally:
        own.signal(signal.SIGCONT)


def test_the_limit_of_the_nodes_memory_is_without_effect(own, nodes, connect):
    """Jobs take Valkey's memory, so `maxmemory` of a node refuses none."""
    [node] = nodes(own.url)
    peer = connect(node)
    assert peer.ask("CONFIG", "SET", "maxmemory", "1mb") == b"OK"
    job = peer.ask("ADDJOB", "q", "x", 0)
    assert peer.ask("GETJOB", "FROM", "q") == [[b"q", job, b"x"]]


@pytest.mark.parametrize("queues", [("q",), ("q", "other")])
def test_what_nobody_is_there_for_goes_back(own, nodes, connect, queues):
    """A client that goes while Valkey is asked for its job was never given it."""
    [node] = nodes(f"{own.url}?shards=64")
    peer, consumer = connect(node), connect(node)
    job = peer.ask("ADDJOB", "q", "x", 0)
    own.signal(signal.SIGSTOP)
    try:
        consumer.send("GETJOB", "FROM", *queues)
        until(lambda: any("b" in client["flags"] for client in clients(peer)))
        consumer.sock.close()
        until(lambda: len(clients(peer)) == 1)
    finally:
        own.signal(signal.SIGCONT)
    until(lambda: peer.ask("QLEN", "q") == 1)
    assert peer.ask("GETJOB", "WITHCOUNTERS", "FROM", "q") == [
        [b"q", job, b"x", b"nacks", 0, b"additional-deliveries", 0]
    ]
    assert counted(peer, "q") == (1, 1)


@pytest.mark.parametrize("shards", [1, 64])
def test_who_goes_when_woken_stands_in_nobodys_way(own, nodes, connect, shards):
    """The job that was being taken for a client that went goes back, and who is next is woken."""
    [node] = nodes(f"{own.url}?shards={shards}")
    peer, consumer = connect(node), connect(node)
    consumer.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    own.signal(signal.SIGSTOP)
    try:
        peer.send("ADDJOB", "q", "x", 0)
        consumer.sock.close()
        other = connect(node)
        until(lambda: len(clients(other)) == 2)
    finally:
        own.signal(signal.SIGCONT)
    job = peer.read()
    until(lambda: peer.ask("QLEN", "q") == 1)
    assert peer.ask("GETJOB", "FROM", "q") == [[b"q", job, b"x"]]
    other.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    job = peer.ask("ADDJOB", "q", "y", 0)
    assert other.read() == [[b"q", job, b"y"]]
    assert blocked(peer, "q") == 0


def test_valkey_cannot_write_to_its_disk(nodes, connect, stack):
    """Nothing is changed and clients are told why; who waits is served as soon as it can."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    own = stack.enter_context(ValkeyProcess(folder, "--dbfilename", "in-the-way"))
    one, other = nodes(own.url, 2)
    peer, waiting = connect(one), connect(other)
    waiting.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    blocking = Path(folder, "in-the-way")

    def save(ends: str) -> None:
        own.ask("BGSAVE")
        told = f"rdb_last_bgsave_status:{ends}".encode()
        until(lambda: told in own.ask("INFO", "persistence"))

    own.ask("CONFIG", "SET", "save", "3600 1")
    blocking.mkdir()
    save("err")
    told = error(peer.ask("ADDJOB", "q", "x", 0))
    assert told.startswith("MISCONF Valkey refuses: MISCONF")
    asking = connect(one)
    asking.send("GETJOB", "FROM", "q")
    assert peer.ask("PING") == b"PONG"
    blocking.rmdir()
    save("ok")
    wait_for_blocked(peer, "q", 2)
    added = {peer.ask("ADDJOB", "q", number, 0) for number in range(2)}
    assert {each.read()[0][1] for each in (waiting, asking)} == added


def test_valkey_is_busy(own, nodes, connect):
    """While it runs somebody's script, clients wait; when that ends all is done."""
    [node] = nodes(own.url, **{"store-timeout": 30})
    peer = connect(node)
    own.ask("CONFIG", "SET", "busy-reply-threshold", 10)
    with Peer(own.address) as somebody:
        somebody.send("EVAL", "while true do end", 0)
        until(lambda: not own.answers())
        peer.send("ADDJOB", "q", "x", 0)
        assert connect(node).ask("PING") == b"PONG"
        own.ask("SCRIPT", "KILL")
    job = peer.read()
    assert peer.ask("GETJOB", "FROM", "q") == [[b"q", job, b"x"]]


def test_valkey_is_a_replica_for_a_while(own, nodes, connect):
    """A primary that was made a replica takes nothing; when it is one again all is done."""
    [node] = nodes(own.url, **{"store-timeout": 30})
    peer, waiting = connect(node), connect(node)
    waiting.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    own.ask("REPLICAOF", "127.0.0.1", free_port())
    peer.send("ADDJOB", "q", "x", 0)
    until(lambda: info(connect(node))["valkey_shards_missing"] == "1")
    own.ask("REPLICAOF", "NO", "ONE")
    job = peer.read()
    assert waiting.read() == [[b"q", job, b"x"]]


def test_valkey_is_full(own, nodes, connect):
    """Jobs are not added any more, but those that are there are still handed out and done."""
    [node] = nodes(own.url)
    peer = connect(node)
    jobs = [peer.ask("ADDJOB", "q", b"x" * 10_000, 0) for _ in range(50)]
    own.ask("CONFIG", "SET", "maxmemory", "1mb")
    assert error(peer.ask("ADDJOB", "q", "x", 0)).startswith("OOM ")
    peer.raw(
        pack("QLEN", "q") + pack("ADDJOB", "q", "x", 0) + pack("GETJOB", "COUNT", 50, "FROM", "q")
    )
    assert peer.read() == 50
    assert error(peer.read()).startswith("OOM ")
    assert [job[1] for job in peer.read()] == jobs
    assert peer.ask("ACKJOB", *jobs) == 50
    own.ask("CONFIG", "SET", "maxmemory", 0)
    assert peer.ask("ADDJOB", "q", "x", 0)


def test_unused_queues_go_when_valkey_is_full(own, nodes, connect):
    """After an ADDJOB that Valkey refuses for want of memory empty unused queues are dropped."""
    [node] = nodes(own.url)
    peer, waiting = connect(node), connect(node)
    for n in range(2000):
        peer.send("ADDJOB", f"reply-{n}", "x", 0)
    jobs = [peer.read() for _ in range(2000)]
    peer.ask("PAUSE", "paused", "in")
    waiting.send("GETJOB", "FROM", "awaited")
    wait_for_blocked(peer, "awaited", 1)
    peer.ask("ADDJOB", "full", "x", 0)
    assert peer.ask("ACKJOB", *jobs) == 2000
    own.ask("CONFIG", "SET", "maxmemory", "1mb")
    assert error(peer.ask("ADDJOB", "q", "x", 0)).startswith("OOM ")
    until(lambda: info(connect(node))["registered_queues"] == "3")
    assert sorted(peer.ask("QSCAN")[1]) == [b"awaited", b"full", b"paused"]


def test_the_functions_are_gone(own, nodes, connect):
    """They are loaded anew, and nobody notices."""
    [node] = nodes(own.url)
    peer, waiting = connect(node), connect(node)
    waiting.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    own.ask("FUNCTION", "FLUSH")
    job = peer.ask("ADDJOB", "q", "x", 0)
    assert waiting.read() == [[b"q", job, b"x"]]
    own.ask("FUNCTION", "FLUSH")
    assert peer.ask("ACKJOB", job) == 1


def test_a_valkey_that_lost_everything(nodes, connect, stack):
    """One that keeps nothing comes back empty; nodes go on with it, and say nothing wrong."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    own = stack.enter_context(ValkeyProcess(folder))
    [node] = nodes(own.url)
    peer, waiting = connect(node), connect(node)
    peer.ask("ADDJOB", "gone", "x", 0)
    waiting.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    own.kill()
    own.start()
    until(lambda: not isinstance(peer.ask("QLEN", "gone"), Exception))
    assert peer.ask("QLEN", "gone") == 0
    job = peer.ask("ADDJOB", "q", "y", 0)
    assert waiting.read() == [[b"q", job, b"y"]]


def test_a_flush_forgets_what_the_same_pipeline_added(place, nodes, connect):
    """DEBUG FLUSHALL leaves nothing of a queue that a command just before it has made."""
    [node] = nodes(place)
    peer = connect(node)
    peer.raw(b"".join(pack("ADDJOB", "q", n, 0) for n in range(3)) + pack("DEBUG", "FLUSHALL"))
    peer.raw(pack("QLEN", "q") + pack("QPEEK", "q", 3))
    assert {len(peer.read()) for _ in range(3)} == {40}
    assert [peer.read() for _ in range(3)] == [b"OK", 0, []]
    job = peer.ask("ADDJOB", "q", "x", 0)
    assert peer.ask("GETJOB", "COUNT", 2, "FROM", "q") == [[b"q", job, b"x"]]


def test_replies_behind_a_command_of_several_steps_arrive(place, nodes, connect):
    """A client that closes its half gets all replies, and every job that was handed out to it."""
    [node] = nodes(f"{place}&shards=64")
    peer = connect(node)
    jobs = {peer.ask("ADDJOB", f"q{n}", n, 0, "RETRY", 0) for n in range(8)}
    every = pack("GETJOB", "NOHANG", "COUNT", 8, "FROM", *[f"q{n}" for n in range(8)])
    peer.raw(pack("JSCAN", "BUSYLOOP") + pack("QSCAN") + every + pack("PING"))
    peer.sock.shutdown(socket.SHUT_WR)
    assert set(peer.read()[1]) == jobs
    assert len(peer.read()[1]) == 8
    assert {job for _, job, _ in peer.read()} == jobs
    assert peer.read() == b"PONG"
    assert peer.rest() == b""
