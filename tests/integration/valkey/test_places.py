"""Which Valkeys a node works with, and what it says of those it does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pydisque.node import Server
from pydisque.node.store.valkey.connection import LineLostError
from pydisque.node.store.valkey.keys import VERSION
from pydisque.node.store.valkey.topology import WrongPlaceError
from support.resp_peer import info
from support.servers import unique, until
from support.valkeys import valkey


def refusal(place: str) -> str:
    """Why a node does not start."""
    with pytest.raises((WrongPlaceError, LineLostError)) as caught, Server(store=place):
        pass
    return str(caught.value)


def test_jobs_must_not_be_thrown_away():
    """A Valkey that evicts is refused, by what is to be set."""
    with valkey("--maxmemory-policy", "allkeys-lru") as other:
        told = refusal(other.url)
    assert "its maxmemory-policy is allkeys-lru, and has to be noeviction" in told


def test_passwords(stack, nodes, connect):
    """With the right one all works; a wrong one, and none, is said at once, and not repeated."""
    own = stack.enter_context(valkey())
    own.ask("CONFIG", "SET", "requirepass", "se:cret")
    right, wrong = (own.url.replace("://", f"://:{word}@") for word in ("se%3Acret", "guess"))
    [node] = nodes(right)
    peer = connect(node)
    assert peer.ask("ADDJOB", "q", "x", 0)
    assert "se:cret" not in str(info(peer))
    told = refusal(wrong)
    assert "WRONGPASS" in told
    assert "guess" not in told
    assert "NOAUTH" in refusal(own.url)


def test_what_a_process_says():
    """`pydisque serve` ends with one line when a Valkey cannot be used."""
    with valkey("--maxmemory-policy", "allkeys-lru") as other:
        command = [sys.executable, "-m", "pydisque", "serve", "--port", "0", "--store", other.url]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"Error: cannot serve: Valkey at {other.address} may throw jobs")
    assert len(ended.stderr.splitlines()) == 1


def test_another_layout(shared, place):
    """What a newer pydisque has written is left alone."""
    prefix = place.partition("prefix=")[2]
    shared.ask("HSET", prefix + "{0}:layout", "version", VERSION + 1)
    told = refusal(place)
    assert f"has layout {VERSION + 1}, and this pydisque knows layout {VERSION} only" in told
    assert "upgrade pydisque" in told
    assert "shards" not in shared.ask("HGETALL", prefix + "{0}:layout")


def test_another_number_of_shards(shared, place, nodes):
    """It is decided when a system is new; who says nothing gets what there is."""
    nodes(f"{place}&shards=3")
    assert "has 3 shards, not 4" in refusal(f"{place}&shards=4")
    nodes(place)


@pytest.mark.parametrize("known", [False, True])
def test_a_replica_leads_to_its_primary(stack, nodes, connect, known):
    """A replica is enough to find the primary, which is used."""
    primary = stack.enter_context(valkey())
    replica = stack.enter_context(valkey("--replicaof", "127.0.0.1", str(primary.port)))
    until(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"))
    hosts = f"{replica.address},{primary.address}" if known else replica.address
    [node] = nodes(f"valkey://{hosts}")
    peer = connect(node)
    assert peer.ask("ADDJOB", "q", "x", 0)
    assert info(peer)["valkey_servers"] == primary.address


def test_databases_and_prefixes_are_apart(shared, place, nodes, connect):
    """Systems in other databases, or with another prefix, see nothing of each other."""
    if shared.ask("CONFIG", "GET", "databases")[1] == b"1":
        pytest.skip("this server has one database")
    url, _, option = place.partition("?")
    places = [place, f"{url}/3?{option}", f"{url}?prefix={unique('other')}"]
    peers = [connect(node) for each in places for node in nodes(each)]
    waiting = [connect(node) for each in places for node in nodes(each)]
    for each in waiting:
        each.send("GETJOB", "FROM", "q")
    for peer in peers:
        until(lambda peer=peer: (peer.ask("QSTAT", "q") or [0] * 10)[9] == 1)
    jobs = [peer.ask("ADDJOB", "q", number, 0) for number, peer in enumerate(peers)]
    assert [each.read()[0][1] for each in waiting] == jobs
    for peer, job in zip(peers, jobs, strict=True):
        assert [each.ask("SHOW", job) is not None for each in peers].count(True) == 1
        assert peer.ask("SHOW", job)
        until(lambda peer=peer: len(peer.ask("HELLO")) == 4)


def test_info_says_what_is_kept(place, nodes, connect):
    """INFO promises no file of this node's own, and tells what may be lost."""
    (node,) = nodes(place)
    told = connect(node).ask("INFO", "persistence").decode().splitlines()
    assert "aof_enabled:0" in told
    assert any(
        row.startswith("may_lose:nothing when a node ends; what its replicas") for row in told
    )
