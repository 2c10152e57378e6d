"""What a dump adds to the jobs and queues that are there: which are taken, and as which records.

Whoever is there already stays as he is. All lines are looked at before anything is to be written.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydisque.node.engine.job import QUEUED, Job
from pydisque.node.engine.queue import Queue
from pydisque.node.store.dump import line_format
from pydisque.node.store.dump.line_format import Head, LineError
from pydisque.node.store.durable import records
from pydisque.node.store.durable.recovery import Replay

ABOUT = 100
"""Bytes of a job in a record beside its body."""


class DumpError(ValueError):
    """A dump cannot be loaded; the text says where and why."""


@dataclass
class Count:
    """Of jobs and of queues."""

    jobs: int = 0
    queues: int = 0

    def add(self, one: Job | Queue) -> None:
        """One more of its kind."""
        if isinstance(one, Job):
            self.jobs += 1
        else:
            self.queues += 1


def whole(lines: Iterable[bytes]) -> Iterator[Job | Queue]:
    """What a dump tells, line by line; only at its end is it known whether nothing is missing.

    Raises:
        DumpError: it is none, or not whole.
    """
    head: Head | None = None
    number, found = 0, Count()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            told = _in_order(line_format.parse(line), head)
        except LineError as error:
            raise DumpError(f"line {number}: {error}") from None
        if isinstance(told, Head):
            head = told
        else:
            found.add(told)
            yield told
    if head is None:
        raise DumpError("line 1: not a dump of pydisque: it is empty")
    _check_whole(head, found, number)


def _in_order(told: Head | Queue | Job, head: Head | None) -> Head | Queue | Job:
    if isinstance(told, Head):
        if head is not None:
            raise LineError("a second head line")
    elif head is None:
        raise LineError("not a dump of pydisque: the head line is missing")
    return told


def _check_whole(head: Head, found: Count, number: int) -> None:
    for what, told, there in (
        ("jobs", head.jobs, found.jobs),
        ("queues", head.queues, found.queues),
    ):
        if told is not None and told != there:
            raise DumpError(
                f"line {number}: the end comes after {there} {what}, where the head line says "
                f'{told}; if lines were left out on purpose, take "{what}" out of the head line'
            )


class Intake:
    """Takes in the lines of one dump."""

    def __init__(self, present: Replay, now: int) -> None:
        """Begin with those who are present, at a time in milliseconds."""
        self.records: list[tuple[int, bytes]] = []
        """To be appended to the journal, by their numbers."""
        self.loaded = Count()
        self.skipped = Count()
        self._now = max(now, present.now)
        self._number = present.last
        self._ids = {job.id for job in present.jobs.values()}
        self._taken = {ctime: ctime + 1 for ctime in present.jobs}  # and where to look for a free
        self._queues = dict(present.queues)
        self._serial = max((queue.serial for queue in present.queues.values()), default=0)
        self._new_queues: dict[bytes, Queue] = {}
        self._jobs: list[Job] = []
        self._size = 0

    def take(self, lines: Iterable[bytes]) -> None:
        """Take in a whole dump.

        Raises:
            DumpError: it is none, or not whole.
        """
        for told in whole(lines):
            if isinstance(told, Job):
                self._job(told)
            else:
                self._queue(told)
        self._end_record()
        if self._new_queues:
            self._append(records.pack(self._now, queues=list(self._new_queues.values())))

    def _job(self, job: Job) -> None:
        if job.id in self._ids:
            self.skipped.jobs += 1
            return
        self._ids.add(job.id)
        job.ctime = self._free(job.ctime)
        if job.state is QUEUED and job.queue not in self._queues:
            self._add_queue(Queue(job.queue, 0, self._now))
        self._jobs.append(job)
        self.loaded.jobs += 1
        self._size += len(job.body) + ABOUT
        if self._size > records.LARGE:
            self._end_record()

    def _free(self, ctime: int) -> int:
        """The next ctime that no job has: it names a job, and is its place in the queue."""
        free = ctime
        while free in self._taken:
            free = self._taken[free]
        self._taken[free] = free + 1
        self._taken[ctime] = free + 1  # so that a million of the same take no longer than others
        return free

    def _queue(self, queue: Queue) -> None:
        known = self._queues.get(queue.name)
        if known is not None and line_format.worth_telling(known):
            self.skipped.queues += 1
            return
        self._add_queue(queue)
        self.loaded.queues += 1

    def _add_queue(self, queue: Queue) -> None:
        known = self._queues.get(queue.name)
        if known is not None:
            queue.serial = known.serial
        else:
            self._serial += 1
            queue.serial = self._serial
        self._queues[queue.name] = self._new_queues[queue.name] = queue

    def _end_record(self) -> None:
        if self._jobs:
            self._append(records.pack(self._now, self._jobs))
            self._jobs, self._size = [], 0

    def _append(self, data: bytes) -> None:
        self._number += 1
        self.records.append((self._number, data))
