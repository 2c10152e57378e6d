"""The time that a node on Valkey takes its clients' ages and timeouts from."""

from __future__ import annotations

import time

from pydisque.node.store.valkey.store import ValkeyStore
from pydisque.node.store.valkey.url import Place


async def test_time_is_known_before_any_server_answers() -> None:
    """A client that connects before Valkey is reached is not taken for one that is 50 years old."""
    store = ValkeyStore(Place((("127.0.0.1", 1),)), 1)
    assert abs(store.now - time.time() * 1000) < 60_000
