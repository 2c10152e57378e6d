"""The durable store's time across restarts, when the system's clock was set meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace

import pytest

from pydisque.node.store import base
from pydisque.node.store.durable.store import DurableStore

NOON = 1_800_000_000_000
HOUR = 3_600_000

Open = Callable[[int], DurableStore]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the store at a time of the system's clock, which then stands; the one before ends."""
    reports: SimpleQueue[Callable[[], None]] = SimpleQueue()
    now: list[DurableStore] = []

    def end() -> None:
        for old in now:
            outcomes: list[str] = []
            old.commit(outcomes.append)
            while not outcomes:
                reports.get()()
            assert outcomes == [""]
            old.close()
        now.clear()

    def start(wall: int) -> DurableStore:
        end()
        clock = SimpleNamespace(time_ns=lambda: wall * 1_000_000, monotonic_ns=lambda: 0)
        monkeypatch.setattr(base, "time", clock)
        now.append(DurableStore(str(tmp_path), reports.put))
        return now[0]

    yield start
    end()


def leased(opened: Open) -> bytes:
    """A job that was delivered at noon, for a minute."""
    first = opened(NOON)
    first._jitter = lambda: 0
    id_ = first.add(b"q", b"x", ttl=86400, retry=60)
    assert first.get([b"q"])
    return id_


def test_a_clock_that_was_set_back_changes_nothing(opened: Open) -> None:
    """Time does not go back: the lease and the life of a job are as long as they were."""
    id_ = leased(opened)
    again = opened(NOON - HOUR)
    state = again.show(id_)
    assert again.now == NOON
    assert state is not None
    assert (state.requeue_within, state.ttl) == (60_000, 86400)
    again.advance(NOON + 59_999)
    assert again.length(b"q") == 0
    again.advance(NOON + 60_000)
    assert again.length(b"q") == 1


def test_time_in_which_a_node_is_down_is_time(opened: Open) -> None:
    """A lease that ended meanwhile is over, a job that expired is gone."""
    id_ = leased(opened)
    again = opened(NOON + 10 * 60_000)
    again.advance(again.now)
    assert again.length(b"q") == 1
    much_later = opened(NOON + 48 * HOUR)
    much_later.advance(much_later.now)
    assert much_later.show(id_) is None
    assert much_later.count == 0


def test_ages_go_on_after_a_clock_was_set_back(opened: Open) -> None:
    """A job that is added then is younger than those before, and has an ID of its own."""
    id_ = leased(opened)
    again = opened(NOON - HOUR)
    other = again.add(b"q", b"y")
    assert other != id_
    again.nack([id_])
    assert [job.id for job in again.peek(b"q", 9)] == [id_, other]
