"""Which replies wait for which commit of the store.

A session whose replies tell of changes that are not kept yet holds them back, and hears the outcome
here. One commit is under way at a time; what changes meanwhile is for the next: the more there is
to do, the more share a commit. Knows neither sockets nor what is in the replies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pydisque.node.store.base import Store


class Holder(Protocol):
    """Whoever holds replies back."""

    def settle(self, commit: int, failure: str) -> None:
        """The commits up to this one are over: send what waited, or `failure` instead."""


class Commits:
    """The commits of one store."""

    def __init__(self, store: Store, failed: Callable[[], None]) -> None:
        """Commit what changes in `store`; `failed` is called when that did not go well."""
        self.next = 1
        """The number of the commit that what changes now will be part of."""
        self.call_soon: Callable[[Callable[[], None]], object]
        """Calls something once this turn of the loop is over; the server sets it."""
        self._store = store
        self._failed = failed
        self._holders: list[Holder] = []
        self._under_way: list[Holder] | None = None  # who waits for the commit that runs, if any
        self._due = False  # one is under way, or about to be
        self._finished: Callable[[], None] = lambda: None

    def last(self) -> int:
        """The number of the commit after which all is kept that changed so far; 0 if it is."""
        if self._store.uncommitted():
            return self.next
        return 0 if self._under_way is None else self.next - 1

    def wait(self, number: int, holder: Holder) -> None:
        """Let somebody hear of the commit that `last` told."""
        if number == self.next or self._under_way is None:
            self._holders.append(holder)
        else:
            self._under_way.append(holder)

    def end_turn(self) -> None:
        """See to it that what changed is committed with all else of this turn of the loop."""
        if not self._due and self._store.uncommitted():
            self._due = True
            self.call_soon(self._begin)

    def finish(self, done: Callable[[], None]) -> None:
        """Call `done` once nothing is to be committed any more."""
        self._finished = done
        self.end_turn()
        if not self._due:
            done()

    def _begin(self) -> None:
        number, self.next = self.next, self.next + 1
        self._under_way, self._holders = self._holders, []
        self._store.commit(lambda failure: self._over(number, failure))

    def _over(self, number: int, failure: str) -> None:
        holders, self._under_way = self._under_way or [], None
        if failure:  # what came since is undone as well
            number, self.next = self.next, self.next + 1
            holders, self._holders = holders + self._holders, []
            self._failed()
        elif self._store.uncommitted():
            self._begin()  # so that the disk is at work while the replies go out
        for holder in holders:
            holder.settle(number, failure)
        if self._under_way is None:
            if self._store.uncommitted():
                self._begin()
            else:
                self._due = False
                self._finished()
