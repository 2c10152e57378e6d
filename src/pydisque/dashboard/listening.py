"""HTTP for the dashboard, as uvicorn speaks it, and what it does not put up with.

uvicorn counts connections, and one that never asks for anything would count for ever.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

FIRST_REQUEST = 10.0
"""Seconds that a new connection has for its first request."""


class Protocol(H11Protocol):
    """One connection, closed if nothing comes of it."""

    _hurry: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._hurry = self.loop.call_later(FIRST_REQUEST, self._hang_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._hurry.cancel()
        super().connection_lost(exc)

    def _hang_up(self) -> None:
        if self.cycle is None:  # no request was complete so far
            self.transport.close()
