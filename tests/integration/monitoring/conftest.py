"""A survey of each kind of system, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from pydisque import Client
from pydisque.monitoring.monitor import Survey
from support.servers import Deployment

kinds = pytest.mark.parametrize(
    "server", ["memory", "valkey-3", "disque", "disque-3"], indirect=True
)


@pytest.fixture
def client(server: Deployment) -> Iterator[Client]:
    """A client of another node than the survey is told of, where there is one."""
    with Client(server.addresses[-1:]) as client:
        yield client


@pytest.fixture
async def survey(server: Deployment) -> AsyncIterator[Survey]:
    survey = Survey(server.addresses[:1])
    yield survey
    await survey.aclose()
