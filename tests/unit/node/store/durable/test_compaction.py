"""Which records of a journal are still needed."""

from __future__ import annotations

import pytest

from pydisque.node.store.durable import compaction
from pydisque.node.store.durable.compaction import Homes


def test_records_go_oldest_first() -> None:
    """A record is obsolete when nobody is at home in it nor in any older one."""
    some = Homes()
    for number in (1, 2, 3):
        some.add(number, 100, 2)
    some.add(4, 50, 0)
    for number in (2, 2, 3, 3, 1):
        some.leave(number)
        assert some.obsolete() == 0
    assert (some.size, some.needed) == (350, 50)
    some.leave(1)
    assert some.obsolete() == 5
    assert (some.size, some.needed, some.oldest()) == (0, 0, 0)
    assert some.obsolete() == 0


def test_when_a_clean_up_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is at home in the oldest record moves on once more than half of all is dead weight."""
    monkeypatch.setattr(compaction, "SLACK", 10)
    some = Homes()
    assert some.crowded() == 0
    some.add(7, 100, 2)
    some.add(8, 100, 2)
    some.leave(7)
    assert some.crowded() == 0
    some.leave(8)
    some.add(9, 11, 0)
    assert some.crowded() == 7
