"""CLIENT and MONITOR: what they show is true, and nobody is harmed."""

from __future__ import annotations

import socket
import struct

import pytest

from pydisque.node import Server
from support.resp_peer import Connect, Peer, clients, error, pack, wait_for_blocked
from support.servers import until


def test_client_list_tells_the_truth(peer: Peer, connect: Connect) -> None:
    """One line for each client: who it is, what it did last, whether it waits."""
    other = connect()
    other.ask("CLIENT", "SETNAME", "consumer")
    other.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    mine, theirs = clients(peer)
    host, port = peer.sock.getsockname()
    assert (mine["addr"], mine["cmd"], mine["flags"]) == (f"{host}:{port}", "client", "N")
    assert (theirs["name"], theirs["cmd"], theirs["flags"]) == ("consumer", "getjob", "b")
    assert int(theirs["id"]) == int(mine["id"]) + 1
    other.raw(pack("PING") * 3)
    until(lambda: int(clients(peer)[1]["qbuf"]) == 3 * len(pack("PING")))


def test_client_names(peer: Peer) -> None:
    """Names are printable ASCII without blanks; the empty one clears."""
    assert peer.ask("CLIENT", "GETNAME") is None
    assert peer.ask("CLIENT", "SETNAME", "a!~") == b"OK"
    bad = error(peer.ask("CLIENT", "SETNAME", "a b"))
    assert bad == "ERR Client names cannot contain spaces, newlines or special characters."
    assert peer.ask("CLIENT", "GETNAME") == b"a!~"
    assert peer.ask("CLIENT", "SETNAME", "") == b"OK"
    assert peer.ask("CLIENT", "GETNAME") is None


def test_client_kill(peer: Peer, connect: Connect) -> None:
    """By address, by number, by type; oneself only when asked for, and then after the reply."""
    victims = [connect() for _ in range(4)]
    numbers = [each.ask("CLIENT", "ID") for each in victims]
    host, port = victims[0].sock.getsockname()
    assert peer.ask("CLIENT", "KILL", f"{host}:{port}") == b"OK"
    assert victims[0].rest() == b""
    assert error(peer.ask("CLIENT", "KILL", "1.2.3.4:5")) == "ERR No such client"
    assert peer.ask("CLIENT", "KILL", "ID", numbers[1], "TYPE", "normal") == 1
    assert victims[1].rest() == b""
    host, port = victims[2].sock.getsockname()
    assert peer.ask("CLIENT", "KILL", "ADDR", f"{host}:{port}", "ID", 9999) == 0
    assert error(peer.ask("CLIENT", "KILL", "TYPE", "bus")) == "ERR Unknown client type 'bus'"
    assert error(peer.ask("CLIENT", "KILL", "SKIPME", "maybe")) == "ERR syntax error"
    until(lambda: len(clients(peer)) == 3)
    assert peer.ask("CLIENT", "KILL", "TYPE", "normal") == 2
    assert victims[2].rest() == victims[3].rest() == b""
    until(lambda: len(clients(peer)) == 1)
    peer.send("CLIENT", "KILL", "SKIPME", "no")
    peer.raw(pack("PING"))
    assert peer.rest() == b":1\r\n"


def test_client_pause(peer: Peer, connect: Connect) -> None:
    """No command of any client runs until the pause is over; then all do, in order."""
    other = connect()
    other.raw(pack("PING", 1))
    assert other.read() == b"1"
    peer.raw(pack("CLIENT", "PAUSE", 400) + pack("PING", "later"))
    assert peer.read() == b"OK"
    other.raw(pack("PING", 2) + pack("PING", 3))
    assert other.silent()
    assert [other.read(), other.read(), peer.read()] == [b"2", b"3", b"later"]


def test_client_reply(peer: Peer) -> None:
    """OFF silences everything, errors too; SKIP the next command only; ON answers."""
    peer.raw(
        pack("CLIENT", "REPLY", "OFF") + pack("PING") + pack("FOO") + pack("PING", 1, 2)
        + pack("SHOW", "x") + pack("CLIENT", "REPLY", "SKIP") + pack("CLIENT", "REPLY", "ON")
        + pack("CLIENT", "REPLY", "SKIP") + pack("PING") + pack("PING", "a")
        + pack("CLIENT", "REPLY", "SKIP") + pack("FOO") + pack("PING", "b")
        + pack("CLIENT", "REPLY", "bogus")
    )  # fmt: skip
    assert [peer.read() for _ in range(3)] == [b"OK", b"a", b"b"]
    assert error(peer.read()) == "ERR syntax error"


def test_monitor(peer: Peer, connect: Connect) -> None:
    """A monitor sees every command that runs, its own too, quoted, before the reply to it."""
    monitor = connect()
    assert monitor.ask("MONITOR") == b"OK"
    assert b"flags=O " in peer.ask("CLIENT", "LIST")
    assert monitor.read().endswith(b'] "CLIENT" "LIST"')
    peer.ask("ADDJOB", "q", b'\0\xff"\n', 0)
    host, port = peer.sock.getsockname()
    line = monitor.read()
    assert line.endswith(f'[{host}:{port}] "ADDJOB" "q" "\\x00\\xff\\"\\n" "0"'.encode())
    seconds, _, micros = line.split(b" ")[0].partition(b".")
    assert seconds.isdigit()
    assert len(micros) == 6
    for words in (["FOO"], ["GETJOB"], ["SHOW", "x"]):
        peer.ask(*words)
    assert monitor.read().endswith(b'"SHOW" "x"')
    monitor.raw(pack("MONITOR") + pack("PING", "mine"))
    assert monitor.read().endswith(b'"MONITOR"')
    assert monitor.read().endswith(b'"PING" "mine"')
    assert monitor.read() == b"mine"


def test_a_monitor_that_does_not_read_is_cut_off(
    peer: Peer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a monitor leaves unread is bounded; one that falls behind too far loses its line."""
    monkeypatch.setattr("pydisque.node.state.node.MONITOR_BACKLOG", 1_000_000)
    assert connect().ask("MONITOR") == b"OK"
    many = pack("ACKJOB", *[b"\0" * 1000] * 60)

    def cut_off() -> bool:
        peer.raw(many * 20)
        assert {error(peer.read()) for _ in range(20)} == {"BADID Invalid Job ID format."}
        return len(clients(peer)) == 1

    until(cut_off)


@pytest.mark.parametrize("durable", [False, True])
def test_who_says_no_more_is_still_answered(durable: bool, tmp_path) -> None:
    """A client that closes its own side alone gets the replies to what it asked, then the end."""
    with Server(data=tmp_path if durable else None) as server, Peer(server.address) as peer:
        peer.raw(pack("ADDJOB", "q", "body", 0) + pack("GETJOB", "FROM", "q") + pack("PING"))
        peer.sock.shutdown(socket.SHUT_WR)
        answers = peer.rest()
        assert answers.startswith(b"+D-")
        assert answers.endswith(b"$4\r\nbody\r\n+PONG\r\n")


def test_client_that_is_gone_before_it_is_accepted(
    node: Server, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    """A port scan counts as connections, is closed and logs nothing."""
    peer.send("DEBUG", "SLEEP", "0.3")  # the node accepts nobody meanwhile
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", node.port)) as sock:
            reset = struct.pack("ii", 1, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    assert peer.read() == b"OK"
    until(lambda: b"total_connections_received:4\r" in peer.ask("INFO", "stats"))
    assert len(clients(peer)) == 1
    assert caplog.messages == []
