"""However waits are cancelled, every job ends up with somebody: counted on a real node."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest

from pydisque import AsyncClient
from servers import NodeProcess

JOBS = 500


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProcess]:
    """A node in a process of its own."""
    with NodeProcess() as node:
        yield node


async def wait_and_be_cancelled(client: AsyncClient, queue: str, found: list[bytes]) -> None:
    """Wait for jobs again and again, mostly in vain, with hardly any time for it."""
    while len(found) < JOBS:
        waiting = asyncio.create_task(client.get_jobs([queue], count=3))
        await asyncio.sleep(random.random() * 0.004)
        waiting.cancel()
        try:
            found += [job.body for job in await waiting]
        except asyncio.CancelledError:
            continue


@pytest.mark.parametrize("options", [{}, {"retry": 0, "replicate": 1}], ids=["retry", "once"])
async def test_no_job_is_lost_or_doubled(node, queue, options):
    """Jobs that race with the end of those who wait for them are found once each, in time."""
    found: list[bytes] = []
    async with AsyncClient(node.address) as consumer, AsyncClient(node.address) as producer:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(wait_and_be_cancelled(consumer, queue, found))
            for number in range(JOBS):
                await producer.add_job(queue, b"%d" % number, **options)
                await asyncio.sleep(random.random() * 0.002)
        assert sorted(found) == sorted(b"%d" % number for number in range(JOBS))
