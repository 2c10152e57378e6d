"""Huey.

Threads, its advice when in doubt, 8 of them; results are not kept. The queue is read with BRPOP, so
that a job is lost when the worker dies before or during it.
"""

from __future__ import annotations

from huey import RedisHuey

from rivals import setting
from rivals.cells import hit

PACKAGES = ("huey", "redis", "hiredis")

app = RedisHuey("bench", results=False, url=setting.URL)


@app.task()
def job(number: int) -> None:
    hit(number)


def producer():
    return job


def work() -> None:
    options = ("--worker-type", "thread", "--workers", str(setting.concurrency(8)))
    setting.become("huey_consumer", "rivals.huey.app", *options, "--quiet", "--no-periodic")
