"""Jobs and queues as JSON lines, and back: the text of a dump, described in docs/data-directory.md.

What a line says is checked as it is read; how lines go together is for whoever loads them. Pure.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from pydisque.node.engine.job import ACTIVE, QUEUED, Job
from pydisque.node.engine.queue import Queue
from pydisque.node.store.dump.validation import LATEST, MOST_NACKS, job_nonsense, queue_nonsense
from pydisque.node.store.durable.records import FURTHEST
from pydisque.node.store.durable.recovery import Replay

HEAD: Final = "pydisque-dump"
VERSION: Final = 1

_STATES: Final = {QUEUED.decode(): QUEUED, ACTIVE.decode(): ACTIVE}
_PAUSES: Final = {
    "none": (False, False), "in": (True, False), "out": (False, True), "all": (True, True)
}  # fmt: skip
_FOR_READERS: Final = {"created", "expires", "due", "used"}
"""Fields that tell a time again, for people: not read back."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class LineError(ValueError):
    """A line is none of a dump; the text says why."""


class Head(NamedTuple):
    """What the first line says of the rest; None where it does not say."""

    jobs: int | None
    queues: int | None


# Writing


def lines(state: Replay, node: bytes) -> Iterator[bytes]:
    """The dump of all this, line by line: the head, queues by age, jobs by age."""
    queues = sorted(filter(worth_telling, state.queues.values()), key=lambda queue: queue.serial)
    head = {
        "type": HEAD,
        "version": VERSION,
        "node": node.decode("ascii", "replace") or None,
        "time": moment(state.now),
        "queues": len(queues),
        "jobs": len(state.jobs),
    }
    yield _line(head)
    for queue in queues:
        yield _line(_of_queue(queue))
    for ctime in sorted(state.jobs):
        yield _line(_of_job(state.jobs[ctime]))


def worth_telling(queue: Queue) -> bool:
    """Whether there is anything to a queue beside its jobs."""
    return bool(queue.paused_in or queue.paused_out or queue.jobs_in or queue.jobs_out)


def moment(milliseconds: int) -> str:
    """A time for people, in UTC."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_second(seconds)}.{rest:03}Z" if 0 <= milliseconds < LATEST else "far ahead"


@lru_cache(1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _line(fields: dict[str, Any]) -> bytes:
    return _encode(fields).encode() + b"\n"


def _of_queue(queue: Queue) -> dict[str, Any]:
    return {
        "type": "queue",
        "queue": _text(queue.name),
        "paused": queue.pause.decode(),
        "jobs_in": queue.jobs_in,
        "jobs_out": queue.jobs_out,
        "ctime": queue.ctime,
        "created": moment(queue.ctime),
        "atime": queue.atime,
        "used": moment(queue.atime),
    }


def _of_job(job: Job) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "type": "job",
        "id": job.id.decode("ascii"),
        "queue": _text(job.queue),
        "body": _text(job.body),
        "state": job.state.decode(),
        "ctime": job.ctime,
        "created": moment(job.ctime // 1_000_000),
        "etime": job.etime,
        "expires": moment(job.etime * 1000),
        "retry": job.retry,
    }
    if job.delay:
        fields["delay"] = job.delay
    if job.qtime is not None:
        fields |= {"qtime": job.qtime, "due": moment(job.qtime)}
    if job.nacks:
        fields["nacks"] = job.nacks
    if job.additional_deliveries:
        fields["additional_deliveries"] = job.additional_deliveries
    if job.unqueued:
        fields["unqueued"] = True
    if job.spent:
        fields["spent"] = True
    return fields


def _text(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


# Reading


def parse(line: bytes) -> Head | Queue | Job:
    """What a line says; a queue's serial is for the loader to give.

    Raises:
        LineError: it says nothing, or something that cannot be.
    """
    try:
        fields = json.loads(line.decode())
    except (ValueError, RecursionError):
        raise LineError("not JSON in UTF-8") from None
    if not isinstance(fields, dict):
        raise LineError("not a JSON object")
    reader = _Fields(fields)
    kind = fields.pop("type", None)
    if kind == "job":
        return _job(reader)
    if kind == "queue":
        return _queue(reader)
    if kind == HEAD:
        return _head(reader)
    raise LineError(f"unknown type {kind!r}")


class _Fields:
    """Takes the fields of a line, each once."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def take(self, name: str) -> Any:
        try:
            return self._fields.pop(name)
        except KeyError:
            raise LineError(f"no field {name!r}") from None

    def number(self, name: str, default: int | None = None, most: int = FURTHEST) -> int:
        value = self.take(name) if default is None else self._fields.pop(name, default)
        if type(value) is not int or not 0 <= value <= most:
            raise LineError(f"{name!r} is not a whole number from 0 to {most}")
        return value

    def optional(self, name: str) -> int | None:
        return None if self._fields.get(name) is None else self.number(name)

    def flag(self, name: str) -> bool:
        value = self._fields.pop(name, False)
        if type(value) is not bool:
            raise LineError(f"{name!r} is neither true nor false")
        return value

    def data(self, name: str) -> bytes:
        value = self.take(name)
        try:
            if isinstance(value, dict) and list(value) == ["base64"]:
                return b64decode(value["base64"], validate=True)
            if isinstance(value, str):
                return value.encode()
        except (ValueError, TypeError):
            pass
        raise LineError(f'{name!r} is neither text nor {{"base64": "..."}}')

    def word(self, name: str, words: dict[str, Any], default: str) -> Any:
        value = self._fields.pop(name, default)
        if not isinstance(value, str) or value not in words:
            raise LineError(f"{name!r} is none of {', '.join(words)}")
        return words[value]

    def end(self) -> None:
        """Nothing may be left over: a name spelt wrongly must not stand for its default."""
        left = [name for name, value in self._fields.items() if value is not None]
        if unknown := sorted(set(left) - _FOR_READERS):
            raise LineError(f"unknown field {unknown[0]!r}")


def _head(fields: _Fields) -> Head:
    version = fields.take("version")
    if version != VERSION or type(version) is not int:
        raise LineError(f"a dump of version {version!r}, where this pydisque reads {VERSION}")
    return Head(fields.optional("jobs"), fields.optional("queues"))


def _queue(fields: _Fields) -> Queue:
    queue = Queue(fields.data("queue"), 1, fields.number("ctime"))
    queue.atime = fields.number("atime", queue.ctime)
    queue.paused_in, queue.paused_out = fields.word("paused", _PAUSES, "none")
    queue.jobs_in, queue.jobs_out = fields.number("jobs_in", 0), fields.number("jobs_out", 0)
    fields.end()
    if wrong := queue_nonsense(queue):
        raise LineError(f"a queue that cannot be: {wrong}")
    return queue


def _job(fields: _Fields) -> Job:
    id_, queue, body = fields.data("id"), fields.data("queue"), fields.data("body")
    ctime, etime = fields.number("ctime"), fields.number("etime")
    job = Job(id_, queue, body, ctime, etime, fields.number("retry", 300))
    job.state = fields.word("state", _STATES, "queued")
    job.delay = fields.number("delay", 0)
    job.qtime = fields.optional("qtime")
    job.nacks = fields.number("nacks", 0, MOST_NACKS)
    job.additional_deliveries = fields.number("additional_deliveries", 0, MOST_NACKS)
    job.unqueued, job.spent = fields.flag("unqueued"), fields.flag("spent")
    fields.end()
    if wrong := job_nonsense(job):
        raise LineError(f"a job that cannot be: {wrong}")
    return job
