"""The states of a connection: the table is whole, and what it does not list cannot happen."""

from __future__ import annotations

import pytest

from pydisque.node import states
from pydisque.node.states import BLOCKED, CLOSED, CLOSING, IDLE, RUNNING, TRANSITIONS


def test_the_table_is_closed() -> None:
    """Every state that an event leads to is in the table, and each can be reached from IDLE."""
    reached, new = set(), {IDLE}
    while new:
        reached |= new
        new = {after for state in new for after in TRANSITIONS[state].values()} - reached
    assert reached == set(TRANSITIONS)


def test_a_connection_can_end_at_any_time() -> None:
    """From each state it can close and be lost; from there nothing leads back."""
    for state in TRANSITIONS:
        assert states.LOSE[state] == CLOSED
        assert states.CLOSE[state] in (CLOSING, CLOSED)
    assert set(TRANSITIONS[CLOSING].values()) == {CLOSING, CLOSED}
    assert set(TRANSITIONS[CLOSED].values()) == {CLOSED}


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (states.RUN, RUNNING), (states.RUN, BLOCKED), (states.RUN, states.STALLED),
        (states.RUN, CLOSING), (states.BLOCK, IDLE), (states.UNBLOCK, CLOSING),
        (states.THROTTLE, BLOCKED), (states.RUN, states.SUSPENDED),
    ],
)  # fmt: skip
def test_what_is_not_listed_raises(event: dict[str, str], state: str) -> None:
    """A turn within a turn, or one of a client that waits, is a bug that does not pass unseen."""
    with pytest.raises(KeyError):
        event[state]
