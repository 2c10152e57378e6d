"""Which queues are bound to an exchange, as all processes know it: records in a queue of its own.

A record is a job that is only peeked at. The last record of a queue and routing key counts, so a
record of a removal outdoes older ones. A binding of a lasting queue stays after its process; one of
a queue that lives as long as its consumer expires soon after it. Must not know channels.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from typing import Any, NamedTuple, cast
from uuid import uuid4

from kombu.transport.virtual.exchange import TopicExchange
from redis.exceptions import RedisError

from pydisque.adapters.kombu.messages import YEAR
from pydisque.client.client import Client

logger = logging.getLogger("pydisque.adapters.kombu")

# Seconds that the binding of a passing queue lasts, and after which it is recorded again.
LASTS = 60
REPEAT = 20

# Seconds for which the removal of a binding is recorded: longer than a process that has declared
# the binding itself may be stopped.
REMOVAL = 86400

# Seconds after which a record that a client has fetched is queued again.
RETRY = 5

# The largest number of records of one exchange.
MOST = 10_000

# The largest Unix time that a record may name.
FURTHEST = 2**53

KINDS = ("direct", "topic", "fanout")

Place = tuple[str, str]
"""A queue and the routing key by which it is bound: what identifies a binding of an exchange."""


class BindingsError(Exception):
    """The bindings of an exchange are not all known."""


class Binding(NamedTuple):
    """How a queue is bound to an exchange."""

    queue: str
    key: str
    kind: str
    """The type of the exchange."""
    lasting: bool = True
    """Whether the queue outlives its consumer."""
    life: int | None = None
    """Seconds after which a message in the queue is of no use; None: the transport's ttl."""
    owner: str = ""
    """The transport that records a binding which does not last; another may record it as well."""

    @property
    def place(self) -> Place:
        """The queue and the routing key."""
        return self.queue, self.key

    def takes(self, routing_key: str) -> bool:
        """Whether the queue gets messages of this routing key."""
        if self.kind == "topic":
            return bool(_TOPICS._match(_TOPICS.key_to_pattern(self.key), routing_key))  # noqa: SLF001
        return self.kind == "fanout" or self.key == routing_key


class Record(NamedTuple):
    """A binding as it is recorded, or its removal."""

    binding: Binding
    removed: bool
    until: int
    """Unix time at which it expires."""
    job_id: bytes = b""

    def still_records(self, binding: Binding) -> bool:
        """Whether it says of a binding what is to be said, and does not expire soon."""
        lasts = self.until - time.time() > YEAR / 2
        return lasts and not self.removed and self.binding == binding

    def to_body(self) -> str:
        """The body of its job."""
        return json.dumps({**self.binding._asdict(), "removed": self.removed, "until": self.until})

    @classmethod
    def of_body(cls, body: bytes, job_id: bytes) -> Record:
        """Read one.

        Raises:
            ValueError: The body is no record.
        """
        try:
            parts = json.loads(body)
        except RecursionError as error:
            raise ValueError("nested too deep") from error
        if not isinstance(parts, dict) or set(parts) != set(_PARTS):
            raise ValueError("other parts than those of a record")
        for name, kinds in _PARTS.items():
            if type(parts[name]) not in kinds:
                raise ValueError(f"{name} has a wrong type")
        if parts["kind"] not in KINDS or not parts["queue"] or not _in_range(parts):
            raise ValueError("kind, queue, life or until is out of range")
        parts["queue"].encode()  # a lone surrogate cannot be sent
        removed, until = parts.pop("removed"), parts.pop("until")
        return cls(Binding(**parts), removed, until, job_id)


_PARTS: dict[str, tuple[type, ...]] = {
    "queue": (str,), "key": (str,), "kind": (str,), "lasting": (bool,), "life": (int, type(None)),
    "owner": (str,), "removed": (bool,), "until": (int,),
}  # fmt: skip


def _in_range(parts: dict[str, Any]) -> bool:
    life = parts["life"]
    return bool(life is None or life >= 1) and bool(0 <= parts["until"] < FURTHEST)


_TOPICS: Any = cast("Any", TopicExchange)(None)  # it has no types


class Bindings:
    """The bindings that one transport has declared, and those of all processes.

    Used by kombu's thread and by the engine's: each step on the dictionaries is atomic.
    """

    def __init__(self, client: Client) -> None:
        """Declare bindings through this client."""
        self._client = client
        self._owner = uuid4().hex
        self._ours: dict[tuple[str, Place], Binding] = {}
        self._seen: dict[str, tuple[float, list[Record]]] = {}
        self._cut_off: set[str] = set()
        self._complained: set[str] = set()

    def declare(self, exchange: str, binding: Binding) -> None:
        """Bind a queue, for all processes.

        Raises:
            redis.exceptions.RedisError: It cannot be recorded.
        """
        if not binding.lasting:
            binding = binding._replace(owner=self._owner)
        self._ours[exchange, binding.place] = binding
        self._record(exchange, binding)

    def remove(self, exchange: str, place: Place) -> None:
        """Remove a binding, also where other processes have declared it.

        Raises:
            redis.exceptions.RedisError: It cannot be recorded.
        """
        ours = self._ours.pop((exchange, place), None)
        records = self._of_place(exchange, place, ours.owner if ours else None)
        bindings = [each.binding for each in records] if ours is None else [ours]
        if bindings and bindings[-1].lasting:
            self._add(exchange, bindings[-1], REMOVAL, removed=True)
        self._forget(exchange, records)

    def remove_all(self, exchange: str) -> None:
        """Remove all bindings of an exchange, as `remove` does."""
        for queue, key, _ in self.rows(exchange):
            self.remove(exchange, (queue, key))

    def remove_queue(self, queue: str) -> None:
        """Remove all bindings of a queue to the exchanges that this transport has used."""
        for exchange in {name for name, _ in list(self._ours)} | set(self._seen):
            for name, key, _ in self.rows(exchange):
                if name == queue:
                    self.remove(exchange, (queue, key))

    def withdraw(self, queue: str | None = None) -> None:
        """End what we declared of a passing queue, or of all; if that fails they expire."""
        for key, binding in list(self._ours.items()):
            if not binding.lasting and queue in (None, binding.queue):
                with contextlib.suppress(RedisError):
                    self.remove(*key)

    def repeat(self) -> None:
        """Record again what is about to expire, or what a node without a disk has forgotten."""
        with contextlib.suppress(RedisError):  # there is a next time
            for (exchange, _), binding in list(self._ours.items()):
                self._record(exchange, binding, again=True)

    def queues(
        self, exchange: str, routing_key: str, *, certainly: bool = True, max_age: float = 0.0
    ) -> dict[str, int | None]:
        """The queues that get a message, and how long it lives there.

        Args:
            exchange: The exchange.
            routing_key: The message's.
            certainly: Whether the message must not be dropped, so too many bindings are an error.
            max_age: Seconds for which records that were read may be used again; 0: read them now.

        Raises:
            redis.exceptions.RedisError: The bindings cannot be read.
            BindingsError: There are too many.
        """
        when, records = self._seen.get(exchange, (0.0, []))
        if time.monotonic() - when >= max_age:
            records = self._read(exchange)
        if certainly and exchange in self._cut_off:
            raise BindingsError(f"more than {MOST} bindings of one exchange")
        bound = self._merged(exchange, records).values()
        return {each.queue: each.life for each in bound if each.takes(routing_key)}

    def rows(self, exchange: str) -> list[tuple[str, str, str]]:
        """Queue, routing key and type of all bindings.

        Raises:
            redis.exceptions.RedisError: They cannot be read.
        """
        bound = self._merged(exchange, self._read(exchange)).values()
        return [(each.queue, each.key, each.kind) for each in bound]

    def _merged(self, exchange: str, records: list[Record]) -> dict[Place, Binding]:
        """What we declared and what is recorded; a removal holds for both."""
        bound = {
            place: each for (name, place), each in list(self._ours.items()) if name == exchange
        }
        for record in records:
            place = record.binding.place
            if record.removed:
                bound.pop(place, None)
            else:
                bound[place] = record.binding
        return bound

    # Records

    def _record(self, exchange: str, binding: Binding, *, again: bool = False) -> None:
        """Have one record of a binding, which is the last of its place and lasts.

        A removal by another process is final for one that only records its binding again.
        """
        same = self._of_place(exchange, binding.place, binding.owner)
        if again and same and same[-1].removed:
            self._ours.pop((exchange, binding.place), None)
            return
        if same and binding.lasting and same[-1].still_records(binding):
            self._forget(exchange, same[:-1])
            return
        job_id = self._add(exchange, binding, YEAR if binding.lasting else LASTS)
        self._forget(exchange, same)
        if (exchange, binding.place) not in self._ours:  # removed by the other thread
            self._client.ack_job(job_id)

    def _of_place(self, exchange: str, place: Place, owner: str | None) -> list[Record]:
        """The records of a binding, of an owner or of any."""
        return [
            each
            for each in self._read(exchange)
            if each.binding.place == place and owner in (None, each.binding.owner)
        ]

    def _add(
        self, exchange: str, binding: Binding, seconds: int, *, removed: bool = False
    ) -> bytes:
        record = Record(binding, removed, int(time.time()) + seconds)
        queue = queue_of(exchange)
        job_id: bytes = self._client.add_job(queue, record.to_body(), ttl=seconds, retry=RETRY)
        self._seen.pop(exchange, None)
        return job_id

    def _forget(self, exchange: str, records: list[Record]) -> None:
        """Delete records after which there are newer ones, or which are over."""
        if records:
            self._client.ack_job(*[each.job_id for each in records])
            self._seen.pop(exchange, None)

    def _read(self, exchange: str) -> list[Record]:
        """All records, the oldest first; other jobs are skipped."""
        records = []
        jobs = self._client.qpeek(queue_of(exchange), MOST)
        (self._cut_off.add if len(jobs) >= MOST else self._cut_off.discard)(exchange)
        for job in jobs:
            try:
                records.append(Record.of_body(job.body, job.id))
            except ValueError as error:
                self._complain(exchange, job.id, error)
        self._seen[exchange] = time.monotonic(), records
        return records

    def _complain(self, exchange: str, job_id: bytes, error: ValueError) -> None:
        if exchange not in self._complained:
            self._complained.add(exchange)
            text = "job %s in %s is no binding and is skipped, as others may be: %s"
            logger.warning(text, job_id.decode(), queue_of(exchange), type(error).__name__)


def queue_of(exchange: str) -> str:
    """The queue that the records of an exchange are in."""
    return f"_kombu.binding.{exchange}"
