"""arq.

max_jobs is 100 and the poll delay 10 ms (0.5 s by default, which would be the latency as well):
both are arguments of its Worker. Results are not kept. Jobs are coroutines, and those of a dead
worker are run again.
"""

from __future__ import annotations

import logging

from arq import create_pool, run_worker
from arq.connections import RedisSettings

from rivals import setting
from rivals.cells import hit

PACKAGES = ("arq", "redis", "hiredis")


async def job(_context: dict, number: int) -> None:
    hit(number)


class WorkerSettings:
    functions = (job,)
    redis_settings = RedisSettings(port=setting.PORT)
    max_jobs = setting.concurrency(100)
    poll_delay = 0.01
    keep_result = 0
    log_results = False


async def producer():
    pool = await create_pool(WorkerSettings.redis_settings)
    return lambda number: pool.enqueue_job("job", number)


def work() -> None:
    logging.basicConfig(level=logging.WARNING)
    run_worker(WorkerSettings)
