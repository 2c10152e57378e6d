"""Replies wait for the commit that keeps what they tell of."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pydisque.node.state.group_commit import Commits


class Store:
    """A store whose commits end when the test says so."""

    def __init__(self) -> None:
        self.changed = False
        self.done: list[Callable[[str], None]] = []

    def uncommitted(self) -> bool:
        return self.changed

    def commit(self, done: Callable[[str], None]) -> None:
        self.changed = False
        self.done.append(done)


class Holder:
    """Hears of commits."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, str]] = []

    def settle(self, commit: int, failure: str) -> None:
        self.heard.append((commit, failure))


class Bench:
    """Commits with everything around them."""

    def __init__(self) -> None:
        self.store = Store()
        self.failures = 0
        self.soon: list[Callable[[], None]] = []
        self.commits = Commits(self.store, self._failed)
        self.commits.call_soon = self.soon.append

    def _failed(self) -> None:
        self.failures += 1

    def change(self) -> Holder:
        """Somebody changes something and holds the reply back."""
        self.store.changed = True
        holder = Holder()
        self.commits.wait(self.commits.last(), holder)
        self.commits.end_turn()
        return holder

    def turn_ends(self) -> None:
        soon, self.soon[:] = self.soon.copy(), []
        for call in soon:
            call()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_all_of_a_turn_share_a_commit(bench: Bench) -> None:
    """Changes of one turn are one commit, and all who hold replies hear of it."""
    one, other = bench.change(), bench.change()
    assert not bench.store.done
    bench.turn_ends()
    [done] = bench.store.done
    assert one.heard == other.heard == []
    done("")
    assert one.heard == other.heard == [(1, "")]
    assert bench.commits.last() == 0


def test_what_changes_meanwhile_is_for_the_next(bench: Bench) -> None:
    """One commit runs at a time; the next begins as soon as it is over, before anybody hears."""
    first = bench.change()
    bench.turn_ends()
    second = bench.change()
    bench.turn_ends()
    assert len(bench.store.done) == 1
    bench.store.done[0]("")
    assert len(bench.store.done) == 2
    assert (first.heard, second.heard) == ([(1, "")], [])
    bench.store.done[1]("")
    assert second.heard == [(2, "")]


def test_a_failure_is_for_all_that_came_since(bench: Bench) -> None:
    """Who changed something while the commit that fails was under way is told as well."""
    first = bench.change()
    bench.turn_ends()
    second = bench.change()
    bench.store.changed = False  # it was undone
    bench.store.done[0]("disk full")
    assert [failure for _, failure in first.heard + second.heard] == ["disk full"] * 2
    assert first.heard[0][0] >= 2, "the number covers the replies of the second"
    assert bench.failures == 1
    third = bench.change()
    bench.turn_ends()
    bench.store.done[1]("")
    assert third.heard[0][1] == ""


def test_who_tells_of_what_is_being_kept_waits_for_it(bench: Bench) -> None:
    """A reply about a change of somebody else waits while that is being kept, and no longer."""
    bench.change()
    bench.turn_ends()
    late = Holder()
    assert bench.commits.last() == 1
    bench.commits.wait(1, late)
    bench.store.done[0]("")
    assert late.heard == [(1, "")]


def test_the_end_comes_when_nothing_is_left(bench: Bench) -> None:
    """`finish` calls at once when all is kept, else once it is."""
    ends: list[int] = []
    bench.commits.finish(lambda: ends.append(1))
    assert ends == [1]
    bench.change()
    bench.turn_ends()
    bench.commits.finish(lambda: ends.append(2))
    assert ends == [1]
    bench.store.done[0]("")
    assert ends == [1, 2]
