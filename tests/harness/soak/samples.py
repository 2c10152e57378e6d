"""What was seen of a worker and its node over time, and whether it grows: pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

MEBI = 1 << 20

MOST_NOISE = 2
"""Descriptors or threads that may come and go."""


class Usage(NamedTuple):
    """What a process takes."""

    rss: int
    """Bytes."""
    descriptors: int
    threads: int
    cpu: float
    """Seconds of processor time since it began."""


class Sample(NamedTuple):
    """One look at everything."""

    seconds: float
    """Since the beginning."""
    worker: Usage
    node: Usage
    added: int
    done: int
    """Both since the beginning."""
    queued: int
    p50: float
    """Milliseconds from add to begin, since the sample before; and so the 99th percentile."""
    p99: float
    tasks: int
    """Of the loops in the worker."""


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which this part of them lies; 0 of nothing."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0.0


def settled(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Those of the last two thirds of the time: before, it warms up."""
    end = samples[-1].seconds
    return [sample for sample in samples if sample.seconds >= end / 3]


def growth(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    """By how much a figure grows in a minute, as a line through the settled samples has it."""
    late = settled(samples)
    line = statistics.linear_regression([s.seconds / 60 for s in late], [figure(s) for s in late])
    return line.slope


def gained(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    """How much higher a figure is in the last quarter of the settled samples than in the first."""
    values = [figure(sample) for sample in settled(samples)]
    part = max(1, len(values) // 4)
    return statistics.fmean(values[-part:]) - statistics.fmean(values[:part])


def faults(samples: Sequence[Sample], left: int, most_growth: float) -> Iterator[str]:
    """What is not as it should be.

    Args:
        samples: All of a run, at least six.
        left: Jobs that are not done though there was time.
        most_growth: MiB by which a process may grow in a minute.
    """
    for who in ("worker", "node"):
        memory = growth(samples, lambda sample: getattr(sample, who).rss / MEBI)  # noqa: B023
        if memory > most_growth:
            yield f"the {who}'s memory grows by {memory:.2f} MiB a minute"
        for what in ("descriptors", "threads"):
            more = gained(samples, lambda sample: getattr(getattr(sample, who), what))  # noqa: B023
            if more > MOST_NOISE:
                yield f"the {who} has {more:.1f} {what} more than in the beginning"
    more = gained(samples, lambda sample: sample.tasks)
    if more > MOST_NOISE:
        yield f"the worker has {more:.1f} tasks more than in the beginning"
    if left:
        yield f"{left} jobs are not done"
    if samples[-1].done < samples[-1].added:
        yield f"of {samples[-1].added} jobs added {samples[-1].done} were run to their end"
