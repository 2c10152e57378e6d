"""Passwords, Redis's handshake, and redis-py with its defaults."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pydisque.node import Server
from support.resp_peer import Connect, Peer, error, pack


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
