"""What each record of the journal is still needed for, and when the journal is worth a clean-up.

A job or queue has its home in the newest record that holds it in full. Records go oldest first:
what is still at home in one is moved on into a new record before. So states and ends of jobs, which
are told in records after their home, need no counting: their home goes before they do. Pure.
"""

from __future__ import annotations

from collections import deque

SLACK = 16 * 2**20
"""Bytes that the journal may hold beside twice what is needed."""


class _Record:
    __slots__ = ("inhabitants", "size", "weight")

    def __init__(self, size: int, inhabitants: int) -> None:
        self.size = size
        self.inhabitants = inhabitants
        self.weight = size // inhabitants if inhabitants else 0


class Homes:
    """The records of a journal, by their numbers, which only ever grow."""

    def __init__(self) -> None:
        self.size = 0
        """Bytes of all records."""
        self.needed = 0
        """Bytes of what is at home in them, about."""
        self._records: dict[int, _Record] = {}
        self._numbers: deque[int] = deque()

    def add(self, number: int, size: int, inhabitants: int) -> None:
        """There is a new record, of so many bytes, which so many have their home in."""
        record = self._records[number] = _Record(size, inhabitants)
        self._numbers.append(number)
        self.size += size
        self.needed += record.weight * inhabitants

    def leave(self, number: int) -> None:
        """One of the inhabitants is gone, or has moved on."""
        record = self._records[number]
        record.inhabitants -= 1
        self.needed -= record.weight

    def obsolete(self) -> int:
        """Forget the oldest records that nobody needs.

        Returns the number below which all records are obsolete now, or 0 if there are no new ones.
        """
        below = 0
        while self._numbers and not self._records[self._numbers[0]].inhabitants:
            number = self._numbers.popleft()
            self.size -= self._records.pop(number).size
            below = number + 1
        return below

    def crowded(self) -> int:
        """The oldest record, if what is at home there should move on; else 0."""
        return 0 if self.size <= 2 * self.needed + SLACK else self.oldest()

    def oldest(self) -> int:
        """The oldest record, or 0."""
        return self._numbers[0] if self._numbers else 0
