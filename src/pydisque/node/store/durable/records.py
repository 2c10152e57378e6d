"""Changes of jobs and queues as bytes, and back: what the journal keeps.

A record is what one commit, or a part of it, says: jobs in full, new states of jobs that stand in
full in an older record, jobs that are gone, queues. Its fields stand in columns, as these pack and
unpack fastest. Knows neither files nor rules.

All numbers are little endian. After the head come, each for all it concerns in turn:
64 bits: ctime and qtime of jobs in full and changed; etime, retry, delay of jobs in full; ctime of
jobs that are gone; serial, ctime, atime, jobs in, jobs out of queues. 32 bits: place of the name of
a job's queue, length of these names, of names of queues, of dropped ones, of bodies. 16 bits:
nacks, additional deliveries. 8 bits: flags of jobs, of queues. Then the texts: IDs, names of
queues, of jobs' queues, of dropped ones, bodies.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from pydisque.node.engine.job import ACTIVE, ID_LENGTH, QUEUED, Job
from pydisque.node.engine.queue import Queue

LARGE = 2**20
"""Bytes after which whoever writes ends a record and begins the next: what one clean-up moves."""

FURTHEST = 2**63 - 1
"""Times beyond are kept as this; nobody will live to see the difference."""

_HEAD = struct.Struct("<q6I")  # after the checksum of all that follows: now, how many of each
_CRC_SIZE = 4
_NEVER = -1
_QUEUED, _UNQUEUED, _SPENT = 1, 2, 4
_PAUSED_IN, _PAUSED_OUT = 1, 2


class DamagedError(ValueError):
    """A record is not what was written."""


class Change(NamedTuple):
    """The new state of a job, named by its ctime, which is unique among a node's jobs."""

    ctime: int
    qtime: int | None
    nacks: int
    additional_deliveries: int
    flags: int

    def apply(self, job: Job) -> None:
        """Bring the job into this state."""
        job.state = QUEUED if self.flags & _QUEUED else ACTIVE
        job.unqueued = bool(self.flags & _UNQUEUED)
        job.spent = bool(self.flags & _SPENT)
        job.qtime, job.nacks, job.additional_deliveries = self[1:4]


class Record(NamedTuple):
    """What one record says."""

    now: int
    """The engine's time when it was made, in milliseconds."""
    jobs: list[Job]
    """In full."""
    changes: list[Change]
    gone: Sequence[int]
    """Jobs by their ctime."""
    queues: list[Queue]
    dropped: list[bytes]
    """Names of queues; one of the same name in `queues` was made after that."""


def pack(
    now: int,
    jobs: Sequence[Job] = (),
    changed: Sequence[Job] = (),
    gone: Sequence[int] = (),
    queues: Sequence[Queue] = (),
    dropped: Sequence[bytes] = (),
) -> bytes:
    """A record of all this; of jobs in `changed` only the state."""
    places: dict[bytes, int] = {}
    for job in jobs:
        places.setdefault(job.queue, len(places))
    counts = _Counts(len(jobs), len(changed), len(gone), len(queues), len(places), len(dropped))
    states = [*jobs, *changed]
    longs = [
        *[job.ctime for job in states],
        *[_NEVER if job.qtime is None else job.qtime for job in states],
        *[job.etime for job in jobs],
        *[job.retry for job in jobs],
        *[job.delay for job in jobs],
        *gone,
        *[queue.serial for queue in queues],
        *[queue.ctime for queue in queues],
        *[queue.atime for queue in queues],
        *[queue.jobs_in for queue in queues],
        *[queue.jobs_out for queue in queues],
    ]
    rest = [
        *[places[job.queue] for job in jobs],
        *map(len, places),
        *[len(queue.name) for queue in queues],
        *map(len, dropped),
        *[len(job.body) for job in jobs],
        *[job.nacks for job in states],
        *[job.additional_deliveries for job in states],
        *[(job.state is QUEUED) | job.unqueued << 1 | job.spent << 2 for job in states],
        *[queue.paused_in | queue.paused_out << 1 for queue in queues],
    ]
    layout = counts.layout()
    try:
        numbers = struct.pack(layout, *longs, *rest)
    except struct.error:  # somebody asked for a TTL, RETRY or DELAY without end
        numbers = struct.pack(layout, *[min(number, FURTHEST) for number in longs], *rest)
    data = b"".join([
        _HEAD.pack(now, *counts),
        numbers,
        *[job.id for job in jobs],
        *[queue.name for queue in queues],
        *places,
        *dropped,
        *[job.body for job in jobs],
    ])  # fmt: skip
    return zlib.crc32(data).to_bytes(_CRC_SIZE, "little") + data


class _Counts(NamedTuple):
    jobs: int
    changed: int
    gone: int
    queues: int
    names: int
    dropped: int

    def layout(self) -> str:
        """Of the numbers, for `struct`."""
        jobs, changed, gone, queues, names, dropped = self
        longs = 5 * jobs + 2 * changed + gone + 5 * queues
        states = jobs + changed
        ints = 2 * jobs + names + queues + dropped
        return f"<{longs}q{ints}I{2 * states}H{states + queues}B"


class _Reader:
    """Takes a record apart: numbers and texts in their order."""

    def __init__(self, data: bytes) -> None:
        """Check it and read its head.

        Raises:
            DamagedError: it is not what was written.
        """
        if len(data) < _CRC_SIZE + _HEAD.size:
            raise DamagedError("it is cut short")
        if zlib.crc32(memoryview(data)[_CRC_SIZE:]) != int.from_bytes(data[:_CRC_SIZE], "little"):
            raise DamagedError("its checksum is wrong")
        self.now, *counts = _HEAD.unpack_from(data, _CRC_SIZE)
        self.counts = _Counts(*counts)
        layout = self.counts.layout()
        start = _CRC_SIZE + _HEAD.size
        self._numbers = struct.unpack_from(layout, data, start)
        self._taken = 0
        self._data = data
        self._at = start + struct.calcsize(layout)

    def numbers(self, count: int) -> tuple[int, ...]:
        start, self._taken = self._taken, self._taken + count
        return self._numbers[start : self._taken]

    def texts(self, lengths: Sequence[int]) -> list[bytes]:
        ends = list(accumulate(lengths, initial=self._at))
        self._at = ends[-1]
        return [self._data[start:end] for start, end in pairwise(ends)]


def unpack(data: bytes) -> Record:
    """A record as it was packed.

    Raises:
        DamagedError: it is not what was written.
    """
    read = _Reader(data)
    jobs, changed, gone, queues, names, dropped = read.counts
    states = jobs + changed
    ctimes, qtimes = read.numbers(states), read.numbers(states)
    etimes, retries, delays = read.numbers(jobs), read.numbers(jobs), read.numbers(jobs)
    all_gone = read.numbers(gone)
    figures = [read.numbers(queues) for _ in range(5)]
    places, name_sizes = read.numbers(jobs), read.numbers(names)
    queue_sizes, dropped_sizes, sizes = (read.numbers(n) for n in (queues, dropped, jobs))
    known = [None if qtime == _NEVER else qtime for qtime in qtimes]
    counters = read.numbers(states), read.numbers(states)
    changes = list(map(Change, ctimes, known, *counters, read.numbers(states)))
    pauses = read.numbers(queues)
    ids = read.texts([ID_LENGTH] * jobs)
    all_queues = list(map(_queue, read.texts(queue_sizes), pauses, *figures))
    all_names, all_dropped = read.texts(name_sizes), read.texts(dropped_sizes)
    made = [
        _job(id_, all_names[place], body, change, etime, retry, delay)
        for id_, place, body, change, etime, retry, delay in zip(
            ids, places, read.texts(sizes), changes, etimes, retries, delays, strict=False
        )
    ]
    return Record(read.now, made, changes[jobs:], all_gone, all_queues, all_dropped)


def contents(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """IDs of the jobs that stand in full in a record, and names of its queues; quicker.

    Raises:
        DamagedError: it is not what was written.
    """
    read = _Reader(data)
    jobs, changed, gone, queues, names, _ = read.counts
    read.numbers(5 * jobs + 2 * changed + gone + 5 * queues + jobs + names)
    sizes = read.numbers(queues)
    return read.texts([ID_LENGTH] * jobs), read.texts(sizes)


def _job(
    id_: bytes, queue: bytes, body: bytes, change: Change, etime: int, retry: int, delay: int
) -> Job:
    job = Job(id_, queue, body, change.ctime, etime, retry)
    job.delay = delay
    change.apply(job)
    return job


def _queue(
    name: bytes, pause: int, serial: int, ctime: int, atime: int, jobs_in: int, jobs_out: int
) -> Queue:
    queue = Queue(name, serial, ctime)
    queue.atime, queue.jobs_in, queue.jobs_out = atime, jobs_in, jobs_out
    queue.paused_in, queue.paused_out = bool(pause & _PAUSED_IN), bool(pause & _PAUSED_OUT)
    return queue
