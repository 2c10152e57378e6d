"""Jobs and queues put where they belong: after a restart, and when a change could not be kept.

Decides nothing about jobs: their fields say in what state they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappush

from pydisque.node.engine.change_log import Jobs, Queues
from pydisque.node.engine.engine import JOB_OVERHEAD, PAGES, Engine
from pydisque.node.engine.job import ACTIVE, GONE, QUEUED, Job
from pydisque.node.engine.queue import Queue


class RestorableEngine(Engine):
    """An engine that can be filled from outside and set back."""

    def restore(self, queues: Iterable[Queue], jobs: Iterable[Job]) -> None:
        """Fill an empty engine."""
        for queue in sorted(queues, key=lambda queue: queue.serial):
            self._keep(queue)
            self._last_queue = queue.serial
        for job in sorted(jobs, key=lambda job: job.ctime):
            self._admit(job)
            if job.state is QUEUED:
                self._queue(job.queue).append(job.ctime, job)
            self._last_ctime = job.ctime

    def undo(self, jobs: Jobs, queues: Queues) -> None:
        """Put back how everything was before these changes; later ones are undone already."""
        self.recording, recording = False, self.recording
        for job in jobs:
            if job.state is not GONE:
                self._remove(job)
        self._undo_queues(queues)
        for job, before in jobs.items():
            if before is not None:
                job.state, job.qtime, job.nacks = before[:3]
                job.additional_deliveries, job.unqueued, job.spent = before[3:]
                self._admit(job)
                if job.state is QUEUED:
                    self.queues[job.queue].put_back(job)
        self.recording = recording

    def _undo_queues(self, queues: Queues) -> None:
        for queue, was in queues.items():  # made anew perhaps, after one of that name was dropped
            if was is None and self.queues.get(queue.name) is queue:
                self._drop(queue)
        for queue, was in queues.items():
            if was is not None:
                queue.atime, queue.paused_in, queue.paused_out, queue.jobs_in, queue.jobs_out = was
                if queue.name not in self.queues:
                    self._keep(queue)
                self.ready.add(queue.name)

    def _admit(self, job: Job) -> None:
        """Enter a job everywhere but in its queue."""
        self._pages[hash(job.id) % PAGES][job.id] = job
        self.count += 1
        self.memory += len(job.body) + JOB_OVERHEAD
        if job.etime < self.second:
            self._expiry.over.append(job.id)
        else:
            self._expiry.add(job.etime, job.id)
        if job.spent:
            self._spent[job.id] = job
        elif job.state is ACTIVE and job.qtime is not None:
            self._active += 1
            heappush(self._retries, (job.qtime, job.id))
