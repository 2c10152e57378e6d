"""A scan through the shards, one after the other, for QSCAN and JSCAN.

Its cursors tell the shard and the place in it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from pydisque.node.engine.engine import scan_limits
from pydisque.node.store.deferred import Later, Stepwise
from pydisque.node.store.valkey.batch import READ, Operation
from pydisque.node.store.valkey.shard import Shard

T = TypeVar("T")

SCANNED = 1000
"""Elements that one call looks at when all are wanted."""

PAGE = 4 << 20
"""Bytes that one call returns when more are wanted."""


class Scan(Generic[T]):
    """A scan through the shards, one after the other; its cursors tell shard and place in it."""

    def __init__(
        self,
        shards: list[Shard],
        asker: object,
        limit: int | None,
        words: Callable[[int, int, int], list[Any]],
        read: Callable[[Shard, Any], list[T]],
        size: int,
        size_of: Callable[[T], int],
    ) -> None:
        """Prepare it.

        Args:
            shards: those to look at.
            asker: the client that it is for.
            limit: about so many are wanted, None for all.
            words: what to ask, by the place in a shard, how many elements to look at, and the
                size after which no more of them are wanted.
            read: returns what one shard's reply holds.
            size: bytes after which no more elements are wanted.
            size_of: returns how many of these an element has.
        """
        self._answer: Later[tuple[int, list[T]]] = Stepwise()
        self._shards = shards
        self._asker = asker
        self._limit = limit
        self._words = words
        self._read = read
        self._size = size
        self._size_of = size_of
        self._found: list[T] = []
        self._looked = 0

    def begin(self, cursor: int) -> Later[tuple[int, list[T]]]:
        """Go on where a cursor says; the next cursor, 0 at the end, and what was found."""
        at, number = divmod(cursor, len(self._shards))
        self._step(number, at)
        return self._answer

    def _step(self, number: int, at: int) -> None:
        count = SCANNED if self._limit is None else max(1, min(SCANNED, self._limit))
        later: Later[tuple[int, list[T], int]] = Later()
        later.then(partial(self._took, number), self._answer.failed)
        size = min(self._size, PAGE)
        shard = self._shards[number]
        operation = Operation(
            self._words(at, count, size), partial(self._part, shard), later,
            again=True, writes=False, asker=self._asker, jobs=count, limit=size,
        )  # fmt: skip
        shard.open(self._asker, READ).operate(operation)

    def _part(self, shard: Shard, told: Any) -> tuple[int, list[T], int]:
        return int(told[0]), self._read(shard, told[1]), told[2]

    def _took(self, number: int, part: tuple[int, list[T], int]) -> None:
        at, found, looked = part
        self._found += found
        self._looked += looked
        self._size -= sum(map(self._size_of, found))
        number += at == 0
        most, looks = scan_limits(self._limit)
        if number == len(self._shards):
            self._answer.done((0, self._found))
        elif len(self._found) >= most or self._looked >= looks or self._size <= 0:
            self._answer.done((at * len(self._shards) + number, self._found))
        else:
            self._step(number, at)
