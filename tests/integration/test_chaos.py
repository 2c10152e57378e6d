"""A short round of kills, of pulled plugs and of failing disks; `make chaos` runs long ones."""

from __future__ import annotations

import pytest

from harness.chaos import faults
from harness.chaos.chaos import Plan, run


def test_kills_break_no_promise() -> None:
    """Whatever moment a node is killed at, what it told its clients stays true."""
    outcome = run(Plan(kills=6, seed=7, seconds=0.5))
    assert not outcome.violations, str(outcome)
    assert outcome.history.counts["redeliveries"]
    assert outcome.history.counts["acks confirmed"] > 100


@pytest.mark.skipif(bool(faults.lacking()), reason=str(faults.lacking()))
@pytest.mark.parametrize("durability", ["always", "everysec"])
def test_pulled_plugs_break_no_promise(durability: str) -> None:
    """What a disk may forget when the power goes was not confirmed with `always`, and not more than
    about a second before with `everysec`."""
    outcome = run(Plan(kills=5, seed=8, seconds=0.5, durability=durability, plug=True))
    assert not outcome.violations, str(outcome)
    assert outcome.history.counts["unsynced changes at pulled plugs"]


@pytest.mark.skipif(bool(faults.lacking()), reason=str(faults.lacking()))
def test_failing_disks_break_no_promise() -> None:
    """A disk that fails while everybody works makes the node refuse work, and lose none."""
    outcome = run(Plan(kills=3, seed=9, seconds=0.5, faults=True))
    assert not outcome.violations, str(outcome)
