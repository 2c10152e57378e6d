"""The node through its sockets: what a client gets, in which order, and what it cannot do.

Every test has a node of its own in this process, so it may turn any knob. Waiting is always for a
condition, with a deadline.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hiredis import ReplyError
from redis.backoff import NoBackoff
from redis.retry import Retry

from pydisque.node import Server
from servers import until
from wire import Peer, pack

Connect = Callable[[], Peer]


@pytest.fixture
def node() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def connect(node: Server) -> Iterator[Connect]:
    """Makes connections to the node, which are closed after the test."""
    peers: list[Peer] = []

    def open_one() -> Peer:
        peers.append(Peer(node.address))
        return peers[-1]

    yield open_one
    for peer in peers:
        peer.sock.close()


@pytest.fixture
def peer(connect: Connect) -> Peer:
    return connect()


def error(reply: object) -> str:
    assert isinstance(reply, ReplyError), reply
    return str(reply)


def info(peer: Peer, section: str = "all") -> dict[str, str]:
    lines = peer.ask("INFO", section).decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def blocked(peer: Peer, queue: str) -> int:
    stat = peer.ask("QSTAT", queue)
    return stat[stat.index(b"blocked") + 1] if stat else 0


def wait_for_blocked(peer: Peer, queue: str, count: int) -> None:
    until(lambda: blocked(peer, queue) == count)


# Blocked clients


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


# Order, pipelines, the end of a connection


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


# Unix sockets, starting and stopping


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


# Passwords and handshakes


def test_a_password_at_the_start() -> None:
    """Without the password only AUTH, HELLO with AUTH and QUIT work; names and arity are told."""
    with Server(password="secret") as server, Peer(server.address) as peer:
        for words in (["PING"], ["HELLO"], ["ADDJOB", "q", "x", "0"], ["SHUTDOWN"]):
            assert error(peer.ask(*words)) == "NOAUTH Authentication required."
        assert error(peer.ask("FOO")) == "ERR unknown command 'FOO'"
        assert "wrong number" in error(peer.ask("GETJOB"))
        assert error(peer.ask("HELLO", 3)).startswith("NOAUTH HELLO must be called with")
        assert error(peer.ask("AUTH", "wrong")) == "ERR invalid password"
        assert peer.ask("AUTH", "secret") == b"OK"
        assert peer.ask("PING") == b"PONG"
        assert error(peer.ask("AUTH", "wrong")) == "ERR invalid password"
        assert error(peer.ask("PING")) == "NOAUTH Authentication required."
        assert peer.ask("AUTH", "default", "secret") == b"OK"
        assert error(peer.ask("AUTH", "root", "secret")) == "ERR invalid password"
    with Server(password="secret") as server, Peer(server.address) as peer:
        assert peer.ask("HELLO", 2, "AUTH", "default", "secret", "SETNAME", "me")
        assert peer.ask("CLIENT", "GETNAME") == b"me"
        peer.raw(pack("QUIT"))
        assert peer.rest() == b"+OK\r\n"


def test_a_password_at_runtime(peer: Peer, connect: Connect) -> None:
    """A password set while the node runs counts for all who have not logged in, at once."""
    other = connect()
    assert error(peer.ask("AUTH", "x")) == "ERR Client sent AUTH, but no password is set"
    assert peer.ask("CONFIG", "SET", "requirepass", "one") == b"OK"
    assert error(other.ask("PING")) == error(peer.ask("PING")) == "NOAUTH Authentication required."
    assert peer.ask("AUTH", "one") == b"OK"
    assert peer.ask("CONFIG", "SET", "requirepass", "two") == b"OK"
    assert peer.ask("PING") == b"PONG"
    assert other.ask("AUTH", "two") == b"OK"
    assert peer.ask("CONFIG", "SET", "requirepass", "") == b"OK"
    assert connect().ask("PING") == b"PONG"


def test_handshakes(peer: Peer, connect: Connect) -> None:
    """HELLO 2 and 3 greet as Redis does, in the protocol asked for; others are refused."""
    peer.raw(pack("HELLO", 2))
    assert peer.exactly(12) == b"*14\r\n$6\r\nser"
    peer = connect()
    greeting = peer.ask("HELLO", 3, "SETNAME", "me")
    assert greeting[b"proto"] == 3
    assert greeting[b"id"] == peer.ask("CLIENT", "ID")
    assert (greeting[b"mode"], greeting[b"role"]) == (b"standalone", b"master")
    assert peer.ask("CLIENT", "GETNAME") == b"me"
    assert error(peer.ask("HELLO", 4)) == "NOPROTO unsupported protocol version"
    assert "wrong number" in error(peer.ask("HELLO", "x"))
    assert "Syntax error in HELLO option 'BOGUS'" in error(peer.ask("HELLO", 3, "BOGUS"))
    assert "no password is set" in error(peer.ask("HELLO", 3, "AUTH", "default", "x"))
    assert peer.ask("HELLO")[0] == 1


def test_resp3_has_one_nil(peer: Peer) -> None:
    """After HELLO 3 both nils are RESP3's, also when a wait ends; all else stays."""
    peer.ask("HELLO", 3)
    peer.raw(pack("QSTAT", "q") + pack("SHOW", "D-" + "0" * 8 + "-" + "0" * 24 + "-0000"))
    peer.raw(pack("CLIENT", "GETNAME") + pack("GETJOB", "TIMEOUT", 20, "FROM", "q"))
    assert peer.exactly(12) == b"_\r\n" * 4
    job = peer.ask("ADDJOB", "q", "$-1\r\n", 0, "RETRY", 0)
    assert peer.ask("GETJOB", "FROM", "q") == [[b"q", job, b"$-1\r\n"]]
    shown = peer.ask("SHOW", job)
    assert shown[shown.index(b"next-requeue-within") + 1] is None
    assert peer.ask("CONFIG", "GET", "h?") == {b"hz": b"10"}
    peer.ask("HELLO", 2)
    peer.raw(pack("QSTAT", "nowhere"))
    assert peer.exactly(5) == b"*-1\r\n"


@pytest.mark.parametrize("options", [{}, {"protocol": 2}, {"protocol": 3}, {"client_name": "me"}])
def test_redis_py_connects(node: Server, options: dict[str, Any]) -> None:
    """Today's redis-py talks to the node with its defaults, whichever protocol it asks for."""
    with redis.Redis(port=node.port, **options) as client:
        assert client.ping()
        job = client.execute_command("ADDJOB", "q", "x", 0)
        assert client.execute_command("GETJOB", "FROM", "q") == [[b"q", job, b"x"]]
        assert client.execute_command("GETJOB", "NOHANG", "FROM", "q") is None
        assert client.client_getname() == options.get("client_name")
        assert client.client_id() > 0
        assert client.config_get("port") == {"port": str(node.port)}
        assert client.info("clients")["connected_clients"] == 1


@pytest.mark.parametrize("options", [{}, {"username": "default"}, {"protocol": 2}])
def test_redis_py_logs_in(options: dict[str, Any]) -> None:
    """redis-py's password works with and without a user name, and a wrong one is told as such."""
    once = Retry(NoBackoff(), 0)
    with Server(password="secret") as server:
        with redis.Redis(port=server.port, password="secret", **options) as client:
            assert client.ping()
        with (
            redis.Redis(port=server.port, password="wrong", retry=once, **options) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()


# CLIENT


def clients(peer: Peer) -> list[dict[str, str]]:
    lines = peer.ask("CLIENT", "LIST").decode().splitlines()
    return [dict(field.split("=", 1) for field in line.split(" ")) for line in lines]


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


# MONITOR


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
    monkeypatch.setattr("pydisque.node.node.MONITOR_BACKLOG", 1_000_000)
    assert connect().ask("MONITOR") == b"OK"
    body = b"x" * 500_000

    def cut_off() -> bool:
        peer.ask("PING", body)
        return len(clients(peer)) == 1

    until(cut_off)


# CONFIG and limits


def test_config_get_and_set(node: Server, peer: Peer) -> None:
    """What is set is what is shown; the port is the one it listens on."""
    assert peer.ask("CONFIG", "GET", "port") == [b"port", str(node.port).encode()]
    assert peer.ask("CONFIG", "SET", "MaxMemory", "2mb") == b"OK"
    assert peer.ask("CONFIG", "GET", "maxm*y") == [
        b"maxmemory", b"2097152", b"maxmemory-policy", b"acks"
    ]  # fmt: skip
    assert peer.ask("CONFIG", "GET", "nothing") == []
    assert error(peer.ask("CONFIG", "SET", "port", 1)) == "ERR Unsupported CONFIG parameter: port"
    assert error(peer.ask("CONFIG", "Get")) == "ERR Wrong number of arguments for CONFIG Get"
    assert error(peer.ask("CONFIG", "REWRITE")) == "ERR The server is running without a config file"
    only = "ERR CONFIG subcommand must be one of GET, SET, RESETSTAT, REWRITE"
    assert error(peer.ask("CONFIG", "bogus")) == only


def test_maxclients(peer: Peer, connect: Connect) -> None:
    """One client too many hears why and is hung up on; when one leaves there is room again."""
    peer.ask("CONFIG", "SET", "maxclients", 2)
    second = connect()
    assert second.ask("PING") == b"PONG"
    assert connect().rest() == b"-ERR max number of clients reached\r\n"
    second.sock.close()
    until(lambda: info(peer)["connected_clients"] == "1")
    assert connect().ask("PING") == b"PONG"
    assert info(peer)["rejected_connections"] == "1"


def test_idle_clients_are_dropped(peer: Peer, connect: Connect) -> None:
    """With `timeout` set idle clients are hung up on; those that wait for a job are not."""
    idle, waiting = connect(), connect()
    idle.ask("PING")
    waiting.send("GETJOB", "FROM", "q")
    wait_for_blocked(peer, "q", 1)
    peer.ask("CONFIG", "SET", "timeout", 1)

    def dropped() -> bool:
        return len(clients(peer)) == 2  # asking keeps this one busy

    until(dropped)
    assert idle.rest() == b""
    peer.ask("ADDJOB", "q", "x", 0)
    assert waiting.read()


OOM = "OOM command not allowed when used memory > 'maxmemory'."
NO_COPY = (
    "NOREPL Not enough reachable nodes for the requested replication level, since I'm unable to "
    "hold a copy of the message for the following reason: I'm out of memory"
)


def test_memory_runs_short_in_two_steps(peer: Peer) -> None:
    """Above 75 % no job is added, above 95 % none is put back either; taking and acking work."""
    body = b"x" * 1_000_000
    jobs = [peer.ask("ADDJOB", "q", body, 0) for _ in range(4)]
    peer.ask("GETJOB", "FROM", "q")
    used = int(info(peer)["used_memory"])
    peer.ask("CONFIG", "SET", "maxmemory", used * 100 // 85)
    assert error(peer.ask("ADDJOB", "q", "x", 0)) == NO_COPY
    assert error(peer.ask("ADDJOB", "q", "x", 0, "ASYNC")) == NO_COPY
    plain = "NOREPL Not enough reachable nodes for the requested replication level"
    assert error(peer.ask("ADDJOB", "q", "x", 0, "REPLICATE", 2)) == plain
    assert peer.ask("NACK", jobs[0]) == 1
    peer.ask("CONFIG", "SET", "maxmemory", used)
    for words in (["ADDJOB", "q", "x", "0", "BOGUS"], ["NACK"], ["ENQUEUE", "x"]):
        assert error(peer.ask(*words)) == OOM
    assert peer.ask("DEQUEUE", jobs[1]) == 1
    assert len(peer.ask("GETJOB", "COUNT", 9, "FROM", "q")) == 3
    assert peer.ask("ACKJOB", *jobs[1:]) == 3
    assert peer.ask("NACK", jobs[0]) == 1
    assert peer.ask("ADDJOB", "q", "x", 0)


def test_spent_jobs_make_room(peer: Peer) -> None:
    """With policy `acks` jobs delivered at most once go first; with `noeviction` nothing goes."""
    for _ in range(4):
        peer.ask("ADDJOB", "q", b"x" * 1_000_000, 0, "RETRY", 0)
    peer.ask("GETJOB", "COUNT", 3, "FROM", "q")
    limit = int(info(peer)["used_memory"]) * 100 // 96
    peer.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    peer.ask("CONFIG", "SET", "maxmemory", limit)
    assert error(peer.ask("NACK")) == OOM
    peer.ask("CONFIG", "SET", "maxmemory-policy", "acks")
    assert peer.ask("NACK") == 0
    assert info(peer)["registered_jobs"] == "3"
    assert peer.ask("QLEN", "q") == 1


def test_maxmemory_zero(peer: Peer) -> None:
    """maxmemory 0 means always too much for ADDJOB, never for the others."""
    job = peer.ask("ADDJOB", "q", "x", 0)
    assert peer.ask("CONFIG", "SET", "maxmemory", 0) == b"OK"
    assert error(peer.ask("ADDJOB", "q", "x", 0)) == NO_COPY
    assert peer.ask("DEQUEUE", job) == 1
    assert peer.ask("ENQUEUE", job) == 1


# SLOWLOG, LATENCY, INFO, COMMAND, DEBUG, CLUSTER


def test_slowlog(peer: Peer) -> None:
    """Slow commands are kept, newest first, cut to 32 arguments of 128 bytes, up to a number."""
    peer.ask("DEBUG", "SLEEP", "0.02")
    (entry,) = peer.ask("SLOWLOG", "GET")
    assert (entry[0], entry[3]) == (0, [b"DEBUG", b"SLEEP", b"0.02"])
    assert entry[2] >= 20_000
    assert peer.ask("SLOWLOG", "RESET") == b"OK"
    peer.ask("CONFIG", "SET", "slowlog-log-slower-than", 0)
    peer.ask("PING", b"x" * 130)
    peer.ask("DEQUEUE", *["D-" + "0" * 8 + "-" + "0" * 24 + "-0000"] * 40)
    many, long = (entry[3] for entry in peer.ask("SLOWLOG", "GET", 2))
    assert long[1] == b"x" * 128 + b"... (2 more bytes)"
    assert len(many) == 32
    assert many[-1] == b"... (10 more arguments)"
    peer.ask("CONFIG", "SET", "slowlog-max-len", 2)
    peer.ask("PING")
    assert peer.ask("SLOWLOG", "LEN") == 2
    assert len(peer.ask("SLOWLOG", "GET", -1)) == 2
    assert "Unknown SLOWLOG subcommand" in error(peer.ask("SLOWLOG", "bogus"))


def test_latency(peer: Peer) -> None:
    """With a threshold set LATENCY tells which commands were slow, how often, how much."""
    assert b"off" in peer.ask("LATENCY", "DOCTOR")
    peer.ask("CONFIG", "SET", "latency-monitor-threshold", 20)
    assert peer.ask("LATENCY", "LATEST") == []
    assert peer.ask("LATENCY", "HISTORY", "debug") == []
    peer.ask("DEBUG", "SLEEP", "0.03")
    ((event, when, last, most),) = peer.ask("LATENCY", "LATEST")
    assert event == b"debug"
    assert most >= last >= 30
    assert peer.ask("LATENCY", "HISTORY", "debug") == [[when, last]]
    assert b"debug: 1 samples" in peer.ask("LATENCY", "DOCTOR")
    assert b"high" in peer.ask("LATENCY", "GRAPH", "debug")
    graph = error(peer.ask("LATENCY", "GRAPH", "x"))
    assert graph == "ERR No samples available for event 'x'"
    assert (peer.ask("LATENCY", "RESET", "x"), peer.ask("LATENCY", "RESET")) == (0, 1)


def test_info_tells_the_truth(node: Server, peer: Peer, connect: Connect) -> None:
    """The figures of INFO are those of this node."""
    waiting = connect()
    waiting.send("GETJOB", "FROM", "empty")
    wait_for_blocked(peer, "empty", 1)
    jobs = [peer.ask("ADDJOB", "q", b"x" * 100_000, 0) for _ in range(3)]
    peer.ask("ACKJOB", jobs[0])
    now = info(peer)
    assert (now["connected_clients"], now["blocked_clients"]) == ("2", "1")
    assert (now["registered_jobs"], now["registered_queues"]) == ("2", "2")
    assert int(now["used_memory_peak"]) >= int(now["used_memory"]) > 1_200_000
    assert now["tcp_port"] == str(node.port)
    assert now["cmdstat_addjob"].startswith("calls=3,usec=")
    assert now["cmdstat_ackjob"].startswith("calls=1,usec=")
    assert "cmdstat_nack" not in now
    assert now["total_connections_received"] == "2"
    assert int(now["total_net_input_bytes"]) > 300_000
    before = int(now["total_commands_processed"])
    peer.ask("PING")
    assert int(info(peer)["total_commands_processed"]) == before + 2
    assert peer.ask("CONFIG", "RESETSTAT") == b"OK"
    assert int(info(peer)["total_commands_processed"]) <= 2
    assert peer.ask("DEBUG", "FLUSHALL") == b"OK"
    assert info(peer)["registered_jobs"] == "0"


def test_sections_of_info(peer: Peer) -> None:
    """One section or all of them, in the order Disque has; unknown ones are empty."""
    sections = [line for line in peer.ask("INFO").decode().split("\r\n") if line[:1] == "#"]
    names = "Server Clients Memory Jobs Queues Persistence Stats CPU"
    assert sections == [f"# {name}" for name in names.split()]
    assert peer.ask("INFO", "JOBS") == b"# Jobs\r\nregistered_jobs:0\r\n"
    assert peer.ask("INFO", "bogus") == b""
    assert b"# Commandstats\r\ncmdstat_" in peer.ask("INFO", "all")
    assert error(peer.ask("INFO", "a", "b")) == "ERR syntax error"


def test_command(peer: Peer) -> None:
    """COMMAND lists all 32 commands with arity and flags; DOCS has a line about each."""
    listed = {entry[0]: entry[1:] for entry in peer.ask("COMMAND")}
    assert peer.ask("COMMAND", "COUNT") == len(listed) == 32
    assert listed[b"addjob"] == [-4, [b"write", b"denyoom", b"fast"], 0, 0, 0]
    assert peer.ask("COMMAND", "INFO", "PING", "bogus") == [[b"ping", *listed[b"ping"]], None]
    docs = peer.ask("COMMAND", "DOCS")
    assert len(docs) == 2 * 32
    assert all(b"." in entry[1] for entry in docs[1::2])
    assert peer.ask("COMMAND", "DOCS", "Ping", "bogus")[0] == b"ping"
    unknown = "ERR Unknown subcommand or wrong number of arguments."
    assert error(peer.ask("COMMAND", "bogus")) == unknown


def test_cluster_of_one(node: Server, peer: Peer) -> None:
    """CLUSTER answers for a node that is alone."""
    mine = peer.ask("CLUSTER", "MYID")
    assert peer.ask("HELLO") == [1, mine, [mine, b"", str(node.port).encode(), b"1"]]
    assert peer.ask("CLUSTER", "NODES") == b"%b :%d myself 0 0 connected\n" % (mine, node.port)
    assert b"cluster_known_nodes:1\r\ncluster_reachable_nodes:0" in peer.ask("CLUSTER", "INFO")
    assert peer.ask("CLUSTER", "SAVECONFIG") == b"OK"
    assert "forget myself" in error(peer.ask("CLUSTER", "FORGET", mine))
    assert error(peer.ask("CLUSTER", "FORGET", "f" * 40)) == f"ERR Unknown node {'f' * 40}"
    assert error(peer.ask("CLUSTER", "FORGET", "x")) == "ERR Invalid node identifier"
    assert error(peer.ask("CLUSTER", "MEET", "x", 1)) == "ERR Invalid node address specified: x:1"
    peer.ask("ADDJOB", "q", "x", 0)
    assert peer.ask("CLUSTER", "RESET") == b"OK"
    assert (peer.ask("QLEN", "q"), peer.ask("CLUSTER", "MYID")) == (0, mine)
    assert peer.ask("CLUSTER", "RESET", "HARD") == b"OK"
    renewed = peer.ask("CLUSTER", "MYID")
    assert renewed != mine
    assert peer.ask("ADDJOB", "q", "x", 0)[2:10] == renewed[:8]


def test_debug(peer: Peer) -> None:
    """DEBUG flushes, sleeps and answers errors; nothing it does here ends the node."""
    assert error(peer.ask("DEBUG", "ERROR", "WORD a\r\nb")) == "WORD a  b"
    assert peer.ask("DEBUG", "SLEEP", "nonsense") == b"OK"
    assert b"job:" in peer.ask("DEBUG", "STRUCTSIZE")
    for word in ("SEGFAULT", "RESTART", "CRASH-AND-RECOVER", "ASSERT", "OOM", "LOADAOF", "x\0y"):
        shown = word.partition("\0")[0]
        assert error(peer.ask("DEBUG", word)) == (
            f"ERR Unknown DEBUG subcommand or wrong number of arguments for '{shown}'"
        )
    assert peer.ask("PING") == b"PONG"


def test_what_a_journal_is_asked(peer: Peer) -> None:
    """Commands about Disque's files answer as there is nothing to do or nothing to load."""
    assert peer.ask("BGREWRITEAOF") == b"Background append only file rewriting started"
    assert "only processed from AOF" in error(peer.ask("LOADJOB", "x"))


def test_time(peer: Peer) -> None:
    """TIME tells seconds and microseconds, and goes on."""
    one, two = peer.ask("TIME"), peer.ask("TIME")
    assert tuple(map(int, one)) <= tuple(map(int, two))
    assert int(one[1]) < 1_000_000


# Clients that do not read


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
