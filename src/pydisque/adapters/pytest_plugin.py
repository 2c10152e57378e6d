"""pytest fixtures: a node of your own for tests, in memory and in this process.

Installed with pydisque; nothing to import. Ask for `disque_server` or `disque_client`, for
`disque_clock` beside them if time is to pass, and for `disque_worker` to run a worker's handlers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # a test run that does not ask for the fixtures need not load any of this
    from pydisque.client.client import Client
    from pydisque.node import Server
    from pydisque.testing import Clock, InlineWorker
    from pydisque.worker import Worker


@pytest.fixture
def disque_clock() -> Clock:
    """A clock that stands still until it is advanced; `disque_server` runs on it."""
    from pydisque.testing import Clock  # noqa: PLC0415

    return Clock()


@pytest.fixture
def disque_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A node on a free port of loopback, empty, stopped after the test.

    It runs on `disque_clock` if the test asks for that as well.
    """
    from pydisque.node import Server  # noqa: PLC0415

    timed = "disque_clock" in request.fixturenames
    with request.getfixturevalue("disque_clock").server() if timed else Server() as server:
        yield server


@pytest.fixture
def disque_client(disque_server: Server) -> Iterator[Client]:
    """A client of `disque_server`."""
    from pydisque.client.client import Client  # noqa: PLC0415

    with Client(disque_server.address) as client:
        yield client


@pytest.fixture
def disque_worker(
    disque_client: Client, disque_clock: Clock
) -> Iterator[Callable[[Worker | Mapping[str, Callable[[Any], Any]]], InlineWorker]]:
    """Makes of a `Worker`, or of functions by queue, an `InlineWorker` that runs in the test.

    Its node is `disque_server`, its time `disque_clock`.
    """
    from pydisque.testing import InlineWorker  # noqa: PLC0415

    with ExitStack() as stack:
        yield lambda worker: stack.enter_context(InlineWorker(worker, disque_client, disque_clock))
