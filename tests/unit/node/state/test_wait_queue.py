"""Who waits for which queue is served in the order of arrival."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pydisque.node.store.wait_queue import Waiting


def test_first_come_first_served() -> None:
    """The first in line is the one who came first, until it leaves."""
    waiting: Waiting[str] = Waiting()
    for name in ("ann", "bob", "cid"):
        waiting.add(name, [b"q"])
    assert waiting.first(b"q") == "ann"
    waiting.remove("ann")
    assert waiting.first(b"q") == "bob"
    waiting.add("ann", [b"q"])
    assert list(waiting.queues) == ["bob", "cid", "ann"]


def test_one_stands_in_many_lines_and_leaves_all() -> None:
    """A waiter of several queues is in line for each, and gone from each once served."""
    waiting: Waiting[str] = Waiting()
    waiting.add("ann", [b"a", b"b", b"a"])
    waiting.add("bob", [b"b"])
    assert (waiting.count(b"a"), waiting.count(b"b"), len(waiting)) == (1, 2, 2)
    waiting.remove("ann")
    assert (waiting.first(b"a"), waiting.first(b"b")) == (None, "bob")
    assert "ann" not in waiting.queues
    assert "bob" in waiting.queues


def test_leaving_twice_is_harmless() -> None:
    """A client that timed out and then hung up is taken out of line twice."""
    waiting: Waiting[str] = Waiting()
    waiting.add("ann", [b"q"])
    waiting.remove("ann")
    waiting.remove("ann")
    assert not waiting


@given(st.lists(st.tuples(st.integers(0, 5), st.lists(st.sampled_from([b"a", b"b", b"c"])))))
def test_empty_lines_are_forgotten(steps: list[tuple[int, list[bytes]]]) -> None:
    """Whoever comes and goes: when all have left nothing is kept."""
    waiting: Waiting[int] = Waiting()
    for who, queues in steps:
        waiting.remove(who)
        waiting.add(who, queues)
    for who, _ in steps:
        waiting.remove(who)
    assert not waiting._lines
    assert not waiting.queues
