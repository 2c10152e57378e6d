"""Clients whose reads found no room in a reply: each has a lane and is served in turn.

All that such a client asks for goes through its lane, in order, until the lane is empty. A client
that does not read its replies, or that is gone, is not served. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, KeysView
from typing import Protocol, cast

from pydisque.errors import DisqueError
from pydisque.node.store.valkey.batch import Batch

SHARE = 256 * 1024
"""Bytes of reads that one client gets in one call, or one read that is larger."""


class Asker(Protocol):
    """A client."""

    gone: bool

    @property
    def is_reading(self) -> bool:
        """Whether it takes what it is sent."""
        ...


class Lanes:
    """The lanes of one shard, the one that is next first."""

    def __init__(self) -> None:
        self._lanes: dict[object, deque[Batch]] = {}

    @property
    def askers(self) -> KeysView[object]:
        """The clients that have a lane."""
        return self._lanes.keys()

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def __contains__(self, asker: object) -> bool:
        return asker in self._lanes

    def __iter__(self) -> Iterator[Batch]:
        """All batches."""
        return (batch for lane in self._lanes.values() for batch in lane)

    def open(self, asker: object, stage: int, largest: int, now: float) -> Batch:
        """A batch that takes in something of this stage, behind all else of its client."""
        lane = self._lanes[asker]
        if not (lane[-1].size < largest and lane[-1].takes(asker, stage)):
            lane.append(Batch(now))
            lane[-1].takes(asker, stage)
        return lane[-1]

    def append(self, parts: dict[object, Batch]) -> None:
        """Put batches behind all else of their clients, which may have no lane yet."""
        for asker, batch in parts.items():
            self._lanes.setdefault(asker, deque()).append(batch)

    def prepend(self, parts: dict[object, Batch]) -> None:
        """Put batches before all else of their clients, which are next from now on."""
        first = {asker: self._lanes.pop(asker, deque()) for asker in parts}
        for asker, batch in parts.items():
            first[asker].appendleft(batch)
        self._lanes = first | self._lanes

    def next(self, most: int, big: int, error: DisqueError) -> Batch | None:
        """What goes next: something of each client in turn, reads of one share each.

        What was asked by clients that are gone fails with this error.
        """
        batch: Batch | None = None
        for asker in list(self._lanes):
            if _is_gone(asker):
                for each in self._lanes.pop(asker):
                    each.fail(error)
            elif not _is_full(asker):
                first = self._take(asker, big)
                if batch:
                    batch.merge(first)
                else:
                    batch = first
                if batch.size >= most:
                    break
        return batch

    def _take(self, asker: object, big: int) -> Batch:
        """What goes next of this client, which is the last one from now on."""
        lane = self._lanes.pop(asker)
        first, rest = lane.popleft().portion(SHARE, big)
        if rest:
            lane.appendleft(rest)
        if lane:
            self._lanes[asker] = lane
        return first

    def prune(self, change: Callable[[Batch], object]) -> None:
        """Change all batches, and drop those in which nothing is left."""
        for asker, lane in list(self._lanes.items()):
            for batch in lane:
                change(batch)
            if kept := deque(batch for batch in lane if batch):
                self._lanes[asker] = kept
            else:
                del self._lanes[asker]


def _is_gone(asker: object) -> bool:
    return hasattr(asker, "gone") and cast("Asker", asker).gone


def _is_full(asker: object) -> bool:
    return hasattr(asker, "gone") and not cast("Asker", asker).is_reading
