"""What a journal holds: its records applied one after the other.

Knows the order of things only; what a job's state means is the engine's business.
"""

from __future__ import annotations

import sqlite3

from pydisque.node.engine.job import Job
from pydisque.node.engine.queue import Queue
from pydisque.node.store.durable import journal, records
from pydisque.node.store.durable.compaction import Homes
from pydisque.node.store.durable.records import Record


class Replay:
    """Jobs and queues as the records so far leave them."""

    def __init__(self) -> None:
        self.homes = Homes()
        self.jobs: dict[int, Job] = {}
        """By ctime."""
        self.queues: dict[bytes, Queue] = {}
        self.now = 0
        """The engine's time at the last record, in milliseconds."""
        self.last = 0
        """The number of the last record."""

    def apply(self, number: int, data: bytes) -> None:
        """Go on by one record.

        Raises:
            DamagedError: it is not what was written.
        """
        self.take(number, len(data), records.unpack(data))

    def take(self, number: int, size: int, record: Record) -> None:
        """Go on by one record that is unpacked already, of so many bytes."""
        self.homes.add(number, size, len(record.jobs) + len(record.queues))
        self.last, self.now = number, max(self.now, record.now)
        for name in record.dropped:
            self._leave(self.queues.pop(name, None))
        for queue in record.queues:
            self._leave(self.queues.get(queue.name))
            queue.home = number
            self.queues[queue.name] = queue
        for job in record.jobs:
            self._leave(self.jobs.get(job.ctime))
            job.home = number
            self.jobs[job.ctime] = job
        for change in record.changes:
            if known := self.jobs.get(change.ctime):  # else it comes in full later, or is gone
                change.apply(known)
        for ctime in record.gone:
            self._leave(self.jobs.pop(ctime, None))

    def _leave(self, inhabitant: Job | Queue | None) -> None:
        if inhabitant is not None:  # an empty queue is false
            self.homes.leave(inhabitant.home)


def replay(db: sqlite3.Connection) -> Replay:
    """All that a journal holds.

    Raises:
        JournalError: it is damaged.
    """
    state = Replay()
    for number, data in journal.records(db):
        try:
            state.apply(number, data)
        except records.DamagedError as error:
            raise journal.damaged(f"record {number}: {error}") from None
    return state
