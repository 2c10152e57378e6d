"""Priorities by queues, without a queue."""

from __future__ import annotations

import pytest

from pydisque.adapters.priorities import Steps


def test_without_steps_a_queue_is_alone():
    """Whatever its priority, a job goes into the queue itself."""
    steps = Steps()
    assert steps.of("q") == ["q"]
    assert {steps.queue_for("q", priority) for priority in (-5, 0, 5)} == {"q"}


REACHED = {100: "q:p50", 50: "q:p50", 49: "q:p1", 1: "q:p1", 0: "q", -1: "q:p-9", -99: "q:p-9"}


@pytest.mark.parametrize(("priority", "queue"), REACHED.items())
def test_a_job_goes_to_the_highest_step_it_reaches(priority, queue):
    """And what reaches none goes to the lowest."""
    steps = Steps([1, 50, -9])
    assert steps.queue_for("q", priority) == queue


def test_the_most_important_comes_first():
    """In the order in which queues are asked."""
    assert Steps([-9, 50, 1]).of("q") == ["q:p50", "q:p1", "q", "q:p-9"]


def test_a_step_is_an_int():
    """Anything else is refused when it is given."""
    with pytest.raises(TypeError, match="must be an int"):
        Steps(["1"])
