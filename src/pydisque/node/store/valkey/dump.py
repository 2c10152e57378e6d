"""What is in a system as a dump tells it, and what a dump holds into a system.

A dump tells one moment of each shard, but for shards that are too large to be told in one call.
Loading looks at the whole dump before anything is changed, and then goes on shard by shard. A job
must be in the shard of its queue and its ID must lead there: one that came from elsewhere gets an
ID that does, the same whenever it is loaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from struct import unpack
from typing import Any

from pydisque.node.engine.job import Job
from pydisque.node.engine.queue import Queue
from pydisque.node.store.dump.loader import Count, DumpError, whole
from pydisque.node.store.durable.recovery import Replay
from pydisque.node.store.valkey import keys
from pydisque.node.store.valkey.admin import Visit, VisitError, visiting
from pydisque.node.store.valkey.keys import Layout
from pydisque.node.store.valkey.shard import Shard
from pydisque.node.store.valkey.url import Place

AT_ONCE, AT_ONCE_SIZE = 10_000, 8 * 1024 * 1024
"""Jobs of a shard, and bytes of them, that are told in one call, during which Valkey does nothing
else: some 40 ms."""

PAGE, EVERYTHING = 1000, 10**9
"""Elements that a scan looks at in one call, of large shards and of others."""

JOBS, SIZE = 500, 1024 * 1024
"""Jobs, and bytes of bodies, after which what is loaded goes to Valkey."""


class IncompleteError(VisitError):
    """Something came between when a part was loaded."""


@dataclass
class Loaded:
    """What became of a dump."""

    loaded: Count = field(default_factory=Count)
    skipped: Count = field(default_factory=Count)
    """What was there already."""
    renamed: list[tuple[bytes, bytes]] = field(default_factory=list)
    """IDs of loaded jobs in the dump, and those that they got."""


# Reading


def read(place: Place) -> Replay:
    """All jobs and queues of a system.

    Raises:
        VisitError: it cannot be reached or used.
    """
    return asyncio.run(_read(place))


async def _read(place: Place) -> Replay:
    jobs: dict[bytes, Job] = {}
    queues: dict[bytes, Queue] = {}
    async with visiting(place) as visit:
        for shard in visit.shards:
            await _read_shard(visit, shard, jobs, queues)
        state = Replay()
        state.now = visit.now
    by_age = sorted(queues.values(), key=lambda queue: (queue.ctime, queue.name))
    for serial, queue in enumerate(by_age, 1):
        queue.serial = serial
        state.queues[queue.name] = queue
    for job in distinct(jobs.values()):
        state.jobs[job.ctime] = job
    return state


def distinct(jobs: Iterable[Job]) -> Iterator[Job]:
    """Jobs by age, each with a ctime of its own: those of two shards may have had the same."""
    last = 0
    for job in sorted(jobs, key=lambda job: (job.ctime, job.id)):
        job.ctime = last = max(job.ctime, last + 1)
        yield job


async def _read_shard(
    visit: Visit, shard: Shard, jobs: dict[bytes, Job], queues: dict[bytes, Queue]
) -> None:
    [[count, size]] = await visit.ask(shard, [b"extent", 0])
    page = _page(count, size)
    async for number, told in visit.pages(
        shard,
        lambda cursor: [b"jobs", 0, cursor, page, 2 * AT_ONCE_SIZE, b""],
        lambda cursor: [b"records", 0, cursor, page],
    ):
        if number == 0:
            for id_, *rest in zip(*[iter(told[0])] * 5, strict=True):
                jobs[id_] = keys.whole(id_, (rest[0], rest[1], rest[2], rest[3]))
        else:
            for name, record in zip(told[0][::2], told[0][1::2], strict=True):
                queues[name] = _queue(name, record)


def _page(count: int, size: int) -> int:
    if count <= AT_ONCE and count * size <= AT_ONCE_SIZE:
        return EVERYTHING
    return max(1, min(PAGE, AT_ONCE_SIZE // max(1, size)))


def _queue(name: bytes, record: bytes) -> Queue:
    ctime, atime, jobs_in, jobs_out, flags = unpack(">ddddB", record)
    queue = Queue(name, 1, int(ctime))
    queue.atime, queue.jobs_in, queue.jobs_out = int(atime), int(jobs_in), int(jobs_out)
    queue.paused_in, queue.paused_out = bool(flags & 1), bool(flags & 2)
    return queue


# Loading


def load(place: Place, lines: Iterable[bytes]) -> Loaded:
    """Add what a dump holds to a system, which is made if it is not there.

    Raises:
        DumpError: the dump cannot be loaded; nothing was.
        VisitError: the system cannot be reached or used; nothing was loaded.
        IncompleteError: Valkey failed when a part was loaded.
    """
    loaded = Loaded()
    jobs: dict[bytes, Job] = {}
    queues: list[Queue] = []
    for told in whole(lines):
        if isinstance(told, Queue):
            queues.append(told)
        elif told.id in jobs:
            loaded.skipped.jobs += 1
        else:
            jobs[told.id] = told
    return asyncio.run(_load(place, queues, list(jobs.values()), loaded))


async def _load(place: Place, queues: list[Queue], jobs: list[Job], loaded: Loaded) -> Loaded:
    async with visiting(place, new=True) as visit:
        ids = fitting_ids(visit.layout, jobs)
        try:
            for shard, some in _by_shard(visit, queues, lambda queue: queue.name):
                await _load_queues(visit, shard, some, loaded)
                await visit.confirmed(shard)
            for shard, some in _by_shard(visit, jobs, lambda job: job.queue):
                await _load_jobs(visit, shard, some, ids, loaded)
                await visit.confirmed(shard)
        except VisitError as error:
            if not (loaded.loaded.jobs or loaded.loaded.queues):
                raise
            raise IncompleteError(
                f"only {loaded.loaded.jobs} jobs and {loaded.loaded.queues} queues were loaded: "
                f"{error}; load the same dump again for the rest"
            ) from None
    return loaded


def fitting_ids(system: Layout, jobs: list[Job]) -> dict[bytes, bytes]:
    """Of jobs whose ID leads to another shard than their queue's, the ID that they get.

    Raises:
        DumpError: two would have the same.
    """
    own: dict[bytes, bytes] = {}
    taken = {job.id for job in jobs}
    for job in jobs:
        shard = system.shard_of_queue(job.queue)
        if system.shard_of_job(job.id) != shard:
            id_ = keys.own_id(job.id, shard)
            if id_ in taken:
                raise DumpError(f"two jobs would have the ID {id_.decode()}")
            taken.add(id_)
            own[job.id] = id_
    return own


def _by_shard(visit: Visit, items: list[Any], name: Any) -> Iterator[tuple[Shard, list[Any]]]:
    of = visit.layout.shard_of_queue
    parts: dict[int, list[Any]] = {}
    for item in items:
        parts.setdefault(of(name(item)), []).append(item)
    for number, part in sorted(parts.items()):
        yield visit.shards[number], part


async def _load_queues(visit: Visit, shard: Shard, queues: list[Queue], loaded: Loaded) -> None:
    for start in range(0, len(queues), JOBS):
        some = queues[start : start + JOBS]
        told = await visit.ask(shard, *map(_enrolment, some), grows=True)
        loaded.loaded.queues += sum(told)
        loaded.skipped.queues += len(told) - sum(told)


def _enrolment(queue: Queue) -> list[Any]:
    flags = queue.paused_in + 2 * queue.paused_out
    counters = queue.ctime, queue.atime, queue.jobs_in, queue.jobs_out
    return [b"enroll", 0, queue.name, *counters, flags]


async def _load_jobs(
    visit: Visit, shard: Shard, jobs: list[Job], ids: dict[bytes, bytes], loaded: Loaded
) -> None:
    for some in _portions(jobs, visit.now):
        words = [
            word for job, seq in some
            for word in keys.import_words(job, ids.get(job.id, job.id), seq)
        ]  # fmt: skip
        [told] = await visit.ask(shard, [b"import", len(some), *words], grows=True)
        loaded.loaded.jobs += sum(told)
        loaded.skipped.jobs += len(told) - sum(told)
        loaded.renamed += [
            (job.id, ids[job.id])
            for (job, _), taken in zip(some, told, strict=True)
            if taken and job.id in ids
        ]


def _portions(jobs: list[Job], now: int) -> Iterator[list[tuple[Job, int]]]:
    """Jobs by age with their places, as many as go in one call."""
    some: list[tuple[Job, int]] = []
    size = last = 0
    for job in sorted(jobs, key=lambda job: job.ctime):
        last = max(keys.seq_of(job.ctime, now), last + 1)
        some.append((job, last))
        size += len(job.body)
        if len(some) == JOBS or size > SIZE:
            yield some
            some, size = [], 0
    if some:
        yield some
