"""One node as it is asked for itself, and for no other."""

from __future__ import annotations

from redis.exceptions import RedisError

from pydisque.addresses import Address
from pydisque.async_client import AsyncClient
from pydisque.errors import UnreachableError
from pydisque.survey.census import Census
from pydisque.survey.figures import NodeFigures

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

    def note(self, failure: RedisError | None) -> None:
        """Keep why it could not be asked, or that it could."""
        self.failure = failure
        self.figures.error = "" if failure is None else in_short(failure)


def in_short(failure: RedisError) -> str:
    """What a node met, without which node that was."""
    return str((isinstance(failure, UnreachableError) and failure.__cause__) or failure)
