"""What a node's replies are given back as.

Each class here is the very list or tuple the old client gave, with names for its parts: it
compares, unpacks and indexes as before. Text is bytes, and annotated so, or str for a client made
with ``decode_responses=True``. Nothing here knows which command was asked, or how.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

__all__ = ["Job", "JobInfo", "QueueStats", "parse_info"]

InfoValue: TypeAlias = "str | int | float | list[Any] | dict[str, Any]"


class Job(tuple[Any, ...]):
    """A job as GETJOB hands it out: ``(queue, id, body)``, or five parts with its counters.

    Equal to the plain tuple and unpacked like one::

        for queue, job_id, body in client.get_job(["mail"]): ...
    """

    __slots__ = ()

    @property
    def queue(self) -> bytes:
        """The queue's name."""
        return self[0]  # type: ignore[no-any-return]

    @property
    def id(self) -> bytes:
        """The job ID, 40 letters."""
        return self[1]  # type: ignore[no-any-return]

    @property
    def body(self) -> bytes:
        """The job itself."""
        return self[2]  # type: ignore[no-any-return]

    @property
    def nacks(self) -> int | None:
        """How often a worker gave it back with NACK; None when asked without counters."""
        return self[3] if len(self) > 3 else None

    @property
    def additional_deliveries(self) -> int | None:
        """How often it was queued again without a NACK; None when asked without counters."""
        return self[4] if len(self) > 3 else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({super().__repr__()})"


class _Fields(list[Any]):
    """A flat list of names and values, looked up by name."""

    __slots__ = ()

    def get(self, name: str, default: Any = None) -> Any:
        """The value that follows a name, given as str; the default when the node left it out."""
        for wanted in (name.encode(), name):
            at = -1
            try:
                while (at := self.index(wanted, at + 1)) % 2:
                    pass  # a value that happens to be the same word
                return self[at + 1]
            except (ValueError, IndexError):
                continue
        return default

    def as_dict(self) -> dict[Any, Any]:
        """The same as a dict; its keys are bytes, or str when the client decodes."""
        return dict(zip(self[::2], self[1::2], strict=False))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({super().__repr__()})"


def _field(name: str, text: str) -> Any:
    return property(lambda self: self.get(name), doc=text)


class JobInfo(_Fields):
    """What a node knows of a job: the flat list SHOW gives, with a property for each field."""

    __slots__ = ()

    id: bytes = _field("id", "The job ID.")
    queue: bytes = _field("queue", "The queue's name.")
    state: bytes = _field("state", "``wait-repl``, ``active``, ``queued`` or ``acked``.")
    repl: int = _field("repl", "The number of copies asked for.")
    ttl: int = _field("ttl", "Seconds until the job is dropped.")
    ctime: int = _field("ctime", "When it was made, in nanoseconds since 1970.")
    delay: int = _field("delay", "Seconds it waited before it was queued first.")
    retry: int = _field(
        "retry", "Seconds until it is queued again when not acknowledged; 0: never."
    )
    nacks: int = _field("nacks", "How often a worker gave it back.")
    additional_deliveries: int = _field(
        "additional-deliveries", "How often it was queued again without a NACK."
    )
    nodes_delivered: list[bytes] = _field("nodes-delivered", "IDs of nodes that may hold a copy.")
    nodes_confirmed: list[bytes] = _field("nodes-confirmed", "IDs of nodes that confirmed.")
    next_requeue_within: int | None = _field(
        "next-requeue-within", "Milliseconds until it is queued again, or None."
    )
    next_awake_within: int | None = _field(
        "next-awake-within", "Milliseconds until the node looks at it again."
    )
    body: bytes = _field("body", "The job itself.")


def believed(copies: Iterable[JobInfo | None]) -> JobInfo | None:
    """Of what several nodes know of one job, None for those that know nothing, what to go by.

    The node that has it queued is right, as a copy is no more than active elsewhere. Who knows of
    its acknowledgement may know nothing else of it, and comes last.
    """
    known = (copy for copy in copies if copy is not None)
    return max(known, key=lambda copy: _BELIEVED.get(copy.state, 1), default=None)


_BELIEVED = {b"queued": 2, b"acked": 0}


class QueueStats(_Fields):
    """What a node knows of a queue: the flat list QSTAT gives, with a property for each field."""

    __slots__ = ()

    name: bytes = _field("name", "The queue's name.")
    len: int = _field("len", "Jobs queued now.")
    age: int = _field("age", "Seconds since the node made the queue.")
    idle: int = _field("idle", "Seconds since it was last used.")
    blocked: int = _field("blocked", "Clients that wait for its jobs.")
    import_from: list[bytes] = _field("import-from", "IDs of nodes that send jobs for it.")
    import_rate: int = _field("import-rate", "Jobs a second that arrive from other nodes.")
    jobs_in: int = _field("jobs-in", "Jobs queued so far.")
    jobs_out: int = _field("jobs-out", "Jobs handed out so far.")
    pause: bytes = _field("pause", "``none``, ``in``, ``out`` or ``all``.")


def parse_info(reply: bytes | str) -> dict[str, InfoValue]:
    """The text of INFO as a dict, its values turned into numbers, lists and dicts as redis-py does.

    Section titles and empty lines are dropped.
    """
    lines = reply.decode(errors="replace") if isinstance(reply, bytes) else reply
    info: dict[str, InfoValue] = {}
    for line in lines.splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            info[name] = _info_value(value)
    return info


def _info_value(value: str) -> InfoValue:
    if "=" in value:
        pairs = (item.rpartition("=") for item in value.split(",") if item)
        return {name: _number(text) for name, _, text in pairs}
    if "," in value:
        return [_number(item) for item in value.split(",") if item]
    return _number(value)


def _number(value: str) -> str | int | float:
    try:
        return float(value) if "." in value else int(value)
    except ValueError:
        return value
