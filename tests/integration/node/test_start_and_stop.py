"""Where a node listens, what keeps it from starting, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from pydisque.node import Server
from support.resp_peer import Connect, Peer, error, info, pack, wait_for_blocked
from support.servers import until


def test_unix_socket(tmp_path: Path) -> None:
    """The node serves on a Unix socket as on TCP, and takes its path away when it stops."""
    path = tmp_path / "node.sock"
    with Server(unixsocket=str(path)) as server:
        assert server.addresses == [f"127.0.0.1:{server.port}", f"unix:{path}"]
        with Peer(f"unix:{path}") as local, Peer(server.address) as remote:
            local.ask("ADDJOB", "q", "x", 0)
            assert remote.ask("QLEN", "q") == 1
            assert b" flags=U " in local.ask("CLIENT", "LIST")
            assert local.ask("CONFIG", "GET", "unixsocket")[1] == str(path).encode()
    assert not path.exists()


def test_unix_socket_only(tmp_path: Path) -> None:
    """With port -1 there is no TCP at all."""
    path = tmp_path / "node.sock"
    with Server(port=-1, unixsocket=str(path)) as server, Peer(server.address) as peer:
        assert server.addresses == [f"unix:{path}"]
        assert peer.ask("PING") == b"PONG"
        assert info(peer)["tcp_port"] == "0"


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A socket that a node which is gone left behind is no obstacle."""
    path = str(tmp_path / "node.sock")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    with Server(port=-1, unixsocket=path) as server, Peer(server.address) as peer:
        assert peer.ask("PING") == b"PONG"


def test_a_live_socket_is_respected(tmp_path: Path) -> None:
    """Where another node listens a second one does not start, and the first serves on."""
    path = str(tmp_path / "node.sock")
    with Server(port=-1, unixsocket=path) as first:
        with pytest.raises(OSError, match="in use"), Server(unixsocket=path):
            pass
        with Peer(first.address) as peer:
            assert peer.ask("PING") == b"PONG"


def test_what_is_no_socket_stays(tmp_path: Path) -> None:
    """A file that is no socket is never removed."""
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError), Server(port=-1, unixsocket=str(path)):  # noqa: PT011
        pass
    assert path.read_text() == "data"


def test_a_port_in_use(node: Server) -> None:
    """A port that is taken is an OSError, and nothing of the second node remains."""
    threads = threading.active_count()
    with pytest.raises(OSError, match="in use"):
        Server(port=node.port).__enter__()
    assert threading.active_count() == threads
    with Peer(node.address) as peer:
        assert peer.ask("PING") == b"PONG"


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", -1), ("127.0.0.1", 65536)])
def test_impossible_addresses(host: str, port: int) -> None:
    """A port that cannot be, or nothing to listen on, is said before anything starts."""
    with pytest.raises(ValueError, match="port"):
        Server(host, port)


def test_two_nodes_in_one_process(node: Server, peer: Peer) -> None:
    """Nodes in one process share nothing."""
    with Server() as other, Peer(other.address) as theirs:
        peer.ask("ADDJOB", "q", "x", 0)
        assert (peer.ask("QLEN", "q"), theirs.ask("QLEN", "q")) == (1, 0)
        assert peer.ask("CLUSTER", "MYID") != theirs.ask("CLUSTER", "MYID")


def test_a_node_can_be_started_again(peer: Peer) -> None:
    """A stopped node starts anew on the port it had, empty."""
    server = Server()
    for _ in range(2):
        with server, Peer(server.address) as each:
            assert each.ask("QLEN", "q") == 0
            each.ask("ADDJOB", "q", "x", 0)


async def test_in_a_running_loop() -> None:
    """The node also runs in an asyncio loop that is there already, beside its own client."""
    async with Server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(pack("GETJOB", "FROM", "q"))
        with_jobs = await asyncio.open_connection("127.0.0.1", server.port)
        with_jobs[1].write(pack("ADDJOB", "q", "x", 0))
        assert (await with_jobs[0].readline())[:3] == b"+D-"
        assert await reader.readline() == b"*1\r\n"
        for each in (writer, with_jobs[1]):
            each.close()
            await each.wait_closed()


async def test_a_start_that_fails_in_a_running_loop(node: Server) -> None:
    """In a loop, too, a port in use is an OSError."""
    with pytest.raises(OSError, match="in use"):
        await Server(port=node.port).start()


def test_stopping_hangs_up_on_everybody(node: Server, peer: Peer, connect: Connect) -> None:
    """When the node stops, waiting clients and those that never read are cut off, soon."""
    waiting, stuck = connect(), connect()
    waiting.send("GETJOB", "FROM", "q")
    stuck.ask("ADDJOB", "big", b"x" * 8_000_000, 0)
    stuck.raw(pack("QPEEK", "big", 1) * 3)
    wait_for_blocked(peer, "q", 1)
    node.close()
    assert peer.rest() == waiting.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        Peer(node.address)
    node.close()


@pytest.mark.parametrize("words", [["SHUTDOWN"], ["shutdown", "rewrite-aof"]])
def test_shutdown(node: Server, peer: Peer, connect: Connect, words: list[str]) -> None:
    """SHUTDOWN hangs up without an answer and ends the node; other words are refused."""
    assert error(peer.ask("SHUTDOWN", "NOW")) == "ERR syntax error"
    other = connect()
    other.ask("PING")
    peer.send(*words)
    assert peer.rest() == other.rest() == b""
    until(lambda: node._thread is None or not node._thread.is_alive())
