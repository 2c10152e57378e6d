"""Names that clients asked for are remembered within bounds."""

from __future__ import annotations

from pydisque.node.state.asked_queues import LONGEST_NAME, MOST_NAMES, AskedQueues


def test_asked_queue_is_an_empty_queue() -> None:
    """Its age and its idle time count from the first question, as in Disque."""
    asked = AskedQueues()
    asked.ask([b"q"], 1000)
    asked.ask([b"q"], 4000)
    state = asked.stat(b"q", 6999)
    assert state is not None
    assert (state.name, state.length, state.age, state.idle) == (b"q", 0, 5, 5)
    assert (state.jobs_in, state.jobs_out, state.pause) == (0, 0, b"none")
    assert asked.stat(b"other", 6999) is None


def test_only_the_latest_names_are_remembered() -> None:
    """The name that was not asked for the longest goes first, also within one question."""
    asked = AskedQueues()
    names = [b"%d" % n for n in range(MOST_NAMES)]
    asked.ask(names, 0)
    asked.ask([b"0"], 1)
    asked.ask([b"new"], 2)
    assert asked.names() == [*names[2:], b"0", b"new"]
    asked.ask([b"x%d" % n for n in range(10 * MOST_NAMES)], 3)
    assert len(asked.names()) == MOST_NAMES
    assert asked.names()[-1] == b"x%d" % (10 * MOST_NAMES - 1)


def test_long_names_are_not_remembered() -> None:
    """A name of the longest size is remembered, one with a byte more is not."""
    asked = AskedQueues()
    asked.ask([b"x" * LONGEST_NAME, b"x" * (LONGEST_NAME + 1)], 0)
    assert asked.names() == [b"x" * LONGEST_NAME]


def test_names_go_as_idle_queues_do() -> None:
    """A name is forgotten by the time of its first question, in whichever order names stand."""
    asked = AskedQueues()
    asked.ask([b"old", b"young"], 0)
    asked.drop_idle(0)
    assert asked.names() == [b"old", b"young"]
    asked.clear()
    asked.ask([b"old"], 0)
    asked.ask([b"young"], 5)
    asked.ask([b"old"], 6)
    asked.drop_idle(5)
    assert asked.names() == [b"young"]
    asked.clear()
    assert asked.names() == []
