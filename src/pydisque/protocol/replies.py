"""What a node's replies are given back as.

Each class here is the very list or tuple the old client gave, with names for its parts: it
compares, unpacks and indexes as before. Text is bytes, and annotated so, or str for a client made
with ``decode_responses=True``. A parser takes what its replies can be and raises for anything
else, whichever exception comes first: `Command` knows what to make of it. Nothing here knows which
command was sent, or how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, ClassVar, Self, TypeAlias

from pydisque.errors import UnexpectedReplyError

__all__ = ["Job", "JobInfo", "QueueStats", "parse_info"]

InfoValue: TypeAlias = "str | int | float | list[Any] | dict[str, Any]"


# Parsers


class ShapeError(ValueError):
    """A reply is not what the parser expects."""


def _is_text(value: Any) -> bool:
    return type(value) is bytes or type(value) is str


def _is_number(value: Any) -> bool:
    return type(value) is int


def _is_number_or_nil(value: Any) -> bool:
    return value is None or type(value) is int


def _is_text_or_nil(value: Any) -> bool:
    return value is None or _is_text(value)


def _is_id(value: Any) -> bool:
    return _is_text(value) and value.isascii()


def _are_ids(value: Any) -> bool:
    return type(value) is list and all(map(_is_id, value))


def _is_pause(value: Any) -> bool:
    return value in _PAUSES


_PAUSES = frozenset({b"none", b"in", b"out", b"all", "none", "in", "out", "all"})


def _are_texts(value: Any) -> bool:
    return type(value) is list and all(map(_is_text, value))


def parse_text(reply: Any) -> Any:
    """Any text."""
    if not _is_text(reply):
        raise ShapeError
    return reply


def parse_id(reply: Any) -> Any:
    """A job ID: programs decode it without asking."""
    if (type(reply) is bytes or type(reply) is str) and reply.isascii():
        return reply
    raise ShapeError


def parse_pause(reply: Any) -> Any:
    """The state of a queue's pause."""
    if not _is_pause(reply):
        raise ShapeError
    return reply


def parse_number(reply: Any) -> int:
    """A whole number."""
    if type(reply) is int:
        return reply
    raise ShapeError


def parse_jobs(reply: Any) -> list[Job]:
    """Jobs, each of a queue, an ID and a body; nil is none at all."""
    if reply is None:
        return []
    if type(reply) is not list:
        raise ShapeError
    jobs = []
    for row in reply:
        queue, job_id, body = row
        if type(row) is not list or not type(queue) is type(job_id) is type(body) is bytes:
            _check_texts(row)
        if not job_id.isascii():
            raise ShapeError
        jobs.append(Job(row))
    return jobs


def parse_counted_jobs(reply: Any) -> list[Job]:
    """The same with counters, whose names in between are dropped."""
    if reply is None:
        return []
    if type(reply) is not list:
        raise ShapeError
    jobs = []
    for row in reply:
        queue, job_id, body, _, nacks, _, additional = row
        if not (type(nacks) is type(additional) is int):
            raise ShapeError
        if not (type(queue) is type(job_id) is type(body) is bytes) or type(row) is not list:
            _check_texts(row[:3])
        if not job_id.isascii():
            raise ShapeError
        jobs.append(Job((queue, job_id, body, nacks, additional)))
    return jobs


def _check_texts(row: Any) -> None:
    if not _are_texts(row):
        raise ShapeError


def parse_any_jobs(reply: Any) -> list[Job]:
    """Jobs with counters or without, whichever came."""
    counted = type(reply) is list and reply and len(reply[0]) > 3
    return parse_counted_jobs(reply) if counted else parse_jobs(reply)


def jobs_in(reply: Any) -> list[Job]:
    """The jobs in a reply to GETJOB; none in one that is something else."""
    try:
        return parse_any_jobs(reply)
    except Exception:  # noqa: BLE001 - parsers raise whatever a wrong reply makes them raise
        return []


def parse_names(reply: Any) -> list[Any]:
    """A scan's cursor, and names of queues."""
    if not _are_texts(_page(reply)):
        raise ShapeError
    return reply  # type: ignore[no-any-return]


def parse_ids(reply: Any) -> list[Any]:
    """A scan's cursor, and job IDs."""
    if not _are_ids(_page(reply)):
        raise ShapeError
    return reply  # type: ignore[no-any-return]


def parse_job_infos(reply: Any) -> list[Any]:
    """A scan's cursor, and a `JobInfo` of each job."""
    return [reply[0], [JobInfo.parse(job) for job in _page(reply)]]


def _page(reply: Any) -> Any:
    cursor, elements = reply
    if type(reply) is not list or type(elements) is not list:
        raise ShapeError
    if not (_is_text(cursor) and cursor.isdigit() and len(cursor) <= _MAX_DIGITS):
        raise ShapeError
    return elements


_MAX_DIGITS = 20  # of 64 bits


def parse_hello(reply: Any) -> list[Any]:
    """What a node says of itself: ``[1, own ID, [ID, ip, port, priority], ...]``."""
    version, own_id, *nodes = reply
    if type(reply) is not list or version != 1 or not nodes:
        raise ShapeError
    _utf8(own_id)
    for node in nodes:
        if type(node) is not list:
            raise ShapeError
        _, _, port, priority = map(_utf8, node)
        if not 0 <= int(port) < 65536 or abs(int(priority)) > _MAX_PRIORITY:
            raise ShapeError
    return reply


_MAX_PRIORITY = 1 << 31


def _utf8(value: Any) -> str:
    if type(value) is str:
        return value
    return bytes.decode(value)  # which takes bytes alone


def misread(name: str, reply: Any) -> UnexpectedReplyError:
    """The error for a reply to a command that its parser could not read."""
    if isinstance(reply, UnexpectedReplyError):  # in the place of one that could not be read at all
        return UnexpectedReplyError(f"{name}: {reply}")
    return UnexpectedReplyError(f"{name}: unexpected reply: {shape(reply)}")


def shape(reply: Any, depth: int = 2) -> str:
    """What kind of reply this is, in a few words and without any of its text."""
    if type(reply) is list and depth and reply:
        parts = ", ".join(shape(part, depth - 1) for part in reply[:_SHOWN_PARTS])
        return f"array of {len(reply)} ({parts}{', ...' if len(reply) > _SHOWN_PARTS else ''})"
    if isinstance(reply, (list, dict, set)):
        return f"{'map' if isinstance(reply, dict) else 'array'} of {len(reply)}"
    if isinstance(reply, (bytes, str)):
        return f"text of {len(reply)} {'bytes' if isinstance(reply, bytes) else 'characters'}"
    return _KINDS.get(type(reply), "error" if isinstance(reply, Exception) else "unknown type")


_SHOWN_PARTS = 4
_KINDS = {type(None): "nil", bool: "boolean", int: "integer", float: "double"}


# What parsers make


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

    _checks: ClassVar[dict[Any, Callable[[Any], bool]]]
    """What the value of each name must be; by bytes and by str."""

    def __init_subclass__(cls) -> None:
        checks = {f.name: f.check for f in vars(cls).values() if isinstance(f, _Field)}
        cls._checks = checks | {name.encode(): check for name, check in checks.items()}

    @classmethod
    def parse(cls, reply: Any) -> Self:
        """Take a reply that has all of the fields; others are let pass."""
        if type(reply) is not list or len(reply) % 2:
            raise ShapeError
        missing = len(cls._checks) // 2
        for name, value in zip(islice(reply, 0, None, 2), islice(reply, 1, None, 2), strict=True):
            check = cls._checks.get(name)
            if check is not None:
                missing -= 1
                if not check(value):
                    raise ShapeError
        if missing:
            raise ShapeError
        return cls(reply)

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


class _Field(property):
    """A property for the value of one name."""

    def __init__(self, name: str, check: Callable[[Any], bool], doc: str) -> None:
        super().__init__(lambda fields: fields.get(name), doc=doc)
        self.name = name
        self.check = check


def _field(name: str, check: Callable[[Any], bool], doc: str) -> Any:
    return _Field(name, check, doc)


class JobInfo(_Fields):
    """What a node knows of a job: the flat list SHOW gives, with a property for each field."""

    __slots__ = ()

    id: bytes = _field("id", _is_id, "The job ID.")
    queue: bytes = _field("queue", _is_text_or_nil, "The queue's name.")
    state: bytes = _field("state", _is_id, "``wait-repl``, ``active``, ``queued`` or ``acked``.")
    repl: int = _field("repl", _is_number, "The number of copies asked for.")
    ttl: int = _field("ttl", _is_number, "Seconds until the job is dropped.")
    ctime: int = _field("ctime", _is_number, "When it was made, in nanoseconds since 1970.")
    delay: int = _field("delay", _is_number, "Seconds it waited before it was queued first.")
    retry: int = _field(
        "retry", _is_number, "Seconds until it is queued again when not acknowledged; 0: never."
    )
    nacks: int = _field("nacks", _is_number, "How often a worker gave it back.")
    additional_deliveries: int = _field(
        "additional-deliveries", _is_number, "How often it was queued again without a NACK."
    )
    nodes_delivered: list[bytes] = _field(
        "nodes-delivered", _are_ids, "IDs of nodes that may hold a copy."
    )
    nodes_confirmed: list[bytes] = _field(
        "nodes-confirmed", _are_ids, "IDs of nodes that confirmed."
    )
    next_requeue_within: int | None = _field(
        "next-requeue-within", _is_number_or_nil, "Milliseconds until it is queued again, or None."
    )
    next_awake_within: int | None = _field(
        "next-awake-within", _is_number_or_nil, "Milliseconds until the node looks at it again."
    )
    body: bytes = _field("body", _is_text_or_nil, "The job itself.")

    @classmethod
    def parse(cls, reply: Any) -> Self:
        """Take a reply; only of an acknowledged job a node may know neither queue nor body."""
        info = super().parse(reply)
        if info.state not in (b"acked", "acked") and None in (info.queue, info.body):
            raise ShapeError
        return info


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

    name: bytes = _field("name", _is_text, "The queue's name.")
    len: int = _field("len", _is_number, "Jobs queued now.")
    age: int = _field("age", _is_number, "Seconds since the node made the queue.")
    idle: int = _field("idle", _is_number, "Seconds since it was last used.")
    blocked: int = _field("blocked", _is_number, "Clients that wait for its jobs.")
    import_from: list[bytes] = _field(
        "import-from", _are_ids, "IDs of nodes that send jobs for it."
    )
    import_rate: int = _field(
        "import-rate", _is_number, "Jobs a second that arrive from other nodes."
    )
    jobs_in: int = _field("jobs-in", _is_number, "Jobs queued so far.")
    jobs_out: int = _field("jobs-out", _is_number, "Jobs handed out so far.")
    pause: bytes = _field("pause", _is_pause, "``none``, ``in``, ``out`` or ``all``.")


def parse_info(reply: bytes | str) -> dict[str, InfoValue]:
    """The text of INFO as a dict, its values turned into numbers, lists and dicts as redis-py does.

    Section titles and empty lines are dropped.
    """
    lines: str = parse_text(reply)
    if isinstance(reply, bytes):
        lines = reply.decode(errors="replace")
    info: dict[str, InfoValue] = {}
    for line in lines.splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#"):
            info[name] = _info_value(value)
    for name in _INFO_NUMBERS & info.keys():
        if not isinstance(info[name], int):
            raise ShapeError
    return info


# What programs count with; the rest of INFO is for people to read.
_INFO_NUMBERS = frozenset({
    "blocked_clients", "connected_clients", "instantaneous_ops_per_sec", "registered_jobs",
    "registered_queues", "rejected_connections", "total_commands_processed",
    "total_connections_received", "total_net_input_bytes", "total_net_output_bytes",
    "uptime_in_seconds", "used_memory",
})  # fmt: skip


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
