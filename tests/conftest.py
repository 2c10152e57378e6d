"""Fixtures for all tests: the kinds of server that have to keep the same promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import servers


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here; done here and not in the fixture, all skips make one line."""
    kind = item.callspec.params.get("server") if hasattr(item, "callspec") else None
    if kind and (reason := servers.lacks(kind)):
        pytest.skip(reason)


@pytest.fixture(scope="session", params=servers.KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[servers.Deployment]:
    """Each kind of server in turn, one for the whole run: use queues of your own, see `queue`."""
    with servers.running(request.param) as deployment:
        yield deployment


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> str:
    """The name of a queue nobody else uses."""
    return servers.unique(request.node.name)
