"""What a worker's core is to do, and with what: read from the worker's settings, never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydisque.worker.handlers.handler import Handler


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of one core."""

    nodes: Any
    options: Mapping[str, Any]
    """For `AsyncClient`."""
    handlers: Mapping[bytes, Handler]
    """By queue."""
    sources: Sequence[bytes]
    """The queues to fetch from; one that is there twice is asked twice in each pass."""
    strict: bool
    """Whether a queue is asked only when those before it are empty."""
    concurrency: int
    ahead: int
    """The most jobs to fetch before there is room to run them."""
    grace: float
    """Seconds that running jobs get when the worker stops."""
    fast_ack: bool
    levels: Sequence[Sequence[bytes]] = ()
    """If strict: the sources by their importance, those of one level in turn; else each is one."""
