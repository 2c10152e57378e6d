"""The nodes of one system, as each of them tells the others that it lives, and where."""

from __future__ import annotations

from typing import Any

from pydisque.node.store.base import Fellow
from pydisque.node.store.valkey.keys import LIBRARY

LEASE = 5000
"""Milliseconds after which a node that says nothing is taken for dead."""

LATE_AFTER, LATE = 3000, 10
"""Milliseconds of silence after which a node is not the first choice, and its priority then."""

LEAVING = 100
"""The priority of a node that clients should not use any more."""


class Fellows:
    """All but this node."""

    def __init__(self) -> None:
        """Begin alone."""
        self.others: list[Fellow] = []
        self._where = b"", 0, 1

    def announce(self, host: bytes, port: int, *, leaving: bool) -> None:
        """Say henceforth where this node is, and whether clients should rather use others."""
        self._where = host, port, LEAVING if leaving else 1

    def sign_of_life(self, node_id: bytes, lease: int = LEASE) -> list[Any]:
        """The operation by which this node says that it lives, and hears who else does."""
        return [b"live", 0, node_id, *self._where, lease, LIBRARY]

    def leave_taking(self, node_id: bytes) -> list[Any]:
        """The operation by which it says that it ends."""
        return self.sign_of_life(node_id, 0)

    def meet(self, told: list[Any], node_id: bytes) -> None:
        """Take in the answer."""
        rows = zip(*[iter(told)] * 6, strict=True)
        self.others = [
            Fellow(id_, host, int(port), LATE if left < LEASE - LATE_AFTER else int(priority))
            for id_, host, port, priority, left, _library in rows
            if id_ != node_id
        ]

    def before(self, node_id: bytes) -> int:
        """How many of them stand before this node."""
        return sum(fellow.id < node_id for fellow in self.others)
