"""Samples as lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisque.dashboard import charts
from pydisque.monitoring.figures import Sample


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (1, 1), (1.1, 2), (3, 5), (7, 10), (10, 10), (101, 200), (6e6, 1e7)]
)
def test_the_upper_edge(value, top):
    """It is the next round number."""
    assert charts.ceiling(value) == top


@given(st.lists(st.tuples(st.floats(0.1, 60), st.integers(0, 10**7)), max_size=20))
def test_lines_stay_within_the_drawing(steps):
    """Every point is inside, they go from the left edge to the right, and none is lost."""
    time, samples = 0.0, []
    for seconds, length in steps:
        time += seconds
        samples.append(Sample(time, length, 0.0, 0.0))
    line = charts.chart(samples, queued=lambda s: s.len).lines[0]
    points = [tuple(map(float, point.split(","))) for point in line.points.split()]
    assert len(points) == (len(samples) if len(samples) > 1 else 0)
    assert all(0 <= x <= charts.WIDTH and 0 <= y <= charts.HEIGHT for x, y in points)
    if points:
        assert (points[0][0], points[-1][0]) == (0, charts.WIDTH)


def test_what_it_is_now():
    """A chart says the last value of each line, and how long it goes back."""
    samples = [Sample(10.0, 1, 2.0, 3.0), Sample(70.0, 4, 5.0, 6.0)]
    drawn = charts.chart(samples, **{"in": lambda s: s.in_rate, "out": lambda s: s.out_rate})
    assert [(line.name, line.last) for line in drawn.lines] == [("in", 5.0), ("out", 6.0)]
    assert (drawn.seconds, drawn.top) == (60.0, 10.0)
