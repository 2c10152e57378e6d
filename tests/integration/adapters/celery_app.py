"""A program with Celery on Disque; what its tasks did stands in a file, a line each."""

from __future__ import annotations

import os
import signal
import time

from celery import Celery
from celery.exceptions import Reject
from kombu import Exchange, Queue
from kombu.common import Broadcast

app = Celery("celery_app", broker=os.environ["BROKER_URL"], backend="rpc://")
app.conf.update(
    broker_transport_options={
        "retry": 2,
        "paused_wait": float(os.environ.get("PATIENCE", "10")),
        "delivery_limit": 3,
    },
    task_ignore_result=True,
    task_acks_late=True,
    task_create_missing_queues=True,
    task_queues=[
        Queue("celery"),
        Queue("ranked", max_priority=9),
        Queue("bound", Exchange("dir", "direct"), routing_key="k"),
        Queue("topical", Exchange("top", "topic"), routing_key="log.#"),
        Broadcast("orders"),
        Broadcast("news", exchange=Exchange("news", "fanout", durable=False)),
    ],
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


@app.task(ignore_result=False)
def add(one: int, other: int) -> int:
    return one + other


@app.task
def slow(seconds: float) -> None:
    note("begins", seconds)
    time.sleep(seconds)
    note("ends", seconds)


@app.task
def timed() -> None:
    note("timed", time.time())


@app.task(acks_late=False)
def step(number: int) -> None:
    slow(0.5)
    note("step", number)


@app.task(bind=True, acks_late=False)
def again(self) -> None:
    note("again", self.request.retries)
    if not self.request.retries:
        time.sleep(0.5)
        try:
            raise self.retry(countdown=1)
        finally:
            note("sent")


@app.task(bind=True, max_retries=3)
def flaky(self) -> None:
    note("flaky", self.request.retries)
    if self.request.retries < 2:
        raise self.retry(countdown=1)


@app.task(bind=True)
def stubborn(self) -> None:
    note("stubborn")
    raise Reject(requeue=True)


@app.task(reject_on_worker_lost=True)
def deadly() -> None:
    note("deadly")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, max_retries=5)
def persistent(self) -> None:
    note("persistent", self.request.retries)
    if self.request.retries < 5:
        raise self.retry(countdown=0)
