"""Celery on kombu's Redis transport.

One process: the pool "solo", which runs jobs in the worker's own process; "threads" and a prefork
pool of one are there as variants. Results are off and many messages are prefetched, as its
documentation advises for short jobs; gossip, mingle and heartbeat are off as there is one worker.
Messages are acknowledged before the job runs, which is the default: a job whose worker dies during
it is lost. With "-late" at the end of the variant they are acknowledged after it.
"""

from __future__ import annotations

from celery import Celery

from rivals import setting
from rivals.cells import hit

PACKAGES = ("celery", "kombu", "redis", "hiredis")

app = Celery("bench", broker=setting.URL)
app.conf.update(
    task_default_queue="bench",
    task_ignore_result=True,
    worker_prefetch_multiplier=128,
    task_acks_late=setting.VARIANT.endswith("-late"),
    broker_connection_retry_on_startup=True,
)


@app.task
def job(number: int) -> None:
    hit(number)


def producer():
    return job.delay


def work() -> None:
    start("rivals.celery")


def start(module: str) -> None:
    pool, concurrency, *_ = (setting.VARIANT or "solo-1").split("-")
    options = ("--pool", pool, "--concurrency", concurrency, "--loglevel", "WARNING")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    setting.become("celery", "-A", module, "worker", *options, *quiet)
