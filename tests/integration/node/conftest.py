"""Every test has a node of its own in this process, so it may turn any knob."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pydisque.node import Server
from support.resp_peer import Connect, Peer


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
