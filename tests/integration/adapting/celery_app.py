"""A program with Celery on Disque; what its tasks did stands in a file, a line each."""

from __future__ import annotations

import os
import time

from celery import Celery
from kombu import Queue

app = Celery("celery_app", broker=os.environ["BROKER_URL"])
app.conf.update(
    broker_transport_options={"retry": 2},
    task_ignore_result=True,
    task_acks_late=True,
    task_create_missing_queues=True,
    task_queues=[Queue("celery"), Queue("ranked", max_priority=9)],
    task_default_queue="celery",
    worker_prefetch_multiplier=int(os.environ.get("PREFETCH", "4")),
)


def note(*words: object) -> None:
    line = " ".join(map(str, words)) + "\n"
    descriptor = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


@app.task
def count(number: int) -> None:
    note("count", number)


@app.task
def slow(seconds: float) -> None:
    note("begins", seconds)
    time.sleep(seconds)
    note("ends", seconds)


@app.task
def timed() -> None:
    note("timed", time.time())


@app.task(bind=True, max_retries=3)
def flaky(self) -> None:
    note("flaky", self.request.retries)
    if self.request.retries < 2:
        raise self.retry(countdown=1)
