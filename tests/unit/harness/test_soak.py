"""The verdict on a soak: it sees what grows, and takes no noise for growth."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.soak.samples import MEBI, Sample, Usage, faults, growth, percentile


def samples(change: Callable[[Sample], Sample] = lambda sample: sample) -> list[Sample]:
    """Ten minutes of peace, but for this."""
    found = []
    for number in range(120):
        noise = number % 3
        usage = Usage((100 + noise) * MEBI, 20 + noise % 2, 8, number)
        warm = usage._replace(rss=usage.rss if number > 20 else usage.rss // 2)
        jobs = number * 5000
        sample = Sample(number * 5.0, warm, usage, jobs, jobs, noise, 1.0, 9.0, 5 + noise)
        found.append(change(sample))
    return found


def told(found: list[Sample], left: int = 0) -> str:
    """The faults in one text."""
    return "; ".join(faults(found, left, 1.0))


def test_nothing_grows() -> None:
    """Warming up and noise are no growth."""
    assert not told(samples())
    assert abs(growth(samples(), lambda sample: sample.worker.rss / MEBI)) < 0.1


@pytest.mark.parametrize("who", ["worker", "node"])
def test_memory_that_grows(who: str) -> None:
    """Two MiB a minute are too many, half a MiB is not."""

    def growing(by: float) -> Callable[[Sample], Sample]:
        def change(sample: Sample) -> Sample:
            usage = getattr(sample, who)
            more = int(by * MEBI * sample.seconds / 60)
            return sample._replace(**{who: usage._replace(rss=usage.rss + more)})

        return change

    assert told(samples(growing(2))) == f"the {who}'s memory grows by 2.00 MiB a minute"
    assert not told(samples(growing(0.5)))


@pytest.mark.parametrize("what", ["descriptors", "threads"])
def test_what_is_never_given_back(what: str) -> None:
    """One more every minute is seen."""

    def change(sample: Sample) -> Sample:
        more = getattr(sample.worker, what) + int(sample.seconds / 60)
        return sample._replace(worker=sample.worker._replace(**{what: more}))

    assert f" {what} more than in the beginning" in told(samples(change))


def test_tasks_that_are_never_over() -> None:
    """So it is with tasks."""
    growing = samples(lambda s: s._replace(tasks=s.tasks + int(s.seconds / 60)))
    assert "tasks more than in the beginning" in told(growing)


def test_jobs_that_are_not_done() -> None:
    """Jobs that are left, and jobs that are gone without having been run."""
    assert told(samples(), left=3) == "3 jobs are not done"
    assert "were run to their end" in told(samples(lambda s: s._replace(done=s.done - 1)))


def test_percentiles() -> None:
    """Of a hundred values the 99th percentile is the last but none; of none it is 0."""
    assert percentile([], 0.99) == 0
    assert percentile(range(100), 0.5) == 50
    assert percentile(range(100), 0.99) == 99
