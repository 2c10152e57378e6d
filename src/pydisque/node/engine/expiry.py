"""Which jobs expire when: their IDs by second, those of jobs long gone among them.

Decides when to forget the latter, so that they never pile up; not what expiring means. Pure.
"""

from __future__ import annotations

from collections.abc import Callable


class Expiry:
    """IDs of jobs, by the Unix second of their etime."""

    def __init__(self) -> None:
        self.by_second: dict[int, list[bytes]] = {}
        self.over: list[bytes] = []
        """Whose time is over: to be taken from."""
        self.listed = 0
        """How many IDs are in `by_second`."""
        self._seen = 0

    def add(self, etime: int, id_: bytes) -> None:
        """One more."""
        self.listed += 1
        try:
            self.by_second[etime].append(id_)
        except KeyError:  # seldom: most jobs have the TTL of one that came in the same second
            self.by_second[etime] = [id_]

    def advance(self, second: int, until: int) -> None:
        """Note whose seconds are over, from `second` on and before `until`."""
        seconds = range(second, until)
        if len(seconds) > len(self.by_second):  # after a standstill
            seconds_over = [etime for etime in self.by_second if etime < until]
        else:
            seconds_over = [etime for etime in seconds if etime in self.by_second]
        for etime in seconds_over:
            ids = self.by_second.pop(etime)
            self.over += ids
            self.listed -= len(ids)

    def sweep(self, count: int, exists: Callable[[bytes], object]) -> None:
        """Forget some IDs of jobs that are gone, long before their etime; `count` are not.

        Starts when they are most of the IDs. Each call looks at twice as many as were added since
        the last, so they never pile up, and at no more, so it never holds up the rest.
        """
        budget = 2 * max(0, self.listed - self._seen) + 1000
        if self.listed >= 2 * count + 1000:
            for etime in list(self.by_second):
                ids = self.by_second.pop(etime)
                if left := [id_ for id_ in ids if exists(id_)]:
                    self.by_second[etime] = left  # now the last in turn
                budget -= len(ids)
                self.listed -= len(ids) - len(left)
                if budget <= 0:
                    break
        self._seen = self.listed
