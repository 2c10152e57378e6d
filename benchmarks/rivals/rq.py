"""RQ.

SimpleWorker, which RQ's notes on performance name for jobs of a few milliseconds; the default
worker forks for every job and is the variant "fork". Results are kept for the default of 500 s: not
to keep them is no faster, as each job is then deleted by itself. Logging is at WARNING, as RQ
otherwise logs two lines per job. There is no concurrency within a worker process. A job is removed
from its queue when it is fetched; that of a killed worker is put back later if it may be retried,
which is not the default, and otherwise lands in a registry of failures.
"""

from __future__ import annotations

import redis
from rq import Queue

from rivals import setting
from rivals.cells import hit

PACKAGES = ("rq", "redis", "hiredis")
CHUNK = 500


def job(number: int) -> None:
    hit(number)


def open_queue() -> Queue:
    return Queue("bench", connection=redis.Redis(port=setting.PORT))


def producer():
    queue = open_queue()
    return lambda number: queue.enqueue(job, number)


def fill(count: int) -> None:
    queue = open_queue()
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        queue.enqueue_many([Queue.prepare_data(job, (n,)) for n in numbers])


def work() -> None:
    kind = "rq.Worker" if setting.VARIANT == "fork" else "rq.SimpleWorker"
    options = ("--url", setting.URL, "--worker-class", kind, "--logging_level", "WARNING")
    setting.become("rq", "worker", *options, "bench")
