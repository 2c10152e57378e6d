"""What tests of the contract do again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

# Three joined nodes pass a job on when asked, and ask again after 4, 8 and 16 seconds only.
PATIENCE = 30_000

NO_SUCH_JOB = "D-00000000-000000000000000000000000-05a1"


async def until(
    ask: Callable[[], Awaitable[Any]],
    wanted: Callable[[Any], bool] = bool,
    seconds: float = PATIENCE / 1000,
) -> Any:
    """Ask until the answer is what is wanted; fails the test if it is not in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await ask()
        if wanted(answer):
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"the answer was not as wanted within {seconds} s but {answer!r}")
        await asyncio.sleep(0.02)


def is_none(answer: Any) -> bool:
    return answer is None


async def scan_all(scan: Callable[..., Awaitable[Any]], **options: Any) -> list[Any]:
    """What a scan returns in all; our node ends a BUSYLOOP after 10,000 elements with a cursor."""
    cursor, found = await scan(busyloop=True, **options)
    while int(cursor):
        cursor, more = await scan(cursor, busyloop=True, **options)
        found += more
    return found


async def take(client: Any, queue: str | bytes, **options: Any) -> Any:
    """The next job of a queue, waiting for it as long as a cluster may need."""
    (job,) = await client.get_job([queue], timeout=PATIENCE, **options)
    return job
