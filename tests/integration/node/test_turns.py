"""Whatever one client sends, others have their turns, and what it makes the node hold counts."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

import pytest

from pydisque.node import Server, connection
from pydisque.node.wire.resp import RequestParser
from support.resp_peer import Connect, Peer, clients, error, info, pack
from support.servers import NodeProcess, until

TINY = b"*1048576\r\n" + b"$2\r\nab\r\n" * 1048575  # one is missing

FLOODS = {
    "blank lines": b"\r\n" * 50_000,
    "lines of one letter": b"p\n" * 50_000,
    "empty arrays": b"*0\r\n" * 50_000,
    "unknown commands": pack("NOTHING", "x") * 5000,
    "pings": pack("PING") * 5000,
    "passwords": pack("AUTH", "x") * 5000,
    "words": b'"a" ' * 16_000 + b"\n",
    "tiny arguments": TINY + b"$2\r\nab\r\n",
    "info": pack("INFO") * 500,
}


@contextmanager
def flooded(address: str, *floods: bytes) -> Iterator[None]:
    """A client for each of these, which sends it again and again and reads what comes."""
    over = threading.Event()

    def read(peer: Peer) -> None:
        with contextlib.suppress(OSError):
            while not over.is_set():
                with contextlib.suppress(TimeoutError):  # most floods have no replies
                    peer.rest()

    def flood(sends: bytes) -> None:
        with Peer(address) as peer, contextlib.suppress(OSError):
            reader = threading.Thread(target=read, args=[peer])
            reader.start()
            while not over.is_set():
                peer.raw(sends)
            peer.sock.shutdown(socket.SHUT_RDWR)
            reader.join()

    threads = [threading.Thread(target=flood, args=[sends]) for sends in floods]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def other_node() -> Iterator[NodeProcess]:
    """A node with a thread of its own for Python."""
    with NodeProcess() as node:
        yield node


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_leaves_turns_for_the_others(other_node: NodeProcess, kind: str) -> None:
    """Beside a client that sends this without end, others wait a fraction of a second at most."""
    with flooded(other_node.address, FLOODS[kind]), Peer(other_node.address) as peer:
        times = []
        for _ in range(40):
            begun = time.perf_counter()
            assert peer.ask("PING") == b"PONG"
            times.append(time.perf_counter() - begun)
    assert median(times) < 0.25  # of a machine that does ten other things


def test_the_watchdog_is_served_beside_three_floods() -> None:
    """systemd hears of a node that three clients flood, so that it is not killed for that."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        sock.bind(f"{folder}/notify")
        sock.settimeout(20)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(os.environ, "NOTIFY_SOCKET", f"{folder}/notify")
            patch.setitem(os.environ, "WATCHDOG_USEC", "200000")
            node = stack.enter_context(NodeProcess())
        assert sock.recv(99) == b"READY=1"
        floods = [FLOODS[kind] for kind in ("blank lines", "lines of one letter", "empty arrays")]
        with flooded(node.address, *floods):
            for _ in range(5):
                begun = time.perf_counter()
                assert sock.recv(99) == b"WATCHDOG=1"
                assert time.perf_counter() - begun < 10  # it was more than half a minute


@pytest.mark.parametrize("kind", [kind for kind in FLOODS if kind not in ("info", "words")])
def test_a_turn_is_bounded(node: Server, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever arrives, a turn parses and runs no more once its time is over."""
    now = [0.0]  # a clock of which each look, and each call of the parser, takes a part of a turn
    parse = RequestParser.parse

    def slow_parse(parser: RequestParser) -> list[list[bytes]]:
        now[0] += connection.TURN / 3
        return parse(parser)

    def clock() -> float:
        now[0] += connection.TURN / 1000
        return now[0]

    monkeypatch.setattr(connection, "perf_counter", clock)
    monkeypatch.setattr(RequestParser, "parse", slow_parse)
    turns = []
    run_turn = connection.Connection._run_turn

    def counted(self: connection.Connection, data: bytes) -> None:
        before = now[0]
        run_turn(self, data)
        turns.append(now[0] - before)

    monkeypatch.setattr(connection.Connection, "_run_turn", counted)
    with flooded(node.address, FLOODS[kind]):
        until(lambda: len(turns) > 50, 30)
    assert max(turns) < connection.TURN * 1.7


# Memory


def test_nothing_is_read_while_something_is_left(peer: Peer, connect: Connect) -> None:
    """Of what stands behind a GETJOB that blocks a bounded part is read; then all of it is run."""
    waiting = connect()
    waiting.sock.settimeout(30)
    requests = pack("GETJOB", "FROM", "q") + pack("PING") * 500_000
    sender = threading.Thread(target=waiting.raw, args=[requests])
    sender.start()
    until(lambda: int(clients(peer)[1]["qbuf"]) > 60_000)
    time.sleep(0.2)  # to give more a chance to come
    assert int(clients(peer)[1]["qbuf"]) < 600_000
    peer.ask("ADDJOB", "q", "x", 0)
    assert waiting.exactly(1) == b"*"
    assert waiting.exactly(7 * 500_000).count(b"+PONG\r\n") > 499_900
    sender.join()


@pytest.mark.parametrize("argument", [b"", b"x", b"ab"])
def test_small_arguments_count(peer: Peer, connect: Connect, argument: bytes) -> None:
    """Requests of a million small arguments count with the memory that they take."""
    peer.ask("CONFIG", "SET", "client-memory", "100mb")
    senders = [connect() for _ in range(3)]
    for each in senders:
        with contextlib.suppress(ConnectionError):
            each.raw(b"*1048576\r\n" + pack(argument)[4:] * 1_000_000)
    until(lambda: len(clients(peer)) < 4)
    assert peer.ask("PING") == b"PONG"


def test_what_a_blocked_client_sent_counts(peer: Peer, connect: Connect) -> None:
    """A large argument behind a GETJOB that blocks, or a long name in it, counts as any other."""
    peer.ask("CONFIG", "SET", "client-memory", "20mb")
    for words in (
        ["GETJOB", "FROM", b"n" * 15_000_000],
        ["GETJOB", "FROM", "q", b"x" * 15_000_000],
    ):
        waiting = [connect() for _ in range(2)]
        for each in waiting:
            with contextlib.suppress(ConnectionError):
                each.raw(pack(*words))
        until(lambda: len(clients(peer)) < 3)
        for each in waiting:
            each.sock.close()
        until(lambda: len(clients(peer)) == 1)


def test_the_last_request_is_not_kept(other_node: NodeProcess) -> None:
    """A client that is idle holds nothing of what it sent last."""
    with ExitStack() as stack, Peer(other_node.address) as peer:
        before = int(info(peer)["used_memory_rss"])
        for _ in range(10):
            sender = stack.enter_context(Peer(other_node.address))
            assert error(sender.ask("SHOW", b"x" * 20_000_000)).startswith("BADID")
        assert int(info(peer)["used_memory_rss"]) - before < 100_000_000


def test_thirty_greedy_clients() -> None:
    """With 30 clients that send and do not read, memory grows by little more than client-memory."""
    limit = 64 * 2**20
    with ExitStack() as stack:
        options = "--client-memory", str(limit), "--data", ":memory:"
        node = stack.enter_context(NodeProcess(*options))
        peer = stack.enter_context(Peer(node.address))
        for _ in range(40):
            peer.ask("ADDJOB", "q", b"x" * 200_000, 0)
        before = int(info(peer)["used_memory_rss"])
        greedy = [TINY, pack("QPEEK", "q", 40) * 100, b"*1\r\n$60000000\r\n" + b"x" * 50_000_000]

        def send(sock: socket.socket, data: bytes) -> None:
            with contextlib.suppress(OSError):
                sock.sendall(data)

        threads = []
        for number in range(30):
            sock = stack.enter_context(Peer(node.address)).sock
            sock.settimeout(5)
            threads.append(threading.Thread(target=send, args=[sock, greedy[number % 3]]))
            threads[-1].start()
        most = before
        while any(thread.is_alive() for thread in threads):
            most = max(most, int(info(peer)["used_memory_rss"]))
        assert most - before < limit * 1.5


# Other protocols


def test_no_page_in_a_browser_reaches_a_command(
    node: Server, peer: Peer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """The lines of an HTTP request are no commands, however they arrive; the log says so."""
    peer.ask("ADDJOB", "q", "x", 0)
    for first in (b"POST / HTTP/1.1\r\n", b"host: a\n", b"PRI * HTTP/2.0\r\n", b"\x16\x03\x01\n"):
        page = connect()
        for part in (first[:7], first[7:], b"Content-Type: text/plain\r\n\r\nDEBUG FLUSHALL\r\n"):
            with contextlib.suppress(ConnectionError):
                page.raw(part)
        assert page.rest() == b""
    assert peer.ask("QLEN", "q") == 1
    said = [record.message for record in caplog.records if "HTTP or TLS" in record.message]
    assert 1 <= len(said) <= 4  # one a second
    assert all(line.startswith("closing client 127.0.0.1:") for line in said)
    assert peer.ask("PING", "POST / HTTP/1.1") == b"POST / HTTP/1.1"
