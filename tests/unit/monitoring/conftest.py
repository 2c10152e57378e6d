"""A node for surveys, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pydisque import Client
from pydisque.node import Server


@pytest.fixture
def node() -> Iterator[Server]:
    with Server() as node:
        yield node


@pytest.fixture
def client(node: Server) -> Iterator[Client]:
    with Client(node.address) as client:
        yield client
