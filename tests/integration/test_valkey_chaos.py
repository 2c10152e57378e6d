"""A short round of faults of nodes and of their Valkey; `make chaos-valkey` runs long ones."""

from __future__ import annotations

import pytest

from harness.chaos.failovers import Plan, run

SHORT = {
    "sentinel": ("kill-node", "stop-primary", "cut", "kill-primary"),
    "cluster": ("kill-node", "cut", "kill-primary", "failover", "reshard", "migrate"),
}
"""Faults that take no time by themselves."""


@pytest.mark.parametrize("topology", SHORT)
def test_faults_break_no_promise(topology: str) -> None:
    """What was confirmed is delivered until it is acknowledged, and never after, whatever fails."""
    outcome = run(Plan(topology, faults=5, seed=2, modes=SHORT[topology], pause=0.5))
    assert not outcome.violations, str(outcome)
    assert outcome.history.counts["adds confirmed"] > 100
    assert outcome.history.counts["redeliveries"]


@pytest.mark.parametrize("topology", SHORT)
def test_living_primaries_are_replaced(topology: str) -> None:
    """What was confirmed survives that another replica than the one that has it is promoted."""
    plan = Plan(topology, 2, seed=3, modes=("replace",), priorities=(100, 100), pause=0.5)
    outcome = run(plan)
    assert not outcome.violations, str(outcome)
    assert outcome.history.counts["adds confirmed"] > 100


def test_going_without_copies_has_its_price() -> None:
    """A judge who finds nothing where something has to be lost would find nothing ever."""
    plan = Plan("cluster", faults=4, seed=6, replicate=0, modes=("kill-primary",), pause=0.5)
    outcome = run(plan)
    assert not outcome.violations, str(outcome)
    assert outcome.costs, str(outcome)
