"""Replies wait for every replica that Sentinels would promote, and for no other."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator

import pytest

from harness.chaos.stores import SERVICE, Sentinels, Server
from pydisque.node import Server as Node
from support.cli import run
from support.resp_peer import Peer, error, info
from support.servers import until

SETTLED = 30
"""Seconds that Sentinels have to agree."""


@pytest.fixture(scope="module")
def system() -> Iterator[Sentinels]:
    """A primary, two replicas that may be promoted and one that may not, and three Sentinels."""
    with tempfile.TemporaryDirectory() as folder:
        sentinels = Sentinels(folder, ["--appendonly", "no"], 3, (100, 100, 0))
        for sentinel in sentinels.sentinels:
            sentinel.ask("SENTINEL", "SET", SERVICE, "down-after-milliseconds", 3000)
        try:
            yield sentinels
        finally:
            sentinels.close()


@pytest.fixture
def servers(system: Sentinels) -> Iterator[list[Server]]:
    """These; a test may stop them and change their roles."""
    primary, *replicas = system.servers
    yield system.servers
    for server in [*system.servers, *system.sentinels]:
        server.signal(signal.SIGCONT)
    for replica in replicas:
        replica.ask("REPLICAOF", "127.0.0.1", primary.port)
    until(system.healthy, SETTLED)


def no_copies(reply: object) -> bool:
    return str(error(reply)).startswith("NOREPL")


def sees(node: Node, connect, field: str, wanted: str) -> None:
    """Wait until INFO says so."""
    peer = connect(node)
    until(lambda: info(peer)[field] == wanted, SETTLED)


@pytest.fixture
def node(system: Sentinels, nodes) -> Node:
    """A node with nothing but the defaults, that gives up before the Sentinels do."""
    [node] = nodes(f"{system.url}&prefix=defaults", store_timeout=1)
    return node


@pytest.fixture
def peer(node: Node, connect) -> Peer:
    """A client of that node."""
    return connect(node)


@pytest.mark.parametrize("replicate", [1, 2])
def test_a_replica_that_was_promoted(system, servers, nodes, connect, replicate):
    """What only another replica has is refused, as the one that was promoted would not have it."""
    [node] = nodes(f"{system.url}&prefix=p{replicate}", replicate=replicate, store_timeout=1)
    peer = connect(node)
    assert peer.ask("ADDJOB", "before", "x", 0).startswith(b"D-")
    job = peer.ask("ADDJOB", "held", "x", 0)
    servers[1].ask("REPLICAOF", "NO", "ONE")
    assert no_copies(peer.ask("ADDJOB", "q", "x", 0))
    assert no_copies(peer.ask("GETJOB", "NOHANG", "FROM", "before"))
    assert no_copies(peer.ask("ACKJOB", job))
    until(lambda: peer.ask("QLEN", "q") == 0)
    until(lambda: peer.ask("QLEN", "before") == 1)


def test_a_stopped_replica_is_left_out_by_a_majority(servers, node, connect, peer):
    """Replies are refused until the Sentinels say that a replica is down, and then they go on."""
    stopped = servers[1]
    stopped.signal(signal.SIGSTOP)
    assert no_copies(peer.ask("ADDJOB", "q", "x", 0))
    sees(node, connect, "valkey_replicas_left_out", stopped.address)
    assert info(peer)["valkey_promotable_replicas"] == "1"
    assert peer.ask("ADDJOB", "q", "x", 0).startswith(b"D-")
    until(lambda: info(peer)["valkey_replies_wait_for"] == "")
    stopped.signal(signal.SIGCONT)
    sees(node, connect, "valkey_promotable_replicas", "2")
    assert peer.ask("ADDJOB", "q", "x", 0).startswith(b"D-")


def test_a_minority_of_sentinels_leaves_nothing_out(system, servers, node, connect, peer, caplog):
    """With one Sentinel of three a replica that is down holds replies back, as the log says."""
    for sentinel in system.sentinels[1:]:
        sentinel.signal(signal.SIGSTOP)
    servers[1].signal(signal.SIGSTOP)
    down = "s_down"
    until(lambda: down in str(system.sentinels[0].ask("SENTINEL", "REPLICAS", SERVICE)), SETTLED)
    for _ in range(2):
        assert no_copies(peer.ask("ADDJOB", "q", "x", 0))
    assert info(peer)["valkey_replies_wait_for"] == servers[1].address
    assert f"replies wait for the replica at {servers[1].address}" in caplog.text
    servers[1].signal(signal.SIGCONT)
    until(lambda: info(peer)["valkey_replies_wait_for"] == "", SETTLED)
    assert "replies no longer wait" in caplog.text


def test_a_replica_that_is_never_promoted(servers, node, peer):
    """One of priority 0 holds nothing back."""
    servers[3].signal(signal.SIGSTOP)
    for _ in range(3):
        assert peer.ask("ADDJOB", "q", "x", 0).startswith(b"D-")
    assert info(peer)["valkey_promotable_replicas"] == "2"


def test_replicate_0_waits_for_no_replica(system, servers, nodes, connect, caplog):
    """Who chooses so gets replies at once, and a warning at the start."""
    [node] = nodes(f"{system.url}&prefix=fast", replicate=0, store_timeout=1)
    peer = connect(node)
    assert "replicate is 0" in caplog.text
    for replica in servers[1:]:
        replica.signal(signal.SIGSTOP)
    job = peer.ask("ADDJOB", "q", "x", 0)
    assert peer.ask("GETJOB", "NOHANG", "FROM", "q") == [[b"q", job, b"x"]]
    assert no_copies(peer.ask("ADDJOB", "q", "x", 200, "REPLICATE", 2))
    assert "about a second of changes in a failover" in info(peer)["may_lose"]


def test_async_waits_for_nothing(servers, peer):
    """ASYNC is answered at once, whichever replicas there are."""
    for replica in servers[1:]:
        replica.signal(signal.SIGSTOP)
    assert peer.ask("ADDJOB", "q", "x", 0, "ASYNC").startswith(b"D-")


def test_every_change_waits(servers, node, connect, peer):
    """Not only jobs that are added: whatever is confirmed is there after a failover."""
    ids = [peer.ask("ADDJOB", f"q{number}", "x", 0, "RETRY", 60) for number in range(5)]
    for number in range(4):
        peer.ask("GETJOB", "FROM", f"q{number}")
    servers[1].ask("REPLICAOF", "NO", "ONE")
    changes = [
        ("NACK", ids[0]), ("ENQUEUE", ids[1]), ("WORKING", ids[2]), ("DELJOB", ids[3]),
        ("DEQUEUE", ids[4]), ("PAUSE", "q0", "all"),
    ]  # fmt: skip
    peers = [connect(node) for _ in changes]
    for one, change in zip(peers, changes, strict=True):
        one.send(*change)
    for one, change in zip(peers, changes, strict=True):
        assert no_copies(one.read()), change
    assert peer.ask("QLEN", "q4") is not None  # reading waits for nothing


def test_loading_waits_as_well(system, servers, nodes, connect, tmp_path):
    """`pydisque load` says that it has loaded jobs only if a replica that was promoted has them."""
    [node] = nodes(f"{system.url}&prefix=dumped", store_timeout=1)
    connect(node).ask("ADDJOB", "q", "x", 0)
    dump = tmp_path / "dump"
    assert run([], "dump", f"{system.url}&prefix=dumped", "--output", str(dump)).code == 0
    servers[1].ask("REPLICAOF", "NO", "ONE")
    loaded = run([], "load", f"{system.url}&prefix=loaded", str(dump))
    assert "NOREPL" in loaded.err or servers[1].ask("KEYS", "loaded{0}*"), loaded
