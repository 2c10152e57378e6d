"""A client for each node whose jobs count, kept between requests."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from pydisque.client.client import Client

DEADLINE = 3.0
"""Seconds after which a node that says nothing is given up."""


class Clients:
    """Clients by the addresses of their nodes, each of that node alone; for any thread."""

    def __init__(self) -> None:
        self._kept: dict[str, Client] = {}
        self._lock = threading.Lock()

    def of(self, urls: Iterable[str]) -> list[Client]:
        """One for each of these nodes; those of others are closed."""
        wanted = list(urls)
        with self._lock:
            for url in self._kept.keys() - set(wanted):
                self._kept.pop(url).close()
            for url in wanted:
                if url not in self._kept:
                    self._kept[url] = Client(
                        [url], deadline=DEADLINE, socket_timeout=DEADLINE, discover=False
                    )
            return [self._kept[url] for url in wanted]

    def close(self) -> None:
        """Hang up."""
        self.of([])
