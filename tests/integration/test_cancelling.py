"""However waits are cancelled, every job ends up with somebody: counted on a real node."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Iterator

import pytest

from harness.chaos.proxy import Proxies
from pydisque import AsyncClient, Client
from pydisque.client import connection
from support.servers import NodeProcess, until

JOBS = 500


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProcess]:
    """A node in a process of its own."""
    with NodeProcess() as node:
        yield node


@pytest.fixture(params=["direct", "proxy"])
def address(request, node) -> Iterator[str]:
    """Of the node, or of a proxy that ends both ways when one ends: it knows no half-close."""
    if request.param == "direct":
        yield node.address
        return
    with Proxies() as proxies:
        yield proxies.to(node.port).address


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
async def test_no_job_is_lost_or_doubled(node, address, queue, options):
    """Jobs that race with the end of those who wait for them are found once each, in time."""
    found: list[bytes] = []
    async with AsyncClient(address) as consumer, AsyncClient(node.address) as producer:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(wait_and_be_cancelled(consumer, queue, found))
            for number in range(JOBS):
                await producer.add_job(queue, b"%d" % number, **options)
                await asyncio.sleep(random.random() * 0.002)
        assert sorted(found) == sorted(b"%d" % number for number in range(JOBS))


class InterruptError(BaseException):
    """What gevent.Timeout or a signal's handler is."""


def interrupt_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have waits for a reply end by an exception after a few milliseconds, as gevent's do."""
    make = connection._peek

    def peek(sock):
        poll, wait = connection.input_poll(sock), make(sock)

        def interrupted() -> None:
            here = threading.current_thread() is threading.main_thread()
            if here and not poll(random.random() * 4):
                raise InterruptError
            wait()

        return interrupted

    monkeypatch.setattr(connection, "_peek", peek)
    monkeypatch.setattr(connection.Connection, "careful", True)


@pytest.mark.parametrize("options", [{}, {"retry": 0, "replicate": 1}], ids=["retry", "once"])
def test_no_job_is_lost_by_interrupts(node, address, queue, options, monkeypatch):
    """Jobs that race with exceptions in a call of the plain client are found once each, in time."""
    found: list[bytes] = []
    interrupt_waits(monkeypatch)

    def produce() -> None:
        with Client(node.address) as producer:
            for number in range(JOBS):
                producer.add_job(queue, b"%d" % number, **options)
                time.sleep(random.random() * 0.002)

    thread = threading.Thread(target=produce)
    thread.start()
    with Client(address) as consumer:

        def take() -> bool:
            with contextlib.suppress(InterruptError):
                found.extend(job.body for job in consumer.get_jobs([queue], count=3))
            return len(found) >= JOBS

        until(take, 60)
        thread.join()
    assert sorted(found) == sorted(b"%d" % number for number in range(JOBS))
    assert node.blocked(queue) == 0


@pytest.mark.parametrize("then", ["close", "wait"])
def test_a_job_on_its_way_to_an_interrupted_call(node, queue, then, monkeypatch):
    """A job that comes after the call was interrupted is queued again, also if the client closes.

    It is then as if it had not been delivered.
    """
    with Client(node.address) as other, Client(node.address) as client:
        interrupt_waits(monkeypatch)
        with pytest.raises(InterruptError):
            client.get_job([queue], timeout=10_000)  # ends the test when nothing interrupts it
        monkeypatch.undo()
        until(lambda: node.blocked(queue) == 1)
        if then == "close":
            client.close()
            until(lambda: node.blocked(queue) == 0)
        job_id = other.add_job(queue, "body")
        until(lambda: other.qlen(queue) == 1)
        assert other.show(job_id).additional_deliveries == 0
