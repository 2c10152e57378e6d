"""taskiq with taskiq-redis.

The stream broker, whose messages are acknowledged; one process, the default of 100 tasks at once,
jobs as coroutines, uvloop (which it takes when it is installed). The default result backend keeps
nothing. Parsing of arguments is off (--no-parse) as a number needs none.
"""

from __future__ import annotations

from taskiq_redis import RedisStreamBroker

from rivals import setting
from rivals.cells import hit

PACKAGES = ("taskiq", "taskiq-redis", "redis", "hiredis", "uvloop")

broker = RedisStreamBroker(url=setting.URL, queue_name="bench")


@broker.task(task_name="bench")
async def job(number: int) -> None:
    hit(number)


async def producer():
    await broker.startup()
    return job.kiq


def work() -> None:
    options = ("--workers", "1", "--max-async-tasks", str(setting.concurrency(100)))
    quick = ("--no-parse", "--log-level", "WARNING")
    setting.become("taskiq", "worker", "rivals.taskiq:broker", *options, *quick)
