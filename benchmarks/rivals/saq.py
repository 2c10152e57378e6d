"""SAQ.

Concurrency 100, jobs as coroutines, nothing of a job kept when it is done (ttl -1). Jobs of a dead
worker are found by a sweep and run again if they may be retried, which is not the default.
"""

from __future__ import annotations

import logging

from saq import Queue

from rivals import setting
from rivals.cells import hit

PACKAGES = ("saq", "redis", "hiredis")

queue = Queue.from_url(setting.URL, name="bench")


async def job(_context: dict, *, number: int) -> None:
    hit(number)


settings = {"queue": queue, "functions": [job], "concurrency": setting.concurrency(100)}


async def producer():
    logging.getLogger("saq").setLevel(logging.WARNING)
    return lambda number: queue.enqueue("job", number=number, ttl=-1)


def work() -> None:
    setting.become("saq", "rivals.saq.settings", "--quiet")
