"""The names that clients of this node asked for last, as a Disque server has a queue of each.

A client must not fill the node's memory with names, so the number and the length of the names are
bounded. Knows neither stores nor clients: a name may be that of a queue with jobs as well.
"""

from __future__ import annotations

from collections import OrderedDict

from pydisque.node.engine.queue import QueueState

MOST_NAMES = 1000
"""Names that are remembered."""

LONGEST_NAME = 1024
"""Bytes of a name that is remembered."""


class AskedQueues:
    """Names of queues, and when they were first asked for, in milliseconds."""

    def __init__(self) -> None:
        self._since: OrderedDict[bytes, int] = OrderedDict()  # the one asked for last at the end

    def ask(self, names: list[bytes], now: int) -> None:
        """Remember the last of these names, in place of those that were asked for before."""
        since = self._since
        for name in names[-MOST_NAMES:]:
            if len(name) <= LONGEST_NAME:
                since.setdefault(name, now)
                since.move_to_end(name)
        while len(since) > MOST_NAMES:
            since.popitem(last=False)

    def names(self) -> list[bytes]:
        """The remembered names."""
        return list(self._since)

    def stat(self, name: bytes, now: int) -> QueueState | None:
        """The state of an empty queue if the name is remembered.

        As in Disque, asking again is no use of a queue: it is idle since it was first asked for.
        """
        since = self._since.get(name)
        if since is None:
            return None
        age = (now - since) // 1000
        return QueueState(name, 0, age, age, 0, 0, b"none")

    def drop_idle(self, since: int) -> None:
        """Forget the names that were first asked for before this time."""
        for name in [name for name, first in self._since.items() if first < since]:
            del self._since[name]

    def clear(self) -> None:
        """Forget all names."""
        self._since.clear()
