"""Queues that clients only asked for, beside those with jobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pydisque import Client
from pydisque.node import Server
from support.resp_peer import Peer, wait_for_blocked
from support.servers import until
from support.valkeys import valkey


@pytest.fixture(params=["memory", "durable", "valkey"])
def stored(request: pytest.FixtureRequest, tmp_path) -> Iterator[Server]:
    """A node on each store."""
    if request.param == "valkey":
        with valkey() as server, Server(store=server.url) as node:
            yield node
    else:
        with Server(data=tmp_path if request.param == "durable" else None) as node:
            yield node


def test_asked_queue_with_a_job_is_listed_once(stored: Server) -> None:
    """Its length is that of the jobs for each filter, in one reply and over many steps."""
    with Peer(stored.address) as peer, Client(stored.address) as client:
        names = [b"q%d" % n for n in range(30)]
        assert peer.ask("GETJOB", "NOHANG", "FROM", *names) is None
        for name in names[::2]:
            peer.ask("ADDJOB", name, "x", 0)
        assert sorted(peer.ask("QSCAN", "BUSYLOOP")[1]) == sorted(names)
        assert sorted(peer.ask("QSCAN", "BUSYLOOP", "MAXLEN", 0)[1]) == sorted(names[1::2])
        assert sorted(peer.ask("QSCAN", "BUSYLOOP", "MINLEN", 1)[1]) == sorted(names[::2])
        assert peer.ask("QSCAN", "BUSYLOOP", "IMPORTRATE", 1)[1] == []
        assert sorted(client.iter_queues(count=4)) == sorted(names)
        assert b"registered_queues:30\r" in peer.ask("INFO", "queues")
        assert peer.ask("QSTAT", "q0")[3] == 1


def test_asked_queue_stays_after_its_client(stored: Server) -> None:
    """A client that disconnects or waits in vain leaves an empty queue, with nobody blocked."""
    with Peer(stored.address) as peer:
        assert peer.ask("GETJOB", "TIMEOUT", 1, "FROM", "waited") is None
        with Peer(stored.address) as other:
            other.send("GETJOB", "FROM", "left")
            wait_for_blocked(peer, "left", 1)
        until(lambda: peer.ask("QSTAT", "left")[9] == 0)
        assert sorted(peer.ask("QSCAN", "BUSYLOOP")[1]) == [b"left", b"waited"]
        assert peer.ask("PAUSE", "left", "in") == b"in"
        assert sorted(peer.ask("QSCAN", "BUSYLOOP")[1]) == [b"left", b"waited"]


def test_found_job_leaves_other_names_unknown(stored: Server) -> None:
    """A GETJOB that returns a job remembers none of its names."""
    with Peer(stored.address) as peer:
        peer.ask("ADDJOB", "q", "x", 0)
        assert peer.ask("GETJOB", "NOHANG", "FROM", "empty", "q")[0][0] == b"q"
        assert peer.ask("QSTAT", "empty") is None
