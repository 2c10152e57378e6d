"""What goes into the journal comes out of it, and what was tampered with does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydisque.node.engine.job import ACTIVE, QUEUED, Job
from pydisque.node.engine.queue import Queue
from pydisque.node.store.durable.records import FURTHEST, DamagedError, contents, pack, unpack

TIMES = st.integers(0, 2**70)
LONGS = st.integers(0, 2**63 - 1)
SHORTS = st.integers(0, 2**16 - 1)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    id_ = draw(st.binary(min_size=40, max_size=40))
    name, body = draw(st.sampled_from([b"", b"q", b"\0\xff" * 50])), draw(st.binary(max_size=50))
    job = Job(id_, name, body, draw(LONGS), draw(TIMES), draw(TIMES))
    job.delay, job.qtime = draw(TIMES), draw(st.none() | LONGS)
    job.nacks, job.additional_deliveries = draw(SHORTS), draw(SHORTS)
    job.state = draw(st.sampled_from([QUEUED, ACTIVE]))
    job.unqueued, job.spent = draw(st.booleans()), draw(st.booleans())
    return job


@st.composite
def queues(draw: st.DrawFn) -> Queue:
    queue = Queue(draw(st.binary(max_size=20)), draw(LONGS), draw(LONGS))
    queue.atime, queue.jobs_in, queue.jobs_out = draw(LONGS), draw(LONGS), draw(LONGS)
    queue.paused_in, queue.paused_out = draw(st.booleans()), draw(st.booleans())
    return queue


def kept(job: Job) -> list[object]:
    """All of a job that the journal keeps, as it keeps it."""
    fields = [getattr(job, name) for name in Job.__slots__ if name != "home"]
    return [min(field, FURTHEST) if isinstance(field, int) else field for field in fields]


def figures(queue: Queue) -> tuple[object, ...]:
    return (
        queue.name, queue.serial, queue.ctime, queue.atime, queue.jobs_in, queue.jobs_out,
        queue.pause,
    )  # fmt: skip


@given(
    LONGS, st.lists(jobs(), max_size=5), st.lists(jobs(), max_size=5), st.lists(LONGS, max_size=5),
    st.lists(queues(), max_size=3), st.lists(st.binary(max_size=20), max_size=3),
)  # fmt: skip
def test_a_record_comes_back(now, full, changed, gone, all_queues, dropped):
    """Whatever is packed is unpacked the same."""
    data = pack(now, full, changed, gone, all_queues, dropped)
    record = unpack(data)
    assert record.now == now
    assert list(map(kept, record.jobs)) == list(map(kept, full))
    assert list(map(figures, record.queues)) == list(map(figures, all_queues))
    assert (list(record.gone), record.dropped) == (gone, dropped)
    for change, job in zip(record.changes, changed, strict=True):
        copy = Job(job.id, job.queue, job.body, job.ctime, job.etime, job.retry)
        copy.delay = job.delay
        change.apply(copy)
        assert change.ctime == job.ctime
        assert kept(copy) == kept(job)
    assert contents(data) == ([job.id for job in full], [queue.name for queue in all_queues])


@given(st.lists(jobs(), max_size=3), st.data())
def test_no_damage_goes_unnoticed(full, data):
    """A record with a flipped bit, or cut short, is refused."""
    record = pack(0, full)
    at = data.draw(st.integers(0, 8 * len(record) - 1))
    flipped = bytearray(record)
    flipped[at // 8] ^= 1 << at % 8
    for damaged in (bytes(flipped), record[: at // 8]):
        with pytest.raises(DamagedError):
            unpack(damaged)
