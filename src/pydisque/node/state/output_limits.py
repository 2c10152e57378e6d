"""Clients that take memory: what they have not read yet, and requests that they have not finished.

Decides who is hung up on so that slow and greedy clients are never collected. A client that reads
on is left alone however slow it is, as long as all of them together keep within the limit.
"""

from __future__ import annotations

import logging
from typing import Protocol

from pydisque.node.config.parameters import Config

logger = logging.getLogger("pydisque.node")

NOTED_FROM = 64 * 1024
"""Bytes from which on a client is looked at."""


class Taker(Protocol):
    """A client."""

    address: bytes

    def buffers(self) -> tuple[int, int]:
        """Bytes received and not run yet, bytes to be sent yet."""
        ...

    def memory(self) -> int:
        """Bytes of memory that the client's requests and replies take, in all."""
        ...

    def abort(self) -> None:
        """Hang up at once."""


class Backlog:
    """The clients of one node that have something unread or unfinished."""

    def __init__(self, config: Config) -> None:
        self.cut_off = 0
        """How many were hung up on."""
        self._config = config
        self._takers: dict[Taker, tuple[int, int]] = {}  # since when, how much unread
        self._taken: dict[Taker, int] = {}  # memory, when it was looked at last
        self._total = 0  # of these

    def note(self, taker: Taker, now: int) -> None:
        """This client takes more than usual; hang up on the greediest while it is all too much."""
        if taker not in self._takers:
            self._takers[taker] = (now, taker.buffers()[1])
        self._count(taker)
        if self._total > self._config.number("client-memory"):
            self._make_room()

    def forget(self, taker: Taker) -> None:
        """It is gone."""
        self._takers.pop(taker, None)
        self._total -= self._taken.pop(taker, 0)

    def every_second(self, now: int) -> None:
        """Hang up on those that read nothing for too long; leave alone those that caught up."""
        patience = self._config.number("output-timeout") * 1000
        for taker, (since, before) in list(self._takers.items()):
            unread = taker.buffers()[1]
            self._count(taker)
            if not unread and self._taken[taker] < NOTED_FROM:
                self.forget(taker)
            elif not unread or unread < before:
                self._takers[taker] = (now, unread)
            elif patience and now - since > patience:
                self._cut_off(taker, "it does not read")
            else:
                self._takers[taker] = (since, unread)
        self._make_room()

    def _count(self, taker: Taker) -> None:
        memory = taker.memory()
        self._total += memory - self._taken.get(taker, 0)
        self._taken[taker] = memory

    def _make_room(self) -> None:
        """Look at all again, as most that was counted may be gone, and hang up on the greediest."""
        limit = self._config.number("client-memory")
        if self._total <= limit:
            return
        for taker in self._takers:
            self._count(taker)
        while self._total > limit:
            greediest = max(self._taken, key=self._taken.__getitem__)
            self._cut_off(greediest, "clients take more than client-memory, this one the most")

    def _cut_off(self, taker: Taker, why: str) -> None:
        self.cut_off += 1
        self.forget(taker)
        logger.warning("client %s is hung up on: %s", taker.address.decode(), why)
        taker.abort()
