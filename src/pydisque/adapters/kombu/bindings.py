"""Which queues of other processes are bound to an exchange: what remote control goes by.

A queue that lives as long as its consumer is announced by a job in a queue of the exchange's own,
which is only ever looked at. The job is gone soon after its consumer, as nobody adds it again.
Queues that last are in everybody's configuration, and are not announced.
"""

from __future__ import annotations

import contextlib
import json
import threading
from time import monotonic
from typing import NamedTuple

from redis.exceptions import RedisError

from pydisque.client import Client

# Seconds that an announcement lasts, and after which it is made again.
LASTS = 60
REPEAT = 20

# The most bindings of one exchange.
MOST = 10_000

# Seconds for which what is bound to an exchange may be remembered, where there are many messages.
FRESH = 1.0


Row = tuple[str, str | None, str]
"""Of an exchange's table, as kombu has it: the routing key, its pattern and the queue."""


class Binding(NamedTuple):
    """What is announced of a queue."""

    routing_key: str
    pattern: str | None
    queue: str
    life: int | None = None
    """Seconds for which what is in the queue is of use; None: as long as anything."""


class Bindings:
    """The announcements of one transport; used by kombu's thread and by the engine's."""

    def __init__(self, client: Client) -> None:
        """Announce nothing yet."""
        self._client = client
        self._lock = threading.Lock()
        self._ours: dict[tuple[str, Binding], list[bytes]] = {}
        self._seen: dict[str, tuple[float, list[Binding]]] = {}
        self.lives: dict[str, int | None] = {}
        """The queues that others have announced, and the lives of their messages."""

    def announce(self, exchange: str, binding: Binding) -> None:
        """Tell others of a binding of ours.

        Raises:
            redis.exceptions.RedisError: No node answered.
        """
        key = exchange, binding
        with self._lock:
            if key in self._ours:
                return
            self._ours[key] = []
        self._add(exchange, binding)

    def withdraw(self, queue: str) -> None:
        """Forget all bindings of a queue of ours; where that fails, they end by themselves."""
        with self._lock:
            keys = [key for key in self._ours if key[1].queue == queue]
            ids = [job_id for key in keys for job_id in self._ours.pop(key)]
        if ids:
            with contextlib.suppress(RedisError):
                self._client.ack_job(*ids)

    def withdraw_all(self) -> None:
        """As the connection ends."""
        for queue in {binding.queue for _, binding in list(self._ours)}:
            self.withdraw(queue)

    def repeat(self) -> None:
        """Announce again what is about to be forgotten."""
        with contextlib.suppress(RedisError):  # there is a next time
            for exchange, binding in list(self._ours):
                self._add(exchange, binding)

    def table(self, exchange: str, *, fresh: bool) -> list[Row]:
        """All bindings announced for an exchange.

        Raises:
            redis.exceptions.RedisError: No node answered.
        """
        when, known = self._seen.get(exchange, (0.0, []))
        if fresh or monotonic() - when >= FRESH:
            jobs = self._client.qpeek(_queue_of(exchange), MOST)
            known = list(dict.fromkeys(Binding(*json.loads(job.body)) for job in jobs))
            self._seen[exchange] = monotonic(), known
            everything = [each for _, bindings in self._seen.values() for each in bindings]
            self.lives = {each.queue: each.life for each in everything}
        return [binding[:3] for binding in known]

    def _add(self, exchange: str, binding: Binding) -> None:
        job_id = self._client.add_job(_queue_of(exchange), json.dumps(binding), ttl=LASTS)
        with self._lock:
            ids = self._ours.get((exchange, binding))
            if ids is not None:
                ids[:] = [*ids[-(LASTS // REPEAT) :], job_id]


def _queue_of(exchange: str) -> str:
    return f"_kombu.binding.{exchange}"
