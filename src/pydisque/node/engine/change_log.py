"""What the engine changed, and how it was before: for whoever must write it down, or undo it.

Notes only the first change of a job or queue since the notes were taken; knows no rules.
"""

from __future__ import annotations

from pydisque.node.engine.job import Job
from pydisque.node.engine.queue import Queue

JobBefore = tuple[bytes, int | None, int, int, bool, bool]
"""State, qtime, nacks, additional deliveries, unqueued, spent."""

QueueBefore = tuple[int, bool, bool, int, int]
"""atime, paused in, paused out, jobs in, jobs out."""

Jobs = dict[Job, JobBefore | None]
Queues = dict[Queue, QueueBefore | None]
"""What changed and how it was; None: it was not there."""


class Changes:
    """The base of the engine: what it does to jobs and queues is noted here, if anybody wants."""

    def __init__(self) -> None:
        self.recording = False
        """Whether changes are noted; a node in memory has no use for them."""
        self.changed_jobs: Jobs = {}
        self.changed_queues: Queues = {}

    def take_changes(self) -> tuple[Jobs, Queues]:
        """What changed since this was last called."""
        taken = self.changed_jobs, self.changed_queues
        self.changed_jobs, self.changed_queues = {}, {}
        return taken

    def _note(self, job: Job) -> None:
        if job not in self.changed_jobs:
            self.changed_jobs[job] = (
                job.state, job.qtime, job.nacks, job.additional_deliveries, job.unqueued, job.spent
            )  # fmt: skip

    def _note_queue(self, queue: Queue) -> None:
        if queue not in self.changed_queues:
            self.changed_queues[queue] = (
                queue.atime, queue.paused_in, queue.paused_out, queue.jobs_in, queue.jobs_out
            )  # fmt: skip
