"""The clients under test, in the shape every client is tested in: its methods are awaited."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from conformance.steps import until
from pydisque import AsyncClient, Client, ReceivedJob
from support.servers import SCATTERED, Deployment


class ThreadedClient:
    """A `Client` whose methods are awaited: each call runs in a thread of its own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._client = Client(*args, **options)
        self._threads = ThreadPoolExecutor(max_workers=32)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return partial(self._call, getattr(self._client, name))

    def _call(self, method: Callable[..., Any], *args: Any, **options: Any) -> Awaitable[Any]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, partial(method, *args, **options))

    @property
    def connected_node(self) -> Any:
        return self._client.connected_node

    async def get_jobs(self, *args: Any, **options: Any) -> list[ReceivedJob]:
        jobs = await self._call(self._client.get_jobs, *args, **options)
        return [ReceivedJob.of(self, job, job.origin) for job in jobs]

    async def jobs(self, *queues: Any, **options: Any) -> AsyncIterator[ReceivedJob]:
        iteration = self._client.jobs(*queues, **options)
        try:
            while (job := await self._call(next, iteration, None)) is not None:
                yield ReceivedJob.of(self, job, job.origin)
        finally:
            iteration.close()

    async def iter_queues(self, **options: Any) -> AsyncIterator[Any]:
        for name in await self._call(lambda: list(self._client.iter_queues(**options))):
            yield name

    async def iter_jobs(self, **options: Any) -> AsyncIterator[Any]:
        for job in await self._call(lambda: list(self._client.iter_jobs(**options))):
            yield job

    def pipeline(self) -> ThreadedPipeline:
        return ThreadedPipeline(self, self._client.pipeline())

    async def close(self) -> None:
        """Close it; whatever still waits in a thread fails and ends."""
        self._client.close()
        self._threads.shutdown()


class ThreadedPipeline:
    """A `Pipeline` whose `execute` is awaited."""

    def __init__(self, client: ThreadedClient, pipeline: Any) -> None:
        self._client = client
        self._pipeline = pipeline

    def __getattr__(self, name: str) -> Callable[..., ThreadedPipeline]:
        def queue(*args: Any, **options: Any) -> ThreadedPipeline:
            getattr(self._pipeline, name)(*args, **options)
            return self

        return queue

    def __len__(self) -> int:
        return len(self._pipeline)

    def execute(self, **options: Any) -> Awaitable[list[Any]]:
        return self._client._call(self._pipeline.execute, **options)


CLIENTS: dict[str, Callable[..., Any]] = {"sync": ThreadedClient, "async": AsyncClient}


@pytest.fixture(params=CLIENTS)
def client_class(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Each kind of client in turn."""
    return CLIENTS[request.param]


class Scattered:
    """A client that sends each of its commands to any of the nodes."""

    def __init__(self, clients: list[Any]) -> None:
        self._clients = clients

    def __getattr__(self, name: str) -> Any:
        return getattr(random.choice(self._clients), name)

    async def close(self) -> None:
        """Close all of them."""
        for client in self._clients:
            await client.close()


@pytest.fixture
async def make_client(
    request: pytest.FixtureRequest, server: Deployment, client_class: Callable[..., Any]
) -> AsyncIterator[Callable[..., Any]]:
    """Makes further clients with options of their own; all are closed after the test."""
    made: list[Any] = []

    def make(addresses: list[str] = server.addresses, **options: Any) -> Any:
        if server.kind in SCATTERED and not request.node.get_closest_marker("one_node"):
            clients = [client_class([address], **options) for address in addresses]
            made.extend(clients)
            return Scattered(clients)
        made.append(client_class(addresses, **options))
        return made[-1]

    yield make
    for client in made:
        await client.close()


@pytest.fixture
def client(make_client: Callable[..., Any]) -> Any:
    """A client of the first node."""
    return make_client()


@pytest.fixture
def elsewhere(make_client: Callable[..., Any], server: Deployment) -> Any:
    """A client of the last node; where there is one only, that one."""
    return make_client(server.addresses[::-1])


@pytest.fixture
async def waiting(make_client: Any) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Starts a `get_job` that has to wait, and returns its task once the node lets it wait."""
    tasks: list[asyncio.Future[Any]] = []

    async def wait(consumer: Any, *queues: str, **options: Any) -> Any:
        async def blocked() -> list[int]:
            stats = [await consumer.qstat(queue) for queue in queues]
            return [0 if stat is None else stat.blocked for stat in stats]

        wanted = [count + 1 for count in await blocked()]
        task = asyncio.ensure_future(consumer.get_job(queues, **options))
        tasks.append(task)
        await until(blocked, lambda now: now == wanted)
        return task

    yield wait
    for task in tasks:
        task.cancel()
