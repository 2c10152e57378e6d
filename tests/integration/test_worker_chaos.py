"""A short round of workers that die; `make chaos-workers` runs long ones, of trouble as well."""

from __future__ import annotations

from harness.chaos.workers import Plan, run


def test_deaths_of_workers_break_no_promise() -> None:
    """However workers end, every job is done, and none is run twice without a reason."""
    outcome = run(Plan(deaths=8, seed=7, rate=100, workers=3, pause=0.8))
    assert not outcome.violations, str(outcome)
    assert outcome.story.counts["adds confirmed"] > 100
    assert any(what.startswith("its worker") for what in outcome.explained), str(outcome)
