"""python -m rivals.run FRAMEWORK versions | fill COUNT | trickle COUNT | work, in its environment.

BENCH_PORT is the server's port on the loopback, BENCH_CELLS and BENCH_SENT are files of cells,
BENCH_VARIANT is whatever the framework's module makes of it.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from rivals import cells

PERIOD = 0.020
"""Seconds between two jobs of a trickle, on average; evenly spread from half of it to 1.5 times."""
SETTLE = 1.0
"""Seconds a worker is left alone after its first job."""


async def resolved(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def fill(enqueue: Callable[[int], object | Awaitable[object]], count: int) -> None:
    for number in range(count):
        await resolved(enqueue(number))


async def trickle(enqueue: Callable[[int], object | Awaitable[object]], count: int) -> None:
    """Job 0 tells that the worker is up; of the others it is noted when each was added."""
    started, sent = cells.load(os.environ["BENCH_CELLS"]), cells.load(os.environ["BENCH_SENT"])
    sent[0] = cells.clock()
    await resolved(enqueue(0))
    while not started[0]:
        time.sleep(PERIOD)  # noqa: ASYNC251 - an idle producer needs no event loop
    time.sleep(SETTLE)  # noqa: ASYNC251
    spacing = random.Random(count)
    for number in range(1, count):
        time.sleep(spacing.uniform(0.5, 1.5) * PERIOD)  # noqa: ASYNC251
        sent[number] = cells.clock()
        await resolved(enqueue(number))


async def produce(module: Any, what: str, count: int) -> None:
    if what == "fill" and hasattr(module, "fill"):
        module.fill(count)
        return
    enqueue = await resolved(module.producer())
    await {"fill": fill, "trickle": trickle}[what](enqueue, count)


def main(framework: str, what: str, count: str = "0") -> None:
    module = importlib.import_module(f"rivals.{framework}")
    if what == "versions":
        print(json.dumps({package: version(package) for package in module.PACKAGES}))
    elif what == "work":
        module.work()
    else:
        asyncio.run(produce(module, what, int(count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
