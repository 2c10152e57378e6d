"""Samples as lines of an SVG: where their points are, and what the axes say. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydisque.monitoring.figures import Sample

WIDTH, HEIGHT = 600, 120
"""The drawing in units of its own; the page stretches it."""

SPARKS = 40
"""Points of a line that is as small as a word."""


class Line(NamedTuple):
    """One line of a chart."""

    name: str
    points: str
    """For ``<polyline points>``."""
    last: float
    """What it is now."""


class Chart(NamedTuple):
    """Some lines over the same time, on one scale."""

    lines: list[Line]
    top: float
    """What the upper edge is; the lower is 0."""
    seconds: float
    """From the left edge to the right."""


def chart(samples: Sequence[Sample], **lines: Callable[[Sample], float]) -> Chart:
    """Samples by these measures, named as the lines are."""
    kept = list(samples)
    top = ceiling(max((pick(s) for s in kept for pick in lines.values()), default=0))
    drawn = [
        Line(
            name.replace("_", " "),
            _points(kept, pick, top, WIDTH, HEIGHT),
            pick(kept[-1]) if kept else 0.0,
        )
        for name, pick in lines.items()
    ]
    return Chart(drawn, top, kept[-1].time - kept[0].time if kept else 0.0)


def spark(samples: Sequence[Sample], pick: Callable[[Sample], float]) -> str:
    """A line as small as a word: its points, in a drawing 60 wide and 16 high."""
    kept = list(samples)[-SPARKS:]
    top = max((pick(sample) for sample in kept), default=0)
    return _points(kept, pick, top or 1, 60, 16)


def _points(
    samples: Sequence[Sample],
    pick: Callable[[Sample], float],
    top: float,
    width: int,
    height: int,
) -> str:
    if len(samples) < 2:
        return ""
    first, last = samples[0].time, samples[-1].time
    span = (last - first) or 1.0
    return " ".join(
        f"{(s.time - first) / span * width:.1f},{height - min(pick(s) / top, 1) * height:.1f}"
        for s in samples
    )


def ceiling(value: float) -> float:
    """The next round number: 1, 2 or 5 with noughts."""
    if value <= 1:
        return 1.0
    size = float(10 ** math.floor(math.log10(value)))
    return next(step * size for step in (1, 2, 5, 10) if value <= step * size)
