"""CONFIG, and the limits that it sets."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hiredis import ReplyError

from pydisque.node import Server
from support.resp_peer import Connect, Peer, clients, error, info, wait_for_blocked
from support.servers import until
from support.valkeys import valkey


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


def test_reply_queue_of_each_request_takes_no_room(peer: Peer, connect: Connect) -> None:
    """Empty queues that nobody uses go when ADDJOB needs their room; those in use stay."""
    peer.ask("ADDJOB", "full", "x", 0)
    peer.ask("PAUSE", "paused", "in")
    waiting = connect()
    waiting.send("GETJOB", "FROM", "awaited")
    wait_for_blocked(peer, "awaited", 1)
    peer.ask("CONFIG", "SET", "maxmemory", 3_000_000)
    for n in range(5000):
        job = peer.ask("ADDJOB", f"reply-{n}", "x", 0)
        assert not isinstance(job, ReplyError), n
        assert peer.ask("GETJOB", "FROM", f"reply-{n}")[0][1] == job
        assert peer.ask("ACKJOB", job) == 1
    assert int(info(peer)["used_memory"]) < 3_000_000
    assert {b"full", b"paused", b"awaited"} <= set(peer.ask("QSCAN", "COUNT", 10_000)[1])


@pytest.mark.parametrize("store", ["memory", "valkey"])
def test_queues_of_blocked_clients_are_clients_memory(store: str) -> None:
    """Clients that block for many queues are closed beyond client-memory; ADDJOB is not refused."""
    with ExitStack() as stack:
        url = stack.enter_context(valkey()).url if store == "valkey" else None
        node = stack.enter_context(Server(store=url, maxmemory="10mb", client_memory="20mb"))
        peer = stack.enter_context(Peer(node.address))
        greedy = [stack.enter_context(Peer(node.address)) for _ in range(6)]
        for n, each in enumerate(greedy):
            each.send("GETJOB", "FROM", *[f"{n}-{i}" for i in range(5000)])
        until(lambda: info(peer)["blocked_clients"] == "3")
        assert len(peer.ask("ADDJOB", "q", "x", 0)) == 40
        until(lambda: info(peer)["registered_queues"] == "15001")


def test_a_client_with_too_many_queues_for_its_memory_is_closed(
    peer: Peer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """It is closed as it begins to wait, which is no failure of its GETJOB."""
    peer.ask("CONFIG", "SET", "client-memory", "1mb")
    greedy = connect()
    greedy.send("GETJOB", "TIMEOUT", 100, "FROM", *range(5000))
    assert greedy.rest() == b""
    assert [record.levelname for record in caplog.records if "client" in record.msg] == ["WARNING"]
    assert "failed" not in caplog.text
    assert info(peer)["blocked_clients"] == "0"


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
