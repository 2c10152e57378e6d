"""HTTP for the dashboard by uvicorn, with a limit on connections that wait for their clients.

A new connection over the limit closes the ones that have waited for longest. uvicorn's own
`limit_concurrency` refuses requests instead, so idle connections could lock out every client; it
must not be set. Requests under way are limited by `guard`.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from uvicorn.protocols.http.h11_impl import H11Protocol

FIRST_REQUEST = 10.0
"""Seconds that a new connection has for its first request."""

MOST_CONNECTIONS = 500
"""Maximum number of connections; those that process a request may exceed it."""


class Protocol(H11Protocol):
    """One connection, closed if nothing comes of it, or another one needs its place."""

    _hurry: asyncio.TimerHandle
    idle_since: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self.idle_since = monotonic()
        self._hurry = self.loop.call_later(FIRST_REQUEST, self._hang_up)
        if len(self.connections) > MOST_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._hurry.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Be idle from now on."""
        self.idle_since = monotonic()
        super().on_response_complete()

    def _make_room(self) -> None:
        """Close the connections that have waited for their clients for longest."""
        others = [each for each in self.connections if isinstance(each, Protocol)]
        waiting = [each for each in others if each is not self and each.waits_for_client]
        waiting.sort(key=lambda each: each.idle_since)
        for each in waiting[: len(self.connections) - MOST_CONNECTIONS]:
            each._drop()  # noqa: SLF001 - another one of this class

    @property
    def waits_for_client(self) -> bool:
        """Whether the client has to send a request or its rest, or to read the response."""
        if self.cycle is None or self.cycle.response_complete:
            return True
        return self.cycle.more_body or self.flow.write_paused

    def _drop(self) -> None:
        """Close the connection, without waiting until the client has read what was sent."""
        self.connections.discard(self)
        self.transport.abort()

    def _hang_up(self) -> None:
        if self.cycle is None:  # no request was complete so far
            self.transport.close()
