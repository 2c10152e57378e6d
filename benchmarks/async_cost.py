"""What one call of the asyncio client costs, with few and with many tasks, beside redis-py's.

Both do the same on the same node in the same run, in turn, round after round; what counts is this
process's CPU time per operation, and its ratio to ours. Wall time is told as well, but on a shared
machine it says little.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any, Protocol

import redis.asyncio
from client_cost import BODY, Cost

from pydisque import AsyncClient

TASKS = (1, 10, 1000)


class Contender(Protocol):
    """A client; its operations are for any number of tasks at once."""

    name: str

    async def add(self, queue: str) -> None: ...
    async def get_and_ack(self, queue: str) -> None: ...
    async def close(self) -> None: ...


class Pydisque:
    """Our client."""

    name = "pydisque AsyncClient"

    def __init__(self, host: str, port: int) -> None:
        self._client = AsyncClient([f"{host}:{port}"])
        self.close = self._client.close

    async def add(self, queue: str) -> None:
        await self._client.add_job(queue, BODY)

    async def get_and_ack(self, queue: str) -> None:
        [(_, job_id, _)] = await self._client.get_job([queue], nohang=True)
        await self._client.ack_job(job_id)


class RedisPy:
    """redis-py as anybody would use it for Disque, tasks waiting for one of 50 connections."""

    name = "redis.asyncio.Redis"

    def __init__(self, host: str, port: int) -> None:
        pool = redis.asyncio.BlockingConnectionPool(
            max_connections=50, timeout=None, host=host, port=port, protocol=2, socket_timeout=None
        )
        self._redis = redis.asyncio.Redis(connection_pool=pool)

    async def add(self, queue: str) -> None:
        await self._redis.execute_command("ADDJOB", queue, BODY, 200)

    async def get_and_ack(self, queue: str) -> None:
        [[_, job_id, _]] = await self._redis.execute_command("GETJOB", "NOHANG", "FROM", queue)
        await self._redis.execute_command("ACKJOB", job_id)

    async def close(self) -> None:
        await self._redis.connection_pool.disconnect()


async def measure(
    operation: Callable[[str], Awaitable[Any]], queue: str, tasks: int, count: int
) -> Cost:
    """Do it so often, in so many tasks, and tell what one took."""
    each = max(1, count // tasks)

    async def work() -> None:
        for _ in range(each):
            await operation(queue)

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(tasks)))
    took = time.process_time() - cpu, time.perf_counter() - wall
    return Cost(*(seconds / (each * tasks) * 1e6 for seconds in took))


async def _compare(host: str, port: int, rounds: int, count: int) -> dict[str, dict[str, Cost]]:
    contenders: list[Contender] = [make(host, port) for make in (Pydisque, RedisPy)]
    samples: dict[str, dict[str, list[Cost]]] = {}
    for turn in range(rounds + 1):
        for tasks in TASKS:
            for contender in contenders:
                queue = f"async-{turn}-{tasks}-{contender.name}"
                added = await measure(contender.add, queue, tasks, count)
                fetched = await measure(contender.get_and_ack, queue, tasks, count)
                if turn:  # the first is for the connections
                    for name, cost in (("add_job", added), ("get_job + ack_job", fetched)):
                        by_name = samples.setdefault(f"{name}, tasks: {tasks}", {})
                        by_name.setdefault(contender.name, []).append(cost)
    for contender in contenders:
        await contender.close()
    return {
        operation: {
            name: Cost(median(cost.cpu for cost in costs), median(cost.wall for cost in costs))
            for name, costs in by_name.items()
        }
        for operation, by_name in sorted(samples.items())
    }


def compare(host: str, port: int, rounds: int, count: int) -> dict[str, dict[str, Cost]]:
    """Every contender's median cost of add, and of get and ack, by the number of tasks."""
    return asyncio.run(_compare(host, port, rounds, count))
