"""pytest fixtures: a node of your own for tests, in memory and in this process.

Installed with pydisque; nothing to import. Ask for `disque_server` or `disque_client`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # a test run that does not ask for the fixtures need not load any of this
    from pydisque.client import Client
    from pydisque.node import Server


@pytest.fixture
def disque_server() -> Iterator[Server]:
    """A node on a free port of loopback, empty, stopped after the test."""
    from pydisque.node import Server  # noqa: PLC0415

    with Server() as server:
        yield server


@pytest.fixture
def disque_client(disque_server: Server) -> Iterator[Client]:
    """A client of `disque_server`."""
    from pydisque.client import Client  # noqa: PLC0415

    with Client(disque_server.address) as client:
        yield client
