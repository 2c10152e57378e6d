"""Jobs and handlers for the tests of what a worker decides."""

from __future__ import annotations

from itertools import count
from typing import Any

from pydisque.worker.handlers.handler import Backoff, Handler
from pydisque.worker.handlers.job import WorkerJob

_numbers = count()


def a_job(
    body: bytes = b"body", nacks: int = 0, additional: int = 0, *, at_most_once: bool = False
) -> WorkerJob:
    """A delivery with an ID of its own."""
    last = "05a0" if at_most_once else "05a1"
    id_ = f"D-{next(_numbers):08x}-{'x' * 24}-{last}"
    return WorkerJob(b"q", id_.encode(), body, nacks, additional)


def a_handler(**options: Any) -> Handler:
    """A handler with the limits given."""
    usual = {
        "function": print, "queue": "q", "max_attempts": 3, "max_additional_deliveries": 2,
        "backoff": Backoff(1, 60), "timeout": None, "dead_queue": "q:dead", "dead_ttl": 60,
    }  # fmt: skip
    return Handler(**{**usual, **options})
