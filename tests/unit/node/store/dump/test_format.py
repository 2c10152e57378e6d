"""Jobs and queues as JSON lines: what is written is read back, and nothing else is read."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisque.node.engine.job import ACTIVE, Job
from pydisque.node.engine.queue import Queue
from pydisque.node.store.dump.line_format import Head, LineError, lines, moment, parse
from pydisque.node.store.dump.validation import LATEST
from pydisque.node.store.durable.records import FURTHEST
from pydisque.node.store.durable.recovery import Replay

ID = b"D-72821d12-VhDNIQKLrK1GoJ8Tfo9u8wUa-05a1"
JOB = {"type": "job", "id": ID.decode(), "queue": "q", "body": "b", "ctime": 1, "etime": 2}
QUEUE = {"type": "queue", "queue": "q", "ctime": 1}

data = st.one_of(st.binary(), st.text().map(lambda text: text.encode()))
long = st.integers(0, FURTHEST)
short = st.integers(0, 0xFFFF)
made = st.integers(1, LATEST - 1)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """Jobs in every state that the engine knows."""
    ctime = draw(st.integers(1, LATEST * 1_000_000 - 1))
    job = Job(ID, draw(data), draw(data), ctime, draw(st.integers(1, FURTHEST)), draw(long))
    job.delay, job.nacks, job.additional_deliveries = draw(long), draw(short), draw(short)
    job.unqueued = draw(st.booleans())
    if draw(st.booleans()):
        job.state = ACTIVE
        job.spent = not job.retry and draw(st.booleans())
        if not job.spent and (job.retry or draw(st.booleans())):
            job.qtime = draw(st.integers(1, FURTHEST))
    return job


@st.composite
def queues(draw: st.DrawFn) -> Queue:
    """Queues that there is something to tell of."""
    queue = Queue(draw(data), 1, draw(made))
    queue.atime, queue.jobs_in, queue.jobs_out = draw(made), draw(st.integers(1, 9)), draw(long)
    queue.paused_in, queue.paused_out = draw(st.booleans()), draw(st.booleans())
    return queue


def dumped(*told: Job | Queue) -> list[bytes]:
    """The lines of a dump after its head."""
    state = Replay()
    state.jobs = {it.ctime: it for it in told if isinstance(it, Job)}
    state.queues = {it.name: it for it in told if isinstance(it, Queue)}
    return list(lines(state, b""))[1:]


def fields(job: Job) -> list[object]:
    """All that a dump keeps of a job."""
    return [getattr(job, name) for name in Job.__slots__ if name != "home"]


@given(jobs())
def test_a_job_is_read_as_it_was_written(job):
    """Whatever bytes and times a job has, its line tells them all."""
    [line] = dumped(job)
    assert line.count(b"\n") == 1
    assert fields(parse(line)) == fields(job)


@given(queues())
def test_a_queue_is_read_as_it_was_written(queue):
    """So does that of a queue; its place among the others is that of its line."""
    [line] = dumped(queue)
    read = parse(line)
    for name in ("name", "ctime", "atime", "jobs_in", "jobs_out", "paused_in", "paused_out"):
        assert getattr(read, name) == getattr(queue, name)


def test_what_a_line_looks_like():
    """Text stands as text, bytes as base64, times as numbers and for people."""
    job = Job(ID, "grün".encode(), b"\xff", 1_700_000_000_123_456_789, 1_700_000_060, 0)
    [line] = dumped(job)
    assert json.loads(line) == {
        "type": "job",
        "id": ID.decode(),
        "queue": "grün",
        "body": {"base64": "/w=="},
        "state": "queued",
        "ctime": 1_700_000_000_123_456_789,
        "created": "2023-11-14T22:13:20.123Z",
        "etime": 1_700_000_060,
        "expires": "2023-11-14T22:14:20.000Z",
        "retry": 0,
    }
    assert '"queue":"grün"' in line.decode()


def test_the_head():
    """The first line says what it is, of which node and time, and how many lines follow."""
    state = Replay()
    state.now = 1_700_000_000_000
    state.queues[b"idle"] = Queue(b"idle", 1, 5)
    [head] = lines(state, b"a" * 40)
    assert json.loads(head) == {
        "type": "pydisque-dump",
        "version": 1,
        "node": "a" * 40,
        "time": "2023-11-14T22:13:20.000Z",
        "queues": 0,
        "jobs": 0,
    }
    assert parse(head) == Head(0, 0)


def test_defaults():
    """A job needs its ID, queue, body and times; the rest is as ADDJOB has it."""
    job = parse(json.dumps(JOB).encode())
    assert isinstance(job, Job)
    assert (job.state, job.retry, job.delay, job.qtime) == (b"queued", 300, 0, None)
    assert parse(json.dumps(QUEUE).encode()).pause == b"none"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"garbage", "not JSON in UTF-8"),
        (b'"\xff"', "not JSON in UTF-8"),
        (b"[" * 100_000, "not JSON in UTF-8"),
        (b"[]", "not a JSON object"),
        (b"{}", "unknown type None"),
        (b'{"type": "jobs"}', "unknown type 'jobs'"),
        (b'{"type": "pydisque-dump", "version": 2}', "version 2, where this pydisque reads 1"),
        (b'{"type": "pydisque-dump"}', "no field 'version'"),
    ],
)
def test_lines_that_are_none(line, told):
    """What is no line of a dump is told as that."""
    with pytest.raises(LineError, match=told):
        parse(line)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("id", "D-1", "its ID is none"),
        ("id", "D-72821d12-VhDNIQKLrK1GoJ8Tfo9u8w\n a-05a1", "its ID is none"),
        ("id", 7, "'id' is neither text nor"),
        ("queue", None, "'queue' is neither text nor"),
        ("body", {"base64": "no!"}, "'body' is neither text nor"),
        ("body", {"base64": 5}, "'body' is neither text nor"),
        ("body", {"base64": "", "more": 1}, "'body' is neither text nor"),
        ("body", "\ud800", "'body' is neither text nor"),
        ("ctime", 0, "its ctime 0 is out of range"),
        ("ctime", FURTHEST, "is out of range"),
        ("ctime", 1.5, "'ctime' is not a whole number"),
        ("ctime", True, "'ctime' is not a whole number"),
        ("etime", 0, "its etime 0 is out of range"),
        ("etime", 2**63, "'etime' is not a whole number from 0 to"),
        ("retry", -1, "'retry' is not a whole number"),
        ("retry", None, "'retry' is not a whole number"),
        ("nacks", 65536, "'nacks' is not a whole number from 0 to 65535"),
        ("state", "acked", "'state' is none of queued, active"),
        ("state", "active", "it is active with a retry time, but never to be queued again"),
        ("qtime", 5, "it is queued, and yet to be queued or spent"),
        ("spent", True, "it is queued, and yet to be queued or spent"),
        ("unqueued", 1, "'unqueued' is neither true nor false"),
        ("rety", 60, "unknown field 'rety'"),
    ],
)
def test_jobs_that_cannot_be(field, value, told):
    """A field that is wrong is told by its name, and what the engine would never make as well."""
    with pytest.raises(LineError, match=told):
        parse(json.dumps(JOB | {field: value}).encode())


@pytest.mark.parametrize("field", ["id", "queue", "body", "ctime", "etime"])
def test_fields_that_a_job_needs(field):
    """A job that lacks something that has no default is refused."""
    line = json.dumps({name: value for name, value in JOB.items() if name != field})
    with pytest.raises(LineError, match=f"no field '{field}'"):
        parse(line.encode())


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("paused", "both", "'paused' is none of none, in, out, all"),
        ("jobs_in", "3", "'jobs_in' is not a whole number"),
        ("ctime", 0, "its ctime 0 or atime 0 is out of range"),
        ("length", 3, "unknown field 'length'"),
    ],
)
def test_queues_that_cannot_be(field, value, told):
    """The same goes for queues."""
    with pytest.raises(LineError, match=told):
        parse(json.dumps(QUEUE | {field: value}).encode())


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_any_line_is_read_or_refused(line):
    """Whatever stands in a line, nothing worse comes of it than being told so."""
    with suppress(LineError):
        parse(line)


@pytest.mark.parametrize("far", [FURTHEST, LATEST])
def test_times_without_end(far):
    """A time too far away to be written as a date does not keep a dump from being written."""
    assert moment(far) == "far ahead"
