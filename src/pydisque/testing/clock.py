"""The clock of nodes under test: it stands still until the test moves it."""

from __future__ import annotations

import time
from typing import Any

from pydisque.node import Server


class Clock:
    """The time of nodes under test: it starts at the real time, and stands still.

    ::

        clock = Clock()
        with clock.server() as server, Client(server.address) as client:
            client.add_job("reminders", "later", delay=60)
            clock.advance(60)
            client.get_job(["reminders"], nohang=True)
    """

    def __init__(self) -> None:
        """Begin now."""
        self._milliseconds = time.time_ns() // 1_000_000
        self._servers: list[Server] = []

    def __call__(self) -> float:
        """Unix time in seconds, as `Server` wants it."""
        return self._milliseconds / 1000

    def server(self, *args: Any, **settings: Any) -> Server:
        """Make a node on this clock; the arguments are those of `Server`."""
        server = Server(*args, clock=self, **settings)
        self._servers.append(server)
        return server

    def advance(self, seconds: float) -> None:
        """Let time pass; on return the nodes that run have done all that is due by then.

        Raises:
            ValueError: it would go back.
        """
        if seconds < 0:
            raise ValueError(f"time goes on, so seconds must be 0 or more, not {seconds}")
        self._milliseconds += round(seconds * 1000)
        for server in self._servers:
            server.catch_up()
