"""Whether what a journal or a dump tells can be: jobs and queues that the engine might have made.

Looks at one at a time. Ranges and states only: how times stand to each other depends on clocks,
which may have been set, and on where a dump was loaded. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from pydisque.node.engine.job import ACTIVE, QUEUED, Job
from pydisque.node.engine.queue import Queue
from pydisque.node.store.durable.records import FURTHEST

LATEST: Final = 7_258_118_400_000
"""The year 2200 in milliseconds: what was made later was not made. New ctimes stay above old ones,
so one at the end of 64 bits would leave no room for others."""
MOST_NACKS: Final = 0xFFFF

_ID = re.compile(rb"D-[!-~]{8}-[!-~]{24}-[!-~]{4}")


def job_nonsense(job: Job) -> str:
    """What is wrong with a job, or nothing."""
    if not _ID.fullmatch(job.id):
        return "its ID is none"
    if not 0 < job.ctime < LATEST * 1_000_000:
        return f"its ctime {job.ctime} is out of range"
    if not 0 < job.etime <= FURTHEST:
        return f"its etime {job.etime} is out of range"
    if not (0 <= job.retry <= FURTHEST and 0 <= job.delay <= FURTHEST):
        return f"its retry {job.retry} or delay {job.delay} is out of range"
    if not (0 <= job.nacks <= MOST_NACKS and 0 <= job.additional_deliveries <= MOST_NACKS):
        return "its nacks or additional deliveries are out of range"
    return _state_nonsense(job)


def _state_nonsense(job: Job) -> str:
    if job.qtime is not None and not 0 < job.qtime <= FURTHEST:
        return f"its qtime {job.qtime} is out of range"
    if job.state is QUEUED:
        if job.qtime is not None or job.spent:
            return "it is queued, and yet to be queued or spent"
    elif job.state is not ACTIVE:
        return f"its state is {job.state!r}"
    elif job.qtime is None and job.retry:
        return "it is active with a retry time, but never to be queued again"
    elif job.spent and (job.retry or job.qtime is not None):
        return "it is spent, and yet to be queued again"
    return ""


def queue_nonsense(queue: Queue) -> str:
    """What is wrong with a queue, or nothing."""
    if not (0 < queue.ctime < LATEST and 0 < queue.atime < LATEST):
        return f"its ctime {queue.ctime} or atime {queue.atime} is out of range"
    if not (0 <= queue.jobs_in <= FURTHEST and 0 <= queue.jobs_out <= FURTHEST):
        return "its counters are out of range"
    if not 0 < queue.serial <= FURTHEST:
        return f"its serial {queue.serial} is out of range"
    return ""
