"""A job as its handler sees it.

It is what GETJOB gave, with names, text where text is meant, and what the worker found out since:
whether its lease is lost. A handler reads it; only the worker writes to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple, Self

from pydisque.client.requeue import at_most_once
from pydisque.monitoring.text import shown
from pydisque.protocol.envelope import EARLIER, MARK, unwrap
from pydisque.protocol.replies import JobInfo

# What an ID consists of, of whichever node; it goes into dead letters and apps remember it.
_ID = re.compile(r"D-[0-9A-Za-z+/-]{1,38}")

# No job has as many failures or unanswered deliveries: at one a second it would be a week old.
MOST_ATTEMPTS = 1_000_000


class Earlier(NamedTuple):
    """What a job's header says of the job that it was added again for."""

    id: str
    nacks: int
    additional_deliveries: int

    @classmethod
    def of_header(cls, header: Any) -> Self | None:
        """Read it; None if a worker cannot have written it: a producer may write anything."""
        if not isinstance(header, dict):
            return None
        fields: list[Any] = [header.get(name) for name in cls._fields]
        earlier = cls(*fields)
        if not (isinstance(earlier.id, str) and _ID.fullmatch(earlier.id)):
            return None
        counters = (earlier.nacks, earlier.additional_deliveries)
        believable = all(
            type(number) is int and 0 <= number <= MOST_ATTEMPTS for number in counters
        )
        return earlier if believable else None


class WorkerJob:
    """One delivery of a job.

    Its ``body`` is bytes as the producer sent it, without the headers that may travel with it;
    ``queue`` and ``id`` are str.
    """

    __slots__ = (
        "_earlier", "_headers", "additional_deliveries", "body", "counters", "decode", "done",
        "key", "lease_ends", "lost", "nacks", "name", "received", "renewable", "safe_until", "sent",
    )  # fmt: skip

    def __init__(self, queue: bytes, id_: bytes, body: bytes, nacks: int, additional: int) -> None:
        """Make it from what GETJOB WITHCOUNTERS gives."""
        self.name = queue
        """The queue's name as it is on the wire."""
        self.key = id_
        """The ID as it is on the wire."""
        self.sent = body
        """The body as it is on the wire, with its headers."""
        self.body = body
        self.nacks = nacks
        """How often a worker gave it back as failed."""
        self.additional_deliveries = additional
        """How often it was delivered again because nobody answered for it."""
        self.decode: Callable[[bytes], Any] = json.loads
        """What makes its value of its body."""
        self.received: Any = None
        """What the client that fetched it calls it."""
        self.counters = (nacks, additional)
        """The same two as the server had them at this delivery."""
        self._headers: dict[str, Any] | None = None
        self._earlier: Earlier | None = None
        self.safe_until = inf if self.at_most_once else 0.0
        """Until when it is certainly not delivered again, by the worker's steady clock."""
        self.lease_ends: float | None = None
        """When the lease is over, by the worker's steady clock; None while that is not known."""
        self.renewable = True
        self.done = False
        self.lost = False
        if body.startswith(MARK):
            self._open()

    def _open(self) -> None:
        self.body, self._headers = unwrap(self.sent)
        earlier = self._earlier = Earlier.of_header(self._headers.get(EARLIER))
        if earlier is not None:
            self.nacks += earlier.nacks
            self.additional_deliveries += earlier.additional_deliveries

    @property
    def queue(self) -> str:
        """The queue's name."""
        return self.name.decode("utf-8", "surrogateescape")

    @property
    def id(self) -> str:
        """The job ID, 40 letters."""
        return self.key.decode()

    @property
    def first_id(self) -> str:
        """The ID under which it was first added, if it was added again for a later attempt."""
        return self.id if self._earlier is None else self._earlier.id

    @property
    def attempt(self) -> int:
        """Which delivery this is, from 1: failures and unanswered deliveries before it count."""
        return 1 + self.nacks + self.additional_deliveries

    @property
    def headers(self) -> dict[str, Any]:
        """What travels beside the body, see `pydisque.protocol.envelope`; most jobs have none."""
        return self._headers or {}

    @property
    def lease_lost(self) -> bool:
        """Whether another worker may have it by now; what is not done yet is best left undone."""
        return self.lost

    @property
    def at_most_once(self) -> bool:
        """Whether it was added with ``retry=0``, and is never delivered again; its ID tells."""
        return at_most_once(self.key)

    @property
    def value(self) -> Any:
        """The body, decoded as its handler is told to (``decode=``), else as JSON.

        It is decoded each time it is asked for, and what ``decode`` raises is raised.
        """
        return self.decode(self.body)

    def is_as_delivered(self, info: JobInfo) -> bool:
        """Whether it was not queued again since; if it was, another worker may have it."""
        return (info.nacks, info.additional_deliveries) == self.counters

    def json(self) -> Any:
        """The body, which is JSON, as a value.

        Raises:
            ValueError: It is not JSON.
        """
        return json.loads(self.body)

    def parts(self) -> tuple[bytes, bytes, bytes, int, int]:
        """What it can be made from again, in another process: what GETJOB gave."""
        return (self.name, self.key, self.sent, *self.counters)

    def __repr__(self) -> str:
        return f"<WorkerJob {self.id} of {self.queue!r}, attempt {self.attempt}>"


def named(job: WorkerJob) -> str:
    """A job in a line of the log."""
    return f"job {shown(job.key)} of {shown(job.queue)}"
