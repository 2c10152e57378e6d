"""What only an AsyncClient does: share a connection, be cancelled, belong to a loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import logging
import pickle
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import redis.exceptions
import uvloop

import pydisque
from pydisque import (
    AsyncClient,
    AsyncPipeline,
    AsyncReceivedJob,
    Client,
    Job,
    Pipeline,
    UnreachableError,
)
from support.client_nodes import CERTIFICATE, FakeTLSNode, FakeUnixNode
from support.fake_node import HANG_UP, SILENCE, FakeNode, array, bulk, job_info, on_wire

ID = b"D-dcb833cf-8YL1NT17e9+wsA/09NqxscQI-05a1"
ONCE = b"D-dcb833cf-8YL1NT17e9+wsA/09NqxscQI-05a0"


def jobs(*ids: bytes) -> bytes:
    """A reply to GETJOB, with counters."""
    each = (bulk(b"q"), bulk(ID), bulk(b"body"), bulk(b"n"), b":0\r\n", bulk(b"a"), b":0\r\n")
    return array(*(array(each[0], bulk(job_id), *each[2:]) for job_id in ids))


@pytest.fixture
def node():
    with FakeNode(ENQUEUE=lambda *ids: b":%d\r\n" % len(ids)) as node:
        yield node


@pytest.fixture(autouse=True)
async def tidy() -> AsyncIterator[None]:
    """In debug mode no test leaves a task or a socket, or gives the loop reason to complain."""
    complaints: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    before = open_sockets()
    yield
    await eventually(lambda: asyncio.all_tasks() <= {asyncio.current_task()})
    await eventually(lambda: open_sockets() <= before)
    gc.collect()
    assert complaints == []


def open_sockets() -> set[str]:
    """The sockets of this process."""
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that lists them is gone again
            found.add(str(fd.readlink()))
    return {target for target in found if target.startswith("socket:")}


async def eventually(condition: Callable[[], Any], seconds: float = 5) -> None:
    """Wait until it is so, while the loop goes on."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def heard(node: FakeNode, name: str, times: int = 1) -> None:
    """Wait until a command arrived so often."""
    await eventually(lambda: node.count(name) >= times)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and see that it is."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def held(reply: bytes) -> tuple[threading.Event, Callable[..., bytes]]:
    """An answer that is kept back until the event is set."""
    event = threading.Event()

    def answer(*_: bytes) -> bytes:
        event.wait(10)
        return reply

    return event, answer


# What it is


PARTNERS = {
    "Client": "AsyncClient",
    "ReceivedJob": "AsyncReceivedJob",
    "Pipeline": "AsyncPipeline",
    "ConnectedNode": "AsyncConnectedNode",
    "Iterator": "AsyncIterator",
    "redis.Redis": "redis.asyncio.Redis",
}


def translated(annotation: Any) -> str:
    """An annotation as it has to read in the other client."""
    text = str(annotation)
    for name, partner in PARTNERS.items():
        text = text.replace(name, partner)
    return text


def public(cls: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(cls)
        if not name.startswith("_") or name == "__init__"
    }


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(AsyncClient, Client), (AsyncPipeline, Pipeline), (AsyncReceivedJob, pydisque.ReceivedJob)],
)
def test_both_clients_have_the_same_methods(ours, theirs):
    """Names, parameters, defaults, annotations and results are those of Client."""
    assert public(ours).keys() == public(theirs).keys()
    for name, method in public(theirs).items():
        if not callable(method):
            continue
        here, there = inspect.signature(public(ours)[name]), inspect.signature(method)
        assert list(here.parameters) == list(there.parameters), name
        for mine, its in zip(here.parameters.values(), there.parameters.values(), strict=True):
            assert (mine.kind, mine.default) == (its.kind, its.default), name
            assert str(mine.annotation) == translated(its.annotation), name
        assert str(here.return_annotation) == translated(there.return_annotation), name
        assert (public(ours)[name].__doc__ is None) == (method.__doc__ is None), name


NOT_AWAITED = {"__init__", "get_connection", "pipeline", "iter_jobs", "iter_queues", "jobs"}


def test_what_is_awaited():
    """Every method that may talk to a node is a coroutine function; scans are iterated."""
    methods = {name: m for name, m in public(AsyncClient).items() if callable(m)}
    plain = {name for name, m in methods.items() if not inspect.iscoroutinefunction(m)}
    assert plain == NOT_AWAITED
    assert inspect.iscoroutinefunction(AsyncPipeline.execute)
    assert inspect.iscoroutinefunction(AsyncReceivedJob.ack)


def test_commands_have_the_docstrings_of_the_commands():
    """help() says of each command what it says for Client."""
    assert AsyncClient.add_job.__doc__ == Client.add_job.__doc__
    assert AsyncClient.add_job.__qualname__ == "AsyncClient.add_job"


async def test_a_client_in_a_nutshell(node):
    """It connects by itself, tells which node it uses, and closes at the end of its block."""
    async with AsyncClient(node.address) as client:
        assert repr(client) == f"<AsyncClient {node.address}>"
        assert client.connected_node is None
        with pytest.raises(redis.exceptions.ConnectionError, match="not connected"):
            client.get_connection()
        assert await client.ping() is True
        assert client.connected_node.node_id == node.id.encode()
        assert client.nodes == {node.address: client.connected_node}
        assert await client.get_connection().ping() is True
    assert client.connected_node is None
    assert node.received[:2] == [(b"HELLO",), (b"PING",)]


async def test_bad_arguments_are_refused_before_anything_is_sent(node):
    """Iterators too refuse them when they are made."""
    async with AsyncClient(node.address) as client:
        with pytest.raises(ValueError, match="ttl"):
            await client.add_job("q", "b", ttl=0)
        for call in (lambda: client.iter_jobs(state="gone"), lambda: client.jobs("q", count=0)):
            with pytest.raises(ValueError, match="must be"):
                call()
        with pytest.raises(TypeError):
            await client.add_json("q", object())
    assert node.received == []


async def test_add_json(node):
    """A value goes as compact JSON in UTF-8."""
    async with AsyncClient(node.address, encoding="latin-1") as client:
        await client.add_json("q", {"ü": [1, None]}, ttl=5)
    assert node.received[-1][2] == '{"ü":[1,null]}'.encode()


# One connection for all


async def test_a_thousand_coroutines_share_one_connection(node):
    """Commands of many tasks go over one connection, each task gets its own reply."""
    node.answers["ECHO"] = bulk
    async with AsyncClient(node.address) as client:
        texts = [b"%d" % n for n in range(1000)]
        replies = await asyncio.gather(*(client.execute_command("ECHO", t) for t in texts))
        assert replies == texts
        await asyncio.gather(*(client.add_job("q", text) for text in texts))
        assert node.connections == 1


async def test_a_waiting_task_holds_up_nobody(node):
    """A GETJOB that waits has a connection of its own, used again by the next that waits."""
    event, node.answers["GETJOB"] = held(jobs(ID))
    async with AsyncClient(node.address) as client:
        waiting = asyncio.create_task(client.get_jobs(["q"]))
        await heard(node, "GETJOB")
        assert await client.qlen("q") == 0
        event.set()
        assert [job.id for job in await waiting] == [ID]
        await client.get_jobs(["q"])
        assert node.connections == 2


async def test_in_a_cluster_jobs_have_connections_of_their_own(node):
    """Where a node may wait for others, an ADDJOB holds up nobody, and not too many go at once."""
    node.others = [("f" * 40, "127.0.0.1", 1, 1)]
    event = threading.Event()

    def add(*_: bytes) -> bytes:
        event.wait(10)
        return b"+" + ID + b"\r\n"

    node.answers["ADDJOB"] = add
    async with AsyncClient(node.address) as client:
        adding = asyncio.gather(*(client.add_job("q", str(n)) for n in range(100)))
        await heard(node, "ADDJOB", 32)
        assert await client.qlen("q") == 0
        assert node.count("ADDJOB") == 32
        event.set()
        assert len(await adding) == 100
        assert node.connections == 33


async def test_opening_once_even_if_the_first_is_cancelled(node):
    """Tasks that come while the connection is opened wait for it, though its opener is gone."""
    event = threading.Event()
    node.answers["HELLO"] = lambda: event.wait(10) and None
    async with AsyncClient(node.address) as client:
        first = asyncio.create_task(client.ping())
        others = [asyncio.create_task(client.ping()) for _ in range(10)]
        await heard(node, "HELLO")
        await cancelled(first)
        event.set()
        assert await asyncio.gather(*others) == [True] * 10
        assert node.connections == 1


async def test_large_requests_wait_until_the_node_reads(node):
    """Of many large jobs for a node that does not read, only some lie with the client's system."""
    event, node.answers["PING"] = held(b"+PONG\r\n")
    async with AsyncClient(node.address) as client:
        await client.connect()
        ping = asyncio.create_task(client.ping())
        await heard(node, "PING")
        body = b"x" * 100_000
        adding = asyncio.gather(*(client.add_job("q", body) for _ in range(300)))
        connection = next(iter(client._transport._lines.values()))._shared
        await eventually(lambda: connection.paused)
        await asyncio.sleep(0.05)
        assert connection._transport.get_write_buffer_size() < 3_000_000
        assert len(connection._pending) + len(connection._queued) < 150
        event.set()
        assert await ping
        assert len(await adding) == 300
        assert node.connections == 1


async def test_an_answer_too_many_is_nobodys(node):
    """A node that answers twice does not make the next command take the second answer for its."""
    node.answers["QLEN"] = b":1\r\n:2\r\n"
    async with AsyncClient(node.address) as client:
        assert await client.qlen("q") == 1
        assert await client.ping() is True


# Cancelling


async def test_cancelled_before_it_is_sent(node):
    """What is cancelled in the turn in which it was asked is not sent at all."""
    async with AsyncClient(node.address) as client:
        await client.connect()
        pings = [asyncio.create_task(client.ping()) for _ in range(2)]
        task = asyncio.create_task(client.get_job(["q"], nohang=True))
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.gather(*pings) == [True, True]
        assert node.count("GETJOB") == 0


async def test_cancelled_after_it_was_sent(node):
    """The reply to a cancelled command is dropped; those after it get their own."""
    event, late = held(b":7\r\n")
    node.answers |= {"QLEN": late, "ECHO": bulk}
    async with AsyncClient(node.address) as client:
        await client.connect()
        task = asyncio.create_task(client.qlen("q"))
        others = [asyncio.create_task(client.execute_command("ECHO", b"%d" % n)) for n in range(9)]
        await heard(node, "QLEN")
        await cancelled(task)
        event.set()
        assert await asyncio.gather(*others) == [b"%d" % n for n in range(9)]
        assert node.connections == 1


async def test_cancelled_while_it_waits(node):
    """The wait is left to the next task that wants the same, and the other commands see nothing."""
    event, node.answers["GETJOB"] = held(jobs(ID))
    async with AsyncClient(node.address) as client:
        await client.ping()
        for times in range(1, 4):
            task = asyncio.create_task(client.get_jobs(["q"]))
            await heard(node, "GETJOB")
            await until_waiting(client)
            await cancelled(task)
            assert await client.ping() is True
            assert node.count("GETJOB") == 1, times
        task = asyncio.create_task(client.get_jobs(["q"], timeout=9000))
        await until_waiting(client)
        event.set()
        assert [job.id for job in await task] == [ID]
        assert node.count("ENQUEUE") == 0
        assert node.connections == 2


async def until_waiting(client: AsyncClient) -> None:
    """Wait until no cancelled wait is left to adopt, as a task has it."""
    await eventually(lambda: not client._transport._line_to(first(client)).orphans)
    await asyncio.sleep(0)


async def test_a_wait_is_not_adopted_by_others(node):
    """A wait for other queues, for more jobs, or that ends too late, is no one else's."""
    event, node.answers["GETJOB"] = held(b"*-1\r\n")
    async with AsyncClient(node.address) as client:
        await client.ping()
        waiting = asyncio.create_task(client.get_jobs(["q"]))
        await heard(node, "GETJOB")
        await cancelled(waiting)
        others = [
            asyncio.create_task(client.get_jobs(queues, timeout=timeout, count=count))
            for queues, timeout, count in ((["p"], 9000, None), (["q"], 9000, 2), (["q"], 50, None))
        ]
        await eventually(lambda: node.count("GETJOB") == 4)
        event.set()
        assert await asyncio.gather(*others) == [[], [], []]


def first(client: AsyncClient) -> Any:
    return next(iter(client._transport._nodes))


@pytest.mark.parametrize("nohang", [False, True])
async def test_a_job_that_was_on_its_way_is_put_back(node, nohang):
    """A job that comes after its task was cancelled is queued again, once, where it came from."""
    event, node.answers["GETJOB"] = held(jobs(ID))
    async with AsyncClient(node.address) as client:
        await client.connect()
        task = asyncio.create_task(client.get_jobs(["q"], nohang=nohang))
        await heard(node, "GETJOB")
        await cancelled(task)
        event.set()
        await heard(node, "ENQUEUE")
        await client.ping()
    assert [c for c in node.received if c[0] == b"ENQUEUE"] == [(b"ENQUEUE", ID, b"UNCOUNTED")]


async def test_cancelled_in_the_turn_in_which_the_job_comes(node):
    """A job whose task is cancelled before it could run again is put back too, once."""
    event, node.answers["GETJOB"] = held(jobs(ID))
    async with AsyncClient(node.address) as client:
        task = asyncio.create_task(client.get_job(["q"]))
        await heard(node, "GETJOB")
        line = client._transport._line_to(first(client))
        (connection,) = line._all - {line._shared}
        received = connection.data_received

        def receive(data: bytes) -> None:
            received(data)
            task.cancel()

        connection._transport.get_protocol().data_received = receive
        event.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await heard(node, "ENQUEUE")
    assert node.count("ENQUEUE") == 1


async def test_a_cancelled_pipeline_puts_its_jobs_back(node):
    """Jobs that a pipeline fetched are put back when it is cancelled."""
    event, late = held(b":0\r\n")
    node.answers |= {"GETJOB": jobs(ID), "QLEN": late}
    async with AsyncClient(node.address) as client:
        pipeline = client.pipeline().get_job(["q"], nohang=True).qlen("q")
        task = asyncio.create_task(pipeline.execute())
        await heard(node, "QLEN")
        await cancelled(task)
        event.set()
        await heard(node, "ENQUEUE")
        await client.ping()
    assert node.count("ENQUEUE") == 1


async def test_a_job_to_be_delivered_once_is_made_anew(node):
    """A job with RETRY 0 cannot be queued again: it is added as it was, and the old one acked."""
    event, node.answers["GETJOB"] = held(jobs(ONCE))
    node.answers["SHOW"] = on_wire(job_info(id=ONCE, ttl=77, body=b"b\xff"))
    async with AsyncClient(node.address) as client:
        task = asyncio.create_task(client.get_job(["q"]))
        await heard(node, "GETJOB")
        await cancelled(task)
        event.set()
        await heard(node, "ACKJOB")
    assert node.received[-3:] == [
        (b"SHOW", ONCE),
        (b"ADDJOB", b"q", b"b\xff", b"200", *b"REPLICATE 1 RETRY 0 TTL 77".split()),
        (b"ACKJOB", ONCE),
    ]


async def test_a_client_puts_back_what_another_one_was_given(node):
    """It asks the node that handed the job out, be it the first thing that it does."""
    node.answers["GETJOB"] = jobs(ID)
    async with AsyncClient(node.address) as one:
        received = await one.get_jobs(["q"])
    async with AsyncClient(node.address) as other:
        await other.put_back(received)
    assert [c for c in node.received if c[0] == b"ENQUEUE"] == [(b"ENQUEUE", ID, b"UNCOUNTED")]


async def test_a_job_that_cannot_be_put_back_is_told_of(node, caplog):
    """When the node is gone the log says so, without the job's body; RETRY brings it back."""
    event, node.answers["GETJOB"] = held(jobs(ID, ID))
    node.answers["ENQUEUE"] = HANG_UP
    async with AsyncClient(node.address) as client:
        task = asyncio.create_task(client.get_job(["q"]))
        await heard(node, "GETJOB")
        await cancelled(task)
        with caplog.at_level(logging.WARNING, "pydisque"):
            event.set()
            await eventually(lambda: "could not put back 2" in caplog.text)
    assert "body" not in caplog.text


# Iterating over jobs


async def test_jobs_for_ever(node):
    """jobs() asks again and again; the jobs of a batch not given out are put back by break."""
    node.answers["GETJOB"] = jobs(ID, ID)
    seen = 0
    async with AsyncClient(node.address) as client:
        async for job in client.jobs("q", count=2):
            assert isinstance(job, AsyncReceivedJob)
            assert await job.ack() == 1
            seen += 1
            if seen == 5:
                break
    assert (node.count("GETJOB"), node.count("ACKJOB"), node.count("ENQUEUE")) == (3, 5, 1)


async def test_jobs_left_by_an_error_or_cancelled(node):
    """An error within the loop, and the end of its task, put back what was not given out."""
    node.answers["GETJOB"] = jobs(ID, ID, ID)

    async def consume(client: AsyncClient, work: Callable[[], Awaitable[Any]]) -> None:
        async for _ in client.jobs("q", count=3):
            await work()

    async def fail() -> None:
        raise ZeroDivisionError

    async with AsyncClient(node.address) as client:
        with pytest.raises(ZeroDivisionError):
            await consume(client, fail)
        await heard(node, "ENQUEUE")
        task = asyncio.create_task(consume(client, asyncio.Event().wait))
        await heard(node, "GETJOB", 2)
        await eventually(lambda: len(asyncio.all_tasks()) == 2)
        await asyncio.sleep(0.02)
        await cancelled(task)
        await heard(node, "ENQUEUE", 2)
    assert [c for c in node.received if c[0] == b"ENQUEUE"] == [
        (b"ENQUEUE", ID, ID, b"UNCOUNTED")
    ] * 2


async def test_jobs_that_end(node):
    """With a timeout the iteration ends after so long without a job, and can be closed at will."""
    replies = iter([jobs(ID), b"*-1\r\n"])
    node.answers["GETJOB"] = lambda *_: next(replies, b"*-1\r\n")
    async with AsyncClient(node.address) as client:
        assert [job.id async for job in client.jobs("q", timeout=50)] == [ID]
        node.answers["GETJOB"] = jobs(ID, ID)
        async with contextlib.aclosing(client.jobs("q", count=2)) as found:
            assert (await anext(found)).id == ID
        assert node.count("ENQUEUE") == 1
        with pytest.raises(StopAsyncIteration):
            await anext(found)


async def test_received_jobs_are_pickled_as_jobs(node):
    """A received job travels to another process as a plain one."""
    node.answers["GETJOB"] = jobs(ID)
    async with AsyncClient(node.address) as client:
        (job,) = await client.get_jobs(["q"])
        assert type(pickle.loads(pickle.dumps(job))) is Job


# Closing


async def test_close_ends_what_is_under_way(node):
    """close() fails commands that wait for a reply, a job, a node or their turn."""
    node.answers |= {"QLEN": SILENCE, "GETJOB": SILENCE}
    client = AsyncClient(node.address, backoff=(30.0, 30.0))
    tasks = [asyncio.create_task(client.qlen("q")), asyncio.create_task(client.get_job(["q"]))]
    await heard(node, "QLEN")
    await heard(node, "GETJOB")
    lost = AsyncClient("127.0.0.1:1", backoff=(30.0, 30.0), deadline=60.0)
    tasks.append(asyncio.create_task(lost.ping()))
    await asyncio.sleep(0.02)
    for each in (client, lost):
        async with asyncio.timeout(2):
            await each.close()
    for task in tasks:
        with pytest.raises(redis.exceptions.ConnectionError, match="closed"):
            await task
    assert await client.ping() is True
    await client.close()


async def test_close_puts_back_what_is_on_its_way(node):
    """A job that arrives while the client is closed is put back before close() returns."""
    event, node.answers["GETJOB"] = held(jobs(ID))
    client = AsyncClient(node.address)
    task = asyncio.create_task(client.get_job(["q"]))
    await heard(node, "GETJOB")
    asyncio.get_running_loop().call_later(0.05, event.set)
    await client.close()
    with pytest.raises(redis.exceptions.ConnectionError, match="closed"):
        await task
    assert node.count("ENQUEUE") == 1


async def test_close_does_not_wait_for_a_node_that_hangs(node):
    """A node that says nothing delays close() by no more than socket_timeout or so."""
    node.answers |= {"GETJOB": SILENCE}
    client = AsyncClient(node.address, socket_timeout=0.2)
    task = asyncio.create_task(client.get_job(["q"]))
    await heard(node, "GETJOB")
    node.answers["HELLO"] = SILENCE
    opening = asyncio.create_task(client.ping())
    await heard(node, "HELLO", 2)
    async with asyncio.timeout(2):
        await client.close()
    for each in (task, opening):
        with pytest.raises(redis.exceptions.ConnectionError):
            await each


# Silence


async def test_a_hanging_node_is_noticed_in_time(node):
    """Everybody who waits on a silent node learns of it after socket_timeout."""
    node.answers["QLEN"] = SILENCE
    async with AsyncClient(node.address, socket_timeout=0.1, deadline=0.0) as client:
        async with asyncio.timeout(2):
            found = await asyncio.gather(
                *(client.qlen("q") for _ in range(100)), return_exceptions=True
            )
        assert {type(error) for error in found} == {UnreachableError}
        assert "no answer within 0.1 s" in str(found[0])


# Loops


def test_two_runs_one_after_another(node):
    """A client whose loop was closed starts afresh in the next."""
    client = AsyncClient(node.address)

    async def main() -> None:
        assert await client.ping() is True
        await client.close()

    for _ in range(2):
        asyncio.run(main(), debug=True)


def test_two_loops_at_once(node):
    """A client used in a second loop while the first lives says so, and goes on in the first."""
    client = AsyncClient(node.address)

    async def main() -> None:
        assert await client.ping() is True
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, use())
        assert await client.ping() is True
        await client.close()

    async def use() -> None:
        await client.ping()

    asyncio.run(main(), debug=True)


class PatientTLSNode(FakeTLSNode):
    """OpenSSL answers the end of a socket with an alert; give what went before it time to go."""

    def _commands(self, sock):
        for command in super()._commands(sock):
            yield command
            if command[0] == b"GETJOB":
                time.sleep(0.1)


@pytest.mark.parametrize("kind", ["tls", "unix"])
async def test_other_ways_to_a_node(kind, tmp_path):
    """TLS and Unix sockets work alike, cancelling a wait included."""
    node = FakeUnixNode(str(tmp_path / "s")) if kind == "unix" else PatientTLSNode()
    event, node.answers["GETJOB"] = held(jobs(ID))
    node.answers["ENQUEUE"] = b":1\r\n"
    with node:
        where = f"unix:{node.path}" if kind == "unix" else f"disques://localhost:{node.port}"
        options = {} if kind == "unix" else {"ssl_ca_certs": str(CERTIFICATE)}
        async with AsyncClient(where, **options) as client:
            assert await client.ping() is True
            assert (await client.add_job("q", "x" * 100_000)).startswith(b"D-")
            task = asyncio.create_task(client.get_job(["q"]))
            await heard(node, "GETJOB")
            await cancelled(task)
            event.set()
            await heard(node, "ENQUEUE")
            assert await client.ping() is True


@pytest.mark.parametrize(
    "test",
    [
        test_a_thousand_coroutines_share_one_connection,
        test_large_requests_wait_until_the_node_reads,
        test_cancelled_before_it_is_sent,
        test_cancelled_after_it_was_sent,
        test_cancelled_while_it_waits,
        test_a_cancelled_pipeline_puts_its_jobs_back,
        test_jobs_left_by_an_error_or_cancelled,
        test_close_ends_what_is_under_way,
        test_close_puts_back_what_is_on_its_way,
        test_a_hanging_node_is_noticed_in_time,
    ],
)
def test_on_uvloop_too(test, node):
    """uvloop's transports behave differently in many a corner; what matters is the same."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop, debug=True) as runner:
        runner.run(test(node))


@pytest.mark.parametrize("kind", ["tls", "unix"])
def test_other_ways_on_uvloop(kind, tmp_path):
    """TLS and Unix sockets too."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop, debug=True) as runner:
        runner.run(test_other_ways_to_a_node(kind, tmp_path))
