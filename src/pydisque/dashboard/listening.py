"""HTTP for the dashboard, as uvicorn speaks it, and what it does not put up with.

uvicorn counts connections and refuses requests where there are too many. Those that wait for their
clients give way to new ones here, so that nobody who holds many keeps others out.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from uvicorn.protocols.http.h11_impl import H11Protocol

FIRST_REQUEST = 10.0
"""Seconds that a new connection has for its first request."""

AT_LEAST = 0.5
"""Seconds that a connection may be idle in any case: its request may be on its way."""


class Protocol(H11Protocol):
    """One connection, closed if nothing comes of it, or another one needs its place."""

    _hurry: asyncio.TimerHandle
    idle_since: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self.idle_since = monotonic()
        self._hurry = self.loop.call_later(FIRST_REQUEST, self._hang_up)
        if self.limit_concurrency and len(self.connections) >= self.limit_concurrency:
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
        """Close the connection that has been idle for longest."""
        before = monotonic() - AT_LEAST
        others = (each for each in self.connections if isinstance(each, Protocol))
        idle = [each for each in others if each.is_idle and each.idle_since < before]
        if idle:
            min(idle, key=lambda each: each.idle_since).transport.close()

    @property
    def is_idle(self) -> bool:
        """Whether no whole request is under way."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _hang_up(self) -> None:
        if self.cycle is None:  # no request was complete so far
            self.transport.close()
