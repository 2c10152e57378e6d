"""Many clients, greedy ones and slow ones: nobody starves the others, nothing is collected."""

from __future__ import annotations

import resource
import socket
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from pydisque.node import Server
from support.resp_peer import Connect, Peer, clients, error, info, pack
from support.servers import NodeProcess, until


def test_a_greedy_client_does_not_starve_the_others(peer: Peer, connect: Connect) -> None:
    """Between the commands of a pipeline without end others get their answers."""
    greedy = connect()
    count = 300_000
    greedy.sock.settimeout(30)
    requests = pack("GETJOB", "FROM", "q") + pack("QLEN", "nothing") * count
    sender = threading.Thread(target=greedy.raw, args=[requests])
    sender.start()
    until(lambda: int(clients(peer)[1]["qbuf"]) > 60_000)
    peer.raw(pack("ADDJOB", "q", "x", 0))
    peer.read()
    calls = info(peer, "commandstats").get("cmdstat_qlen", "calls=0,")
    assert int(calls[len("calls=") :].partition(",")[0]) < count, "all was run in one go"
    assert greedy.exactly(1) == b"*"
    assert greedy.exactly(4 * count).count(b":0\r\n") > count - 50
    sender.join()


def test_one_reply_has_its_limits(peer: Peer) -> None:
    """GETJOB and QPEEK give no more jobs in one reply than is set, nor many more bytes."""
    for _ in range(10):
        peer.ask("ADDJOB", "q", b"x" * 1000, 0)
    peer.ask("CONFIG", "SET", "reply-jobs", 4)
    assert len(peer.ask("QPEEK", "q", 100)) == 4
    assert len(peer.ask("QPEEK", "q", -100)) == 4
    peer.ask("CONFIG", "SET", "reply-jobs", 100)
    peer.ask("CONFIG", "SET", "reply-size", 2500)
    assert len(peer.ask("QPEEK", "q", 100)) == 3
    assert len(peer.ask("GETJOB", "COUNT", 100, "FROM", "q")) == 3
    assert peer.ask("QLEN", "q") == 7


def test_a_request_has_its_limits(node: Server, peer: Peer) -> None:
    """A request with more bytes or arguments than is set is told so, and the client hung up on."""
    peer.ask("CONFIG", "SET", "max-request", 5000)
    peer.ask("CONFIG", "SET", "max-arguments", 10)
    with Peer(node.address) as other:
        other.raw(b"*2\r\n$4\r\nPING\r\n$4000\r\n" + b"x" * 4000 + b"\r\n")
        assert other.read() == b"x" * 4000
        other.raw(b"*2\r\n$4\r\nPING\r\n$9000\r\n" + b"x" * 2000)
        assert other.rest() == b"-ERR Protocol error: too big request, it may hold 5000 bytes\r\n"
    with Peer(node.address) as other:
        other.raw(b"*11\r\n")
        assert other.rest() == b"-ERR Protocol error: invalid multibulk length\r\n"


def test_a_client_that_does_not_read_is_hung_up_on(peer: Peer, connect: Connect) -> None:
    """One that leaves its reply lying for as long as is set is hung up on; one that is idle not."""
    peer.ask("CONFIG", "SET", "output-timeout", 1)
    peer.ask("ADDJOB", "q", b"x" * 10_000_000, 0)
    slow, idle = connect(), connect()
    idle.ask("PING")
    slow.send("QPEEK", "q", 1)
    until(lambda: len(clients(peer)) == 2)
    assert idle.ask("PING") == b"PONG"
    assert len(slow.rest()) < 10_000_000


def test_a_client_that_reads_slowly_is_served(peer: Peer, connect: Connect) -> None:
    """As long as it reads at all, it gets its reply."""
    peer.ask("CONFIG", "SET", "output-timeout", 1)
    peer.ask("ADDJOB", "q", b"x" * 20_000_000, 0)
    slow = connect()
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    slow.send("QPEEK", "q", 1)
    got = 0
    for _ in range(25):  # a pause for each part, longer in all than the patience
        got += len(slow.exactly(500_000))
        time.sleep(0.06)
    got += len(slow.exactly(20_000_000 - got))
    assert got == 20_000_000


def test_all_clients_together_have_a_limit(peer: Peer, connect: Connect) -> None:
    """When unread replies take too much in all, the clients with the most are hung up on."""
    peer.ask("CONFIG", "SET", "client-memory", "50mb")
    peer.ask("ADDJOB", "q", b"x" * 8_000_000, 0)
    slow = [connect() for _ in range(20)]
    for each in slow:
        each.send("QPEEK", "q", 1)
    until(lambda: len(clients(peer)) < 21)
    assert sum(int(each["omem"]) for each in clients(peer)) <= 50 * 2**20
    assert peer.ask("PING") == b"PONG"


def test_unfinished_requests_count_as_well(peer: Peer, connect: Connect) -> None:
    """Clients that send large requests and never end them are hung up on when it is too much."""
    peer.ask("CONFIG", "SET", "client-memory", "20mb")
    senders = [connect() for _ in range(6)]
    for each in senders:
        each.raw(b"*2\r\n$4\r\nPING\r\n$9000000\r\n")
    for each in senders:
        with suppress(ConnectionError):
            each.raw(b"x" * 8_000_000)
    until(lambda: len(clients(peer)) < 4)
    assert peer.ask("PING") == b"PONG"


@pytest.fixture
def files() -> int:
    """How many files this process may open, raised as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_ten_thousand_idle_clients(files: int) -> None:
    """A node holds as many idle clients as maxclients says, and still answers."""
    wanted = min(9990, files - 500)
    with NodeProcess() as node, ExitStack() as stack:
        host, _, port = node.address.rpartition(":")
        for number in range(wanted):
            source = (f"127.0.1.{2 + number // 5000}", 0)
            stack.enter_context(socket.create_connection((host, int(port)), 20, source))
        with Peer(node.address) as peer:
            until(lambda: int(info(peer)["connected_clients"]) >= wanted, 30)
            assert peer.ask("ADDJOB", "q", "x", 0)
            assert int(info(peer)["used_memory_rss"]) < 500_000_000


def test_five_hundred_slow_readers(files: int) -> None:
    """They take no more memory than is set, and the others are served meanwhile."""
    del files
    with ExitStack() as stack:
        node = stack.enter_context(NodeProcess("--client-memory", "64mb", "--data", ":memory:"))
        peer = stack.enter_context(Peer(node.address))
        peer.ask("ADDJOB", "q", b"x" * 12_000_000, 0)
        before = int(info(peer)["used_memory_rss"])
        for _ in range(500):
            stack.enter_context(Peer(node.address)).send("QPEEK", "q", 1)
        until(lambda: len(clients(peer)) < 100, 30)
        assert peer.ask("PING") == b"PONG"
        assert int(info(peer)["used_memory_rss"]) - before < 300_000_000


def test_odd_config(peer: Peer) -> None:
    """The limits are parameters like any other, checked when they are set."""
    assert error(peer.ask("CONFIG", "SET", "reply-jobs", 0)).startswith("ERR Invalid argument")
    assert peer.ask("CONFIG", "GET", "client-memory") == [b"client-memory", b"1073741824"]
