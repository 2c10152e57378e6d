"""Which leases are renewed when, and which are lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pydisque.worker.consumer.leases import AGAIN, FIRST, SHORTEST, Leases

from .jobs import a_job


def test_a_short_job_is_never_renewed():
    """A job that ends within half the shortest lease costs no renewal."""
    leases, job = Leases(), a_job()
    leases.hold([job], 100.0)
    assert leases.next_due() == 100.0 + FIRST
    assert leases.due(100.0 + FIRST - 0.01) == ([], [])
    job.done = True
    assert leases.due(100.0 + FIRST) == ([], [])
    assert leases.next_due() is None


def test_a_lease_is_renewed_at_half_time():
    """The first renewal tells how long a lease is; from then on it is renewed after half of it."""
    leases, job = Leases(), a_job()
    leases.hold([job], 0.0)
    assert leases.due(0.5) == ([job], [])
    leases.renewed(job, 300, sent=0.5)
    assert leases.next_due() == 150.5
    assert leases.due(150.4) == ([], [])
    assert leases.due(150.5) == ([job], [])
    leases.renewed(job, 300, sent=150.6)
    assert job.lease_ends == 450.6
    assert leases.next_due() == 300.6


def test_a_lease_nobody_renewed_is_lost():
    """When no node answers, the renewal is tried again until the lease is over, then it is lost."""
    leases, job = Leases(), a_job()
    leases.hold([job], 0.0)
    leases.due(0.5)
    leases.renewed(job, 2, sent=0.5)
    now = 1.5
    while (answer := leases.due(now)) == ([job], []):
        leases.unanswered(job, now)
        assert leases.next_due() <= now + AGAIN
        now = leases.next_due()
    assert answer == ([], [job])
    assert job.lost
    assert now == 2.5
    assert leases.next_due() is None


def test_a_lease_of_unknown_length_is_not_called_lost():
    """While no node has answered at all, the lease may be longer than anything."""
    leases, job = Leases(), a_job()
    leases.hold([job], 0.0)
    for now in (0.5, 5.0, 500.0):
        assert leases.due(now) == ([job], [])
        leases.unanswered(job, now)


def test_the_last_lease_of_a_job_runs_out():
    """After TOOLATE there are no renewals; the lease is lost when what was left of it is over."""
    leases, job = Leases(), a_job()
    leases.hold([job], 0.0)
    leases.due(0.5)
    leases.refused(job, 10.0, 0.5)
    assert leases.due(10.4) == ([], [])
    assert leases.due(10.5) == ([], [job])


def test_at_most_once_has_no_lease():
    """A job that is never delivered again is never renewed, and never stale."""
    leases, job = Leases(), a_job(at_most_once=True)
    leases.hold([job], 0.0)
    assert leases.due(1000.0) == ([], [])
    assert job.safe_until == float("inf")


@given(st.lists(st.floats(0, 10), min_size=1, max_size=20))
def test_a_job_is_safe_until_its_lease_can_be_over(times):
    """At any time a job that is not lost and was renewed in time is not called stale."""
    leases, job, now = Leases(), a_job(), 0.0
    leases.hold([job], now)
    assert job.safe_until == SHORTEST
    for pause in times:
        now += pause
        renew, lost = leases.due(now)
        if lost:
            assert now >= job.safe_until
            return
        if renew:
            leases.renewed(job, 3, sent=now)
        assert job.lost or job.safe_until >= min(now, SHORTEST)
