"""One node as it is asked for itself, and for no other."""

from __future__ import annotations

from math import inf

from redis.exceptions import RedisError

from pydisque.client.async_client import AsyncClient
from pydisque.errors import UnreachableError
from pydisque.monitoring.figures import NodeFigures
from pydisque.monitoring.state_counts import Census
from pydisque.protocol.addresses import Address

DEADLINE = 2.0
"""Seconds after which a node that says nothing is given up."""


class Probe:
    """A node, what it told last, and how far it was looked through."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.name = str(address)
        self.client = AsyncClient(
            [address.url],
            deadline=0,
            discover=False,
            socket_timeout=DEADLINE,
            socket_connect_timeout=DEADLINE,
        )
        self.figures = NodeFigures("", self.name)
        self.failure: RedisError | None = None
        """Why it could not be asked last; in short it is in the figures."""
        self.census = Census()
        self.cursor: int | bytes = 0
        """Where the list of its queues goes on."""
        self.listed = False
        """Whether all of them were listed since the survey last began with them anew."""
        self._names_listed = 0
        self._most_listed = 0.0

    def list_anew(self) -> None:
        """Begin with its queues anew."""
        self.cursor, self.listed, self._names_listed = 0, False, 0

    async def list_some(self, step: int) -> list[bytes]:
        """The names of some more queues.

        A list ends after twice as many names as there were queues at its beginning: where queues
        are made faster than they are listed, it would have no end.
        """
        if not self._names_listed:
            known = self.figures.figure("registered_queues")
            self._most_listed = 2 * known + step if isinstance(known, int) else inf
        names: list[bytes]
        self.cursor, names = await self.client.qscan(self.cursor, step)
        self._names_listed += max(len(names), 1)
        self.listed = int(self.cursor) == 0 or self._names_listed > self._most_listed
        return names

    def note(self, failure: RedisError | None) -> None:
        """Keep why it could not be asked, or that it could."""
        self.failure = failure
        self.figures.error = "" if failure is None else in_short(failure)


def in_short(failure: RedisError) -> str:
    """What a node met, without which node that was."""
    return str((isinstance(failure, UnreachableError) and failure.__cause__) or failure)
