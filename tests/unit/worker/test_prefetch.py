"""How many jobs a worker asks for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pydisque.worker.consumer.prefetch import Appetite


def test_at_first_only_what_can_run():
    """While it is not known how long jobs take, none is fetched ahead."""
    appetite = Appetite(16, 500)
    assert appetite.room(0) == 16
    assert appetite.room(15) == 1
    assert appetite.room(16) == 0


def test_long_jobs_stay_with_the_node():
    """Jobs of a second are fetched when there is room to run them."""
    appetite = Appetite(16, 500)
    appetite.took(160.0, 160)
    assert appetite.ahead == 0


def test_short_jobs_are_fetched_ahead_in_batches():
    """Jobs of a moment are fetched by the hundred, and only when the store is half empty."""
    appetite = Appetite(16, 500)
    appetite.took(0.001, 1000)
    assert appetite.room(0) == 516
    assert appetite.room(400) == 0
    assert appetite.room(200) == 316


def test_one_long_job_changes_little_many_change_all():
    """The measure follows what jobs take, slowly enough not to follow every single one."""
    appetite = Appetite(16, 500)
    appetite.took(0.01, 1000)
    appetite.took(0.1, 1)
    assert appetite.ahead > 0
    for _ in range(400):
        appetite.took(1.0, 1)
    assert appetite.ahead == 0


def test_a_line_that_stands_still_ends_it():
    """When what was fetched ahead does not begin, nothing more is fetched ahead."""
    appetite = Appetite(16, 500)
    appetite.took(0.001, 1000)
    appetite.spoilt(16.0)
    assert appetite.room(0) == 16


@given(
    st.integers(1, 100), st.integers(0, 1000), st.integers(0, 2000),
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 500))),
)  # fmt: skip
def test_never_more_than_allowed(concurrency, most, in_hand, times):
    """Whatever jobs take, never more is in hand than runs and may wait, and an idle worker asks."""
    appetite = Appetite(concurrency, most)
    for seconds, jobs in times:
        appetite.took(seconds, jobs)
    room = appetite.room(in_hand)
    assert 0 <= room <= max(0, concurrency + most - in_hand)
    assert appetite.room(0) >= concurrency
