"""Turns: round robin, and the loop goes round between them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pydisque.node.state import turns
from pydisque.node.state.turns import Turns


class Clock:
    """Tells the time that turns took."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(turns, "perf_counter", lambda: self.now)


class Loop:
    """A loop that goes round when it is asked to."""

    def __init__(self) -> None:
        self._soon: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self._soon.append(call)

    def go_round(self) -> int:
        """Run what was due; how many calls that were."""
        due, self._soon = self._soon, []
        for call in due:
            call()
        return len(due)


class Greedy:
    """A client that wants so many turns of so many seconds."""

    def __init__(self, name: str, queue: Turns, clock: Clock, count: int, seconds: float) -> None:
        self.name, self.queue, self.clock = name, queue, clock
        self.left, self.seconds = count, seconds
        queue.add(self)

    taken: list[str] = []  # noqa: RUF012 - a list for all of them, made anew by each test

    def take_turn(self) -> None:
        self.taken.append(self.name)
        self.clock.now += self.seconds
        self.left -= 1
        if self.left:
            self.queue.add(self)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> tuple[Turns, Loop, Clock]:
    monkeypatch.setattr(Greedy, "taken", [])
    made, loop = Turns(), Loop()
    made.call_soon = loop.call_soon
    return made, loop, Clock(monkeypatch)


def test_the_loop_goes_round_after_each_long_turn(queue) -> None:
    """However many clients want turns, the loop does other things after the first long one."""
    made, loop, clock = queue
    for name in "abc":
        Greedy(name, made, clock, 2, turns.ROUND)
    rounds = []
    while loop.go_round():
        rounds.append(len(Greedy.taken))
    assert rounds == [1, 2, 3, 4, 5, 6]
    assert "".join(Greedy.taken) == "abcabc"


def test_short_turns_share_a_round(queue) -> None:
    """Turns that take next to nothing do not cost a turn of the loop each."""
    made, loop, clock = queue
    for name in "abcd":
        Greedy(name, made, clock, 1, turns.ROUND / 3)
    assert loop.go_round() == 1
    assert "".join(Greedy.taken) == "abc"
    assert loop.go_round() == 1
    assert loop.go_round() == 0
    Greedy("e", made, clock, 1, 0)
    assert loop.go_round() == 1
    assert "".join(Greedy.taken) == "abcde"
