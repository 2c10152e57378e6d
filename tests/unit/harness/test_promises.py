"""The judge of the chaos runs: it sees each kind of broken promise, and no other."""

from __future__ import annotations

from random import Random

import pytest

from harness.chaos.disk import Change, held
from harness.chaos.history import Fate, History, Job, LostGet
from harness.chaos.promises import Promises

YES, NO, UNKNOWN = Fate.CONFIRMED, Fate.REFUSED, Fate.UNKNOWN


@pytest.fixture
def history() -> History:
    """One in which nothing happened yet."""
    return History(0)


def added(history: History, fate: Fate = YES, retry: int = 1, delay: int = 0) -> Job:
    """A job that was added in the first second."""
    job = history.new_job(b"once" if not retry else b"often", retry, delay, 10)
    job.note("add", 0.1, 0.2, fate, "producer")
    return job


def delivered(job: Job, *times: float) -> Job:
    """Delivered then, each time within a tenth of a second."""
    for time in times:
        job.note("delivery", time, time + 0.1, YES, "worker")
    return job


def broken(history: History, durability: str = "always") -> str:
    """What was found, in one text."""
    return "; ".join(violation.what for violation in Promises(history, durability).broken())


def test_a_good_life(history: History) -> None:
    """Delivered, delivered again in time, acknowledged: nothing is wrong with that."""
    delivered(added(history), 1, 2).note("ack", 3, 3.1, YES, "worker")
    delivered(added(history, UNKNOWN), 1)
    added(history, UNKNOWN)
    added(history, NO)
    delivered(added(history, retry=0), 1)
    assert not broken(history)


def test_a_lost_job(history: History) -> None:
    """One that was confirmed and never came is missed, but for what the plug explains."""
    added(history)
    assert "never delivered" in broken(history)
    history.plugs.append(1)
    assert "never delivered" in broken(history)
    assert not broken(history, "everysec")
    history.plugs[:] = [9]
    assert "never delivered" in broken(history, "everysec")


def test_a_job_after_its_end(history: History) -> None:
    """None may come after its ack was confirmed, unless it was on its way already."""
    job = delivered(added(history), 1, 3)
    job.note("ack", 1.2, 3.05, YES, "worker")
    assert not broken(history)
    job.note("ack", 1.2, 2.9, YES, "worker")
    assert "after its ack" in broken(history)


def test_a_job_too_early(history: History) -> None:
    """None may come again within its retry time less the jitter, unless it was nacked."""
    job = delivered(added(history, retry=2), 1, 2.5)
    assert "before its retry" in broken(history)
    job.note("nack", 2.3, 2.4, UNKNOWN, "worker")
    assert not broken(history)
    delivered(added(history, delay=1), 0.5)
    assert "before its delay" in broken(history)
    working = delivered(added(history, retry=2), 5, 7.5)
    working.note("working", 6, 6.1, YES, "worker")
    assert broken(history).count("before its retry") == 1


def test_a_job_that_was_at_most_once(history: History) -> None:
    """None may come twice, nor be lost otherwise than with a lost reply."""
    job = added(history, retry=0)
    assert "asked for in vain" in broken(history)
    history.lost_gets.append(LostGet(b"once", 1))
    assert not broken(history)
    delivered(job, 1, 9)
    assert "delivered again" in broken(history)


def test_a_job_nobody_sent(history: History) -> None:
    """What was refused, and what nobody knows, must not come."""
    job = added(history, NO)
    assert history.delivered(job.body) is job
    delivered(job, 1)
    assert "refused" in broken(history)
    assert history.delivered(job.body + b"?") is None
    assert "nobody sent" in broken(history)


@pytest.mark.parametrize("seed", range(30))
def test_a_pulled_plug_leaves_what_was_synced(seed: int) -> None:
    """Sectors that were not written since the last sync stay; others are old, new or torn."""
    synced = b"a" * 2048
    changes = [Change(0, 600, b"b" * 100), Change(1, 2000, b"c" * 1000), Change(2, 2500, None)]
    left = held(synced, changes, Random(seed))
    assert left[:600] == synced[:600]
    assert set(left[600:700]) <= set(b"ab")
    assert left[700:2000] == synced[700:2000]
    assert set(left[2000:2048]) <= set(b"ac")
    assert set(left[2048:]) <= set(b"c\0")
    assert 2048 <= len(left) <= 3000
