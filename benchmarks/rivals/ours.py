"""pydisque's own Worker, on pydisque's node.

The variant is the executor, threads, asyncio or processes, with the concurrency after a dash. Jobs
are acknowledged after the handler, and those of a dead worker are delivered again.
"""

from __future__ import annotations

from pydisque import Client, Worker
from rivals import setting
from rivals.cells import hit

PACKAGES = ("pydisque", "hiredis")
ADDRESSES = (f"127.0.0.1:{setting.PORT}",)
CHUNK = 1000


def producer():
    client = Client(ADDRESSES)
    client.connect()
    return lambda number: client.add_job("bench", str(number))


def fill(count: int) -> None:
    with Client(ADDRESSES) as client:
        for start in range(0, count, CHUNK):
            numbers = range(start, min(start + CHUNK, count))
            for added in client.add_jobs("bench", [str(number) for number in numbers]):
                if isinstance(added, Exception):
                    raise added


def work() -> None:
    executor, _, concurrency = setting.VARIANT.partition("-")
    worker = Worker(list(ADDRESSES), concurrency=int(concurrency), executor=executor)
    worker.handler("bench")(answer if executor == "asyncio" else noop)
    worker.run()


def noop(job) -> None:
    hit(int(job.body))


async def answer(job) -> None:
    hit(int(job.body))
