"""Pipelines, malformed streams, and clients that do not read."""

from __future__ import annotations

import threading

import pytest

from pydisque.node import Server
from support.resp_peer import Connect, Peer, clients, error, pack
from support.servers import until


def test_a_long_pipeline_is_answered_in_order(peer: Peer) -> None:
    """Tens of thousands of commands in one go are answered one by one, in their order."""
    sender = threading.Thread(
        target=peer.raw, args=[b"".join(pack("PING", n) for n in range(50_000))]
    )
    sender.start()
    assert [peer.read() for _ in range(50_000)] == [b"%d" % n for n in range(50_000)]
    sender.join()


def test_requests_in_crumbs(peer: Peer) -> None:
    """A request that arrives byte by byte is a request."""
    for byte in pack("ADDJOB", "q", "a\r\nb", 0) + b"QLEN q\r\n":
        peer.raw(bytes([byte]))
    assert peer.read()[:2] == b"D-"
    assert peer.read() == 1


def test_large_bodies_and_odd_names(peer: Peer) -> None:
    """Bodies of megabytes and names of any bytes come back as they were."""
    name, body = b"\0\r\n\xff ", b"\r\n$5\r\n" * 700_000
    job = peer.ask("ADDJOB", name, body, 0)
    assert peer.ask("QPEEK", name, 1) == [[name, job, body]]
    assert peer.ask("GETJOB", "FROM", name) == [[name, job, body]]
    assert peer.ask("ADDJOB", "", "", 0)
    assert peer.ask("GETJOB", "FROM", "")[0][::2] == [b"", b""]


@pytest.mark.parametrize(
    ("stream", "reply"),
    [
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1\r\n:4\r\n", "expected '$', got ':'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b'PING "x\r\n', "unbalanced quotes in request"),
        (b"x" * 70_000, "too big inline request"),
    ],
)
def test_a_malformed_stream_ends_the_connection(peer: Peer, stream: bytes, reply: str) -> None:
    """What came before is answered, then the fault, then the node hangs up."""
    peer.raw(pack("PING") + stream + pack("PING"))
    assert peer.rest() == b"+PONG\r\n-ERR Protocol error: " + reply.encode() + b"\r\n"


def test_quit(peer: Peer) -> None:
    """QUIT with any arguments says OK and hangs up; what is behind it does not run."""
    peer.raw(pack("quit", "now") + pack("ADDJOB", "q", "x", 0))
    assert peer.rest() == b"+OK\r\n"


def test_inline_commands(peer: Peer) -> None:
    """Text lines are commands too, between arrays; quotes hold blanks."""
    peer.raw(
        b'addjob q "a b\\x21" 0\r\n' + pack("QLEN", "q") + b"\r\n   \r\nPING\n\nPING 'x y'\r\n"
    )
    assert peer.read()[:2] == b"D-"
    assert [peer.read() for _ in range(3)] == [1, b"PONG", b"x y"]


def test_errors_name_what_was_typed(peer: Peer) -> None:
    """Unknown commands are named as typed and on one line, known ones by their own name."""
    assert error(peer.ask("FoO\r\n", "bar")) == "ERR unknown command 'FoO  '"
    assert error(peer.ask("a\0b")) == "ERR unknown command 'a'"
    assert error(peer.ask("GetJob")) == "ERR wrong number of arguments for 'getjob' command"
    assert error(peer.ask("PING", 1, 2)) == "ERR wrong number of arguments for 'ping' command"


def test_a_slow_reader_is_no_burden(node: Server, peer: Peer, connect: Connect) -> None:
    """Of a client that asks and never reads little is kept, others are served meanwhile, and
    when it reads at last it gets every answer in order."""
    job = peer.ask("ADDJOB", "big", b"x" * 1_000_000, 0)
    slow = connect()
    number = slow.ask("CLIENT", "ID")
    requests = pack("SHOW", job) * 200 + pack("PING", "end")
    slow.raw(requests)

    def unsent() -> int:
        return next(int(c["omem"]) for c in clients(peer) if c["id"] == str(number))

    until(lambda: unsent() > 0)
    for n in range(200):
        assert peer.ask("PING", n) == b"%d" % n
        assert unsent() < 5_000_000
    assert all(slow.read()[1] == job for _ in range(200))
    assert slow.read() == b"end"


def test_a_stuck_client_can_be_killed(peer: Peer, connect: Connect) -> None:
    """CLIENT KILL ends a client at once, also one that leaves megabytes unread."""
    stuck = connect()
    number = stuck.ask("CLIENT", "ID")
    job = peer.ask("ADDJOB", "big", b"x" * 8_000_000, 0)
    stuck.raw(pack("SHOW", job) * 5)
    until(lambda: int(clients(peer)[1]["omem"]) > 0)
    assert peer.ask("CLIENT", "KILL", "ID", number) == 1
    until(lambda: len(clients(peer)) == 1)
