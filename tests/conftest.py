"""Fixtures for all tests: the kinds of server that have to keep the same promises."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support import servers

# Hypothesis switches rules of a state machine off, and then complains that few of its choices fit.
settings.register_profile(
    "pydisque", deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)
settings.load_profile("pydisque")

# Whoever is started in the background ignores Ctrl-C, and so do the processes that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here; done here and not in the fixture, all skips make one line."""
    kind = item.callspec.params.get("server") if hasattr(item, "callspec") else None
    if kind and (reason := servers.lacks(kind)):
        pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where nodes keep their jobs that are not told where: not in the home of whoever tests."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("data")
        patch.setenv("XDG_DATA_HOME", str(home))
        yield home


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """A command that is run within a test says what is logged: no longer than that."""
    loggers = [logging.getLogger(name) for name in ("pydisque", "pydisque.dashboard")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


# Each kind of server in turn, one for the whole run: use queues of your own, see `queue`.
server = servers.serving(*servers.KINDS)


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> str:
    """The name of a queue nobody else uses."""
    return servers.unique(request.node.name)
