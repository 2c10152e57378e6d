"""IDs and heads of new jobs: most of what is sent for one is the same as for the one before it."""

from __future__ import annotations

from typing import NamedTuple

from pydisque.node.engine.job import ttl_field
from pydisque.node.store.base import random_serials
from pydisque.node.store.valkey import keys
from pydisque.node.store.valkey.keys import Layout

MOST_KINDS = 1000
"""Kinds of jobs that are remembered."""


class Kind(NamedTuple):
    """What is the same for all jobs of one queue with the same times."""

    shard: int
    begin: bytes
    end: bytes
    head: bytes


class Births:
    """The jobs that are made by one node."""

    def __init__(self, made: Layout, node_id: bytes) -> None:
        """Put the node's mark on each ID."""
        self._layout = made
        self._mark = node_id[:8]
        self._kinds: dict[tuple[bytes, int, int, int], Kind] = {}
        self._serials: list[bytes] = []

    def new(self, name: bytes, ttl: int, retry: int, delay: int) -> tuple[int, bytes, bytes]:
        """The number of the shard where a new job goes, its ID, and its head."""
        kind = self._kinds.get((name, ttl, retry, delay))
        if kind is None:
            kind = self._kind(name, ttl, retry, delay)
        shard, begin, end, head = kind
        if not self._serials:
            self._serials = random_serials()
        return shard, begin + self._serials.pop()[1:] + end, head

    def _kind(self, name: bytes, ttl: int, retry: int, delay: int) -> Kind:
        if len(self._kinds) > MOST_KINDS:
            self._kinds.clear()
        shard = self._layout.shard_of_queue(name)
        begin = b"D-%b-%b" % (self._mark, keys.letter(shard))
        head = keys.head(name, ttl, retry, delay)
        made = self._kinds[name, ttl, retry, delay] = Kind(
            shard, begin, b"-" + ttl_field(ttl, retry), head
        )
        return made
