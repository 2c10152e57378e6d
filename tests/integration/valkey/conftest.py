"""A Valkey for each module, a system of its own in it for each test, and nodes of that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from pydisque.node import Server
from support.resp_peer import Peer
from support.servers import NodeProcess, unique
from support.valkeys import ValkeyProcess, valkey


@pytest.fixture(scope="module")
def shared() -> Iterator[ValkeyProcess]:
    """A Valkey that nobody hurts."""
    with valkey() as process:
        yield process


@pytest.fixture
def place(shared: ValkeyProcess) -> str:
    """A system that is new."""
    return f"{shared.url}?prefix={unique('system')}"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is entered here ends with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def nodes(stack: ExitStack) -> Callable[..., list[Server]]:
    """Makes nodes in this process."""
    return lambda place, count=1, **settings: [
        stack.enter_context(Server(store=place, **settings)) for _ in range(count)
    ]


@pytest.fixture
def processes(stack: ExitStack) -> Callable[[str, int], list[NodeProcess]]:
    """Makes nodes that can be killed."""
    return lambda place, count=1: [
        stack.enter_context(NodeProcess("--store", place)) for _ in range(count)
    ]


@pytest.fixture
def connect(stack: ExitStack) -> Callable[..., Peer]:
    """Makes connections to a node."""
    return lambda node: stack.enter_context(Peer(node.address))
