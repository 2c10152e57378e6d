"""What the shell offers for a queue's name: asked of a node, within bounds, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from redis.exceptions import RedisError

from pydisque.cli.options.nodes import SILENT
from pydisque.client.client import Client

# Seconds to wait for a node, names looked at in one call, calls, and names to offer.
PATIENCE = 0.3
COUNT = 1000
CALLS = 5
MOST = 200


def names_of_queues(nodes: str | Iterable[str], start: str) -> list[str]:
    """Some of the names that begin so; none if no node answers at once."""
    logging.getLogger("pydisque").addHandler(SILENT)  # nothing is written between what is typed
    patience: dict[str, Any] = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), PATIENCE)
    try:
        with Client(nodes, deadline=PATIENCE, **patience) as client:
            return sorted(set(islice(_beginning(client, start), MOST)))
    except (RedisError, ValueError):
        return []


def _beginning(client: Client, start: str) -> Iterator[str]:
    cursor = 0
    for _ in range(CALLS):
        cursor, names = client.qscan(cursor, count=COUNT)
        for name in (each.decode(errors="replace") for each in names):
            if name.startswith(start) and name.isprintable() and "\ufffd" not in name:
                yield name
        if int(cursor) == 0:
            return
