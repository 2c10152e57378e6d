"""How far the clocks of Valkey's servers differ."""

from __future__ import annotations

import pytest

from pydisque.node.store.valkey.clocks import Difference, Reading, difference


def test_one_server_differs_from_none() -> None:
    """A single clock, or none, has a difference of 0."""
    assert difference({}) == Difference()
    assert difference({"a": Reading(20.0, 0.0)}) == Difference()


def test_the_fastest_and_the_slowest_are_named() -> None:
    """The difference is the one between the two servers that are furthest apart."""
    readings = {"a": Reading(5.0, 0.0), "b": Reading(-3.0, 0.0), "c": Reading(0.0, 0.0)}
    assert difference(readings) == Difference(8.0, "a", "b")


def test_a_slow_answer_is_no_wrong_clock() -> None:
    """Only what is certain counts: the errors of both readings are subtracted."""
    assert difference({"a": Reading(2.0, 1.5), "b": Reading(0.0, 0.6)}) == Difference()
    seconds, fastest, slowest = difference({"a": Reading(3.0, 0.5), "b": Reading(0.0, 0.5)})
    assert seconds == pytest.approx(2.0)
    assert (fastest, slowest) == ("a", "b")
