"""What type checkers make of the client; never run, only checked by mypy and pyright."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import redis
import redis.asyncio

from pydisque import (
    AsyncClient,
    AsyncConnectedNode,
    AsyncPipeline,
    AsyncReceivedJob,
    Backoff,
    Client,
    ConnectedNode,
    Drop,
    Job,
    JobInfo,
    Pipeline,
    QueueStats,
    ReceivedJob,
    Retry,
    Worker,
    WorkerJob,
)

client = Client(["localhost:7711"], password="x", deadline=3, decode_responses=False)
assert_type(client.connect(), None)
assert_type(client.connected_node, ConnectedNode | None)
assert_type(client.get_connection(), redis.Redis)

assert_type(client.add_job("q", "body", 200, 1, 0, 0, 60, 10, True), bytes)
assert_type(client.add_job("q", b"body", **{"async": True}), bytes)
assert_type(client.add_jobs("q", ["a", b"b", 3]), list[bytes | Exception])
assert_type(client.get_job(["q"], timeout=1000, withcounters=True), list[Job])
assert_type(client.get_jobs(["q"], count=3), list[ReceivedJob])
assert_type(client.ack_job(b"id", "id"), int)
assert_type(client.nack_job(b"id", "id", delay=60), int)
assert_type(client.working(b"id"), int)
assert_type(client.qlen("q"), int)
assert_type(client.ping(), bool)
assert_type(client.pause("q", kw_in=True), bytes)
assert_type(client.qpeek("q", 1), list[Job])

assert_type(client.show("id"), JobInfo | None)
assert_type(client.show("id", return_dict=True), dict[bytes, Any] | None)
assert_type(client.qstat("q"), QueueStats | None)
assert_type(client.qstat("q", True), dict[bytes, Any] | None)

assert_type(client.add_json("q", {"a": 1}, ttl=60), bytes)
assert_type(client.jobs("q", "p", count=3), Iterator[ReceivedJob])
assert_type(client.iter_queues(minlen=1), Iterator[bytes])
assert_type(client.iter_jobs("q"), Iterator[bytes])
assert_type(client.iter_jobs(reply="all"), Iterator[JobInfo])

for job in client.get_jobs(["q"]):
    assert_type(job.id, bytes)
    assert_type(job.nacks, int | None)
    assert_type(job.ack(), int)
    assert_type(job.nack(delay=60), int)

info = client.show("id")
if info is not None:
    assert_type(info.state, bytes)
    assert_type(info.next_requeue_within, int | None)

with client.pipeline() as pipeline:
    assert_type(pipeline.add_job("q", "b").qlen("q"), Pipeline)
    assert_type(pipeline.nack_job("id", delay=60), Pipeline)
    assert_type(pipeline.execute(), list[Any])

with Client() as other:
    assert_type(other, Client)

client.add_job("q")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
client.add_job("q", "b", ttl="60")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.get_job(["q"], contdown=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
client.nack_job("id", delay="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
client.ack_job(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def use() -> None:
    """The same, awaited."""
    client = AsyncClient(["localhost:7711"], password="x", deadline=3, decode_responses=False)
    assert_type(await client.connect(), None)
    assert_type(client.connected_node, AsyncConnectedNode | None)
    assert_type(client.nodes, dict[str, AsyncConnectedNode | None])
    assert_type(client.get_connection(), redis.asyncio.Redis)

    assert_type(await client.add_job("q", "body", 200, 1, 0, 0, 60, 10, True), bytes)
    assert_type(await client.add_job("q", b"body", **{"async": True}), bytes)
    assert_type(await client.add_jobs("q", ["a", b"b", 3]), list[bytes | Exception])
    assert_type(await client.add_json("q", [1], ttl=60), bytes)
    assert_type(await client.get_job(["q"], timeout=1000, withcounters=True), list[Job])
    assert_type(await client.get_jobs(["q"], count=3), list[AsyncReceivedJob])
    assert_type(await client.ack_job(b"id", "id"), int)
    assert_type(await client.ping(), bool)

    assert_type(await client.show("id"), JobInfo | None)
    assert_type(await client.show("id", return_dict=True), dict[bytes, Any] | None)
    assert_type(await client.qstat("q"), QueueStats | None)
    assert_type(await client.qstat("q", True), dict[bytes, Any] | None)

    assert_type(client.iter_queues(minlen=1), AsyncIterator[bytes])
    assert_type(client.iter_jobs("q"), AsyncIterator[bytes])
    assert_type(client.iter_jobs(reply="all"), AsyncIterator[JobInfo])

    async for job in client.jobs("q", "p", count=3, timeout=1000):
        assert_type(job, AsyncReceivedJob)
        assert_type(job.id, bytes)
        assert_type(await job.ack(), int)

    async with client.pipeline() as pipeline:
        assert_type(pipeline.add_job("q", "b").qlen("q"), AsyncPipeline)
        assert_type(await pipeline.execute(), list[Any])

    async with AsyncClient() as other:
        assert_type(other, AsyncClient)

    await client.add_job("q")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.get_job(["q"], a=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.ack_job(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def workers() -> None:
    """A handler keeps its type; a job's parts have theirs; settings are checked."""
    worker = Worker(["localhost:7711"], concurrency=4, executor="threads", queues={"a": 2})

    @worker.handler("a", max_attempts=3, backoff=Backoff(1, 60))
    def handle(job: WorkerJob) -> str:
        assert_type(job.body, bytes)
        assert_type(job.id, str)
        assert_type(job.queue, str)
        assert_type(job.attempt, int)
        assert_type(job.lease_lost, bool)
        if job.nacks:
            raise Retry(in_seconds=5)
        return job.id

    @worker.handler("b", timeout=3)
    async def wait(job: WorkerJob) -> None:
        raise Drop

    assert_type(handle(WorkerJob(b"a", b"id", b"body", 0, 0)), str)
    await wait(WorkerJob(b"b", b"id", b"body", 0, 0))
    assert_type(worker.run(), int)
    assert_type(worker.join(), int)
    Worker(executor="fibers")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
