"""What becomes of jobs when nodes die, freeze, leave and come back: real processes, counted.

Beside them stand fake nodes, for the moments that cannot be hit with a signal. What was sent is
counted where it arrived, what was added where it lies.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from pydisque.client import Client
from pydisque.client.connection import SLACK
from pydisque.errors import ConnectionLostError, LeavingError, PausedError
from pydisque.protocol.command import SLICE
from support.blocking_client import LoopedClient
from support.fake_node import HANG_UP, SILENCE, FakeNode
from support.servers import NodeProcess, until

Nodes = tuple[NodeProcess, NodeProcess]

PAUSED = b"-PAUSED Queue paused in input, try later\r\n"


@pytest.fixture(autouse=True, params=[Client, LoopedClient])
def each_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything here holds for both clients."""
    monkeypatch.setitem(globals(), "Client", request.param)


@pytest.fixture(scope="module")
def processes() -> Iterator[Nodes]:
    """Two nodes that know nothing of each other."""
    with NodeProcess() as first, NodeProcess() as second:
        yield first, second


@pytest.fixture
def nodes(processes: Nodes) -> Iterator[Nodes]:
    """The two nodes, both up when the test begins."""
    for node in processes:
        node.start()
    yield processes
    for node in processes:
        node.signal(signal.SIGCONT)


@pytest.fixture
def make_client() -> Iterator[Callable[..., Client]]:
    """Makes clients of nodes, real or fake; all are closed after the test."""
    with ExitStack() as stack:

        def make(*nodes: Any, **options: Any) -> Client:
            defaults = {"deadline": 20, "backoff": (0.01, 0.1)}
            addresses = [node.address for node in nodes]
            return stack.enter_context(Client(addresses, **defaults | options))

        yield make


@pytest.fixture
def client(make_client: Callable[..., Client], nodes: Nodes) -> Client:
    """A client of both nodes, which uses the first."""
    client = make_client(*nodes)
    client.connect()
    return client


@pytest.fixture
def submit(make_client: Any) -> Iterator[Callable[..., Future[Any]]]:
    """Calls in threads; whoever still waits when the test is over is woken by `make_client`."""
    pool = ThreadPoolExecutor(8)
    yield pool.submit
    pool.shutdown(wait=False)


def made_by(node: NodeProcess, job_id: bytes) -> bool:
    return job_id[2:10] == node.ask("CLUSTER", "MYID")[:8]


# Nodes that are down


def test_the_first_node_is_down_at_the_start(nodes, make_client, queue):
    """A client starts on the next node, be it by connect or by its first command."""
    first, second = nodes
    first.kill()
    client = make_client(*nodes)
    client.connect()
    assert client.connected_node.port == second.port
    job_id = make_client(*nodes).add_job(queue, "body")
    assert second.jobs(queue) == [job_id]


def test_every_node_is_down(nodes, make_client, queue):
    """When none answers until the deadline, the error names every node that was tried."""
    for node in nodes:
        node.kill()
    client = make_client(*nodes, deadline=0.2)
    for attempt in (client.connect, lambda: client.add_job(queue, "body")):
        with pytest.raises(redis.exceptions.ConnectionError) as raised:
            attempt()
        assert all(node.address in str(raised.value) for node in nodes)


def test_killed_between_two_commands(nodes, client, queue):
    """The command after the loss of a node is carried out by the next, once."""
    first, second = nodes
    client.add_job(queue, "on the first")
    first.kill()
    job_id = client.add_job(queue, "on the second")
    assert second.jobs(queue) == [job_id]
    assert [job.id for job in client.get_job([queue])] == [job_id]
    assert client.ack_job(job_id) == 1
    assert second.jobs(queue) == []


@pytest.mark.parametrize("timeout", [None, 60_000])
def test_killed_while_a_consumer_waits(nodes, client, queue, submit, timeout):
    """A waiting consumer goes on waiting on the next node, and gets the job that comes there."""
    first, second = nodes
    job = submit(client.get_job, [queue], timeout=timeout)
    until(lambda: first.blocked(queue))
    first.kill()
    until(lambda: second.blocked(queue))
    job_id = second.ask("ADDJOB", queue, "body", 0)
    assert job.result(10) == [(queue.encode(), job_id, b"body")]


def test_the_time_of_a_wait_is_not_begun_anew(nodes, client, queue, submit):
    """A consumer that lost its node waits for the rest of its timeout only."""
    first, _ = nodes
    started = time.monotonic()
    job = submit(client.get_job, [queue], timeout=1500)
    until(lambda: first.blocked(queue))
    time.sleep(1)
    first.kill()
    assert job.result(10) == []
    assert 1.4 < time.monotonic() - started < 2.4


def test_all_down_then_back(nodes, client, queue, submit):
    """A command that finds no node at all succeeds when one comes back in time, once."""
    _, second = nodes
    for node in nodes:
        node.kill()
    added = submit(client.add_job, queue, "body")
    until(lambda: client.connected_node is None)
    second.start()
    job_id = added.result(20)
    assert second.jobs(queue) == [job_id]


def test_a_consumer_survives_the_restart_of_its_only_node(nodes, make_client, queue, submit):
    """A consumer without timeout gets the first job after its node was killed and started."""
    node, _ = nodes
    job = submit(make_client(node, deadline=0.1).get_job, [queue])
    until(lambda: node.blocked(queue))
    node.kill()
    time.sleep(0.3)  # longer than the deadline, which is no limit for a wait that has begun
    node.start()
    until(lambda: node.blocked(queue))
    job_id = node.ask("ADDJOB", queue, "body", 0)
    assert [each.id for each in job.result(10)] == [job_id]


def test_the_only_node_was_restarted_between_two_commands(nodes, make_client, queue):
    """A connection that broke while nobody used it is replaced, and nothing was sent on it."""
    node, _ = nodes
    client = make_client(node)
    client.connect()
    node.kill()
    node.start()
    job_id = client.add_job(queue, "body")
    assert node.jobs(queue) == [job_id]


def test_a_node_that_came_back_is_used_again(nodes, client, queue):
    """A client that left a dead node returns to it when it is the one that answers."""
    first, second = nodes
    first.kill()
    assert made_by(second, client.add_job(queue, "body"))
    first.start()
    second.kill()
    job_id = client.add_job(queue, "body")
    assert first.jobs(queue) == [job_id]
    assert client.connected_node.port == first.port


def test_a_node_dies_while_jobs_are_added(nodes, client, queue, submit):
    """No add fails for the loss of a node; jobs not made by the dead one lie on the other, once."""
    first, second = nodes
    ids = [client.add_job(queue, "body") for _ in range(300)]
    submit(first.kill)
    while len(ids) < 1000 or client.connected_node.port == first.port:
        ids.append(client.add_job(queue, "body"))
    on_second = [job_id for job_id in ids if not job_id.startswith(ids[0][:10])]
    assert len(set(ids)) == len(ids)
    assert all(made_by(second, job_id) for job_id in on_second)
    assert sorted(second.jobs(queue)) == sorted(on_second)


def test_a_node_dies_while_jobs_are_done(nodes, make_client, queue, submit):
    """Consumers that lose their node go on with the jobs of the next until all are done."""
    first, second = nodes
    bodies = {b"%d" % number for number in range(300)}
    for body in bodies:
        second.ask("ADDJOB", queue, body, 0, "RETRY", 300)
    clients = [make_client(*nodes) for _ in range(4)]
    waiting = [submit(client.get_job, [queue], 60_000) for client in clients]
    until(lambda: first.blocked(queue) == 4)
    first.kill()
    done = [job for each in waiting for job in each.result(20)]
    done += clients[0].get_job([queue], count=1000)
    assert {job.body for job in done} == bodies
    assert len(done) == len(bodies)
    assert clients[1].ack_job(*[job.id for job in done]) == len(bodies)


# Nodes that freeze


def test_a_frozen_node_at_the_start(nodes, make_client, queue):
    """A node that takes connections and never answers is given up after socket_timeout."""
    first, second = nodes
    first.signal(signal.SIGSTOP)
    job_id = make_client(*nodes, socket_timeout=0.2).add_job(queue, "body")
    assert second.jobs(queue) == [job_id]


def test_a_node_that_freezes_while_a_consumer_waits(nodes, make_client, queue, submit):
    """A wait is given its own timeout and two seconds, then the client turns to the next node."""
    first, second = nodes
    job_id = second.ask("ADDJOB", queue, "body", 0)
    job = submit(make_client(*nodes, socket_timeout=0.1).get_job, [queue], timeout=300)
    until(lambda: first.blocked(queue))
    first.signal(signal.SIGSTOP)
    assert [each.id for each in job.result(10)] == [job_id]


def test_a_node_that_freezes_while_a_consumer_waits_for_ever(nodes, make_client, queue, submit):
    """However long the wait, a node has to answer within a few seconds, or another one is used."""
    first, second = nodes
    job_id = second.ask("ADDJOB", queue, "body", 0)
    job = submit(make_client(*nodes, socket_timeout=0.1).get_job, [queue])
    until(lambda: first.blocked(queue))
    first.signal(signal.SIGSTOP)
    assert [each.id for each in job.result(SLICE + SLACK + 10)] == [job_id]


def test_a_long_wait_is_one_for_the_caller(nodes, make_client, queue, submit):
    """A wait goes on after each slice of it, in the same place, until there is a job."""
    first, _ = nodes
    job = submit(make_client(first).get_job, [queue])
    until(lambda: first.blocked(queue) == 1)
    with pytest.raises(TimeoutError):
        job.result(SLICE + 1)
    until(lambda: first.blocked(queue) == 1)
    job_id = first.ask("ADDJOB", queue, "body", 0)
    assert [each.id for each in job.result(2)] == [job_id]


def test_a_silent_node_gets_a_job_once(nodes, make_client, queue):
    """A job that is not answered goes to the next node, and never again to the silent one."""
    _, second = nodes
    with FakeNode(ADDJOB=SILENCE) as silent:
        job_id = make_client(silent, second, socket_timeout=0.2).add_job(queue, "body", timeout=1)
        assert silent.count("ADDJOB") == 1
    assert second.jobs(queue) == [job_id]


@pytest.mark.parametrize("timeout", [None, 60_000])
def test_a_long_wait_outlives_the_socket_timeout(make_client, queue, submit, timeout):
    """The socket's timeout is for nodes that do not answer, not for queues without jobs."""
    with FakeNode(GETJOB=SILENCE) as node:
        submit(make_client(node, socket_timeout=0.1).get_job, [queue], timeout)
        node.wait_for("GETJOB")
        time.sleep(0.4)
        assert (node.connections, node.count("GETJOB")) == (1, 1)


# Nodes that hang up


def test_a_job_is_resent_once_to_each_node(nodes, make_client, queue):
    """Nodes that hang up after an ADDJOB got it once each, and the node after them holds one."""
    with FakeNode(ADDJOB=HANG_UP) as one, FakeNode(ADDJOB=HANG_UP) as two:
        job_id = make_client(one, two, nodes[0]).add_job(queue, "body")
        assert (one.count("ADDJOB"), two.count("ADDJOB")) == (1, 1)
    assert nodes[0].jobs(queue) == [job_id]


def test_a_job_no_node_answers(make_client, queue):
    """When every node hung up on an ADDJOB it fails, and is not tried again anywhere."""
    with FakeNode(ADDJOB=HANG_UP) as one, FakeNode(ADDJOB=HANG_UP) as two:
        with pytest.raises(redis.exceptions.ConnectionError, match="may have been carried out"):
            make_client(one, two).add_job(queue, "body")
        assert (one.count("ADDJOB"), two.count("ADDJOB")) == (1, 1)


def test_a_job_is_not_resent_against_the_users_will(nodes, make_client, queue):
    """With resend_add=False an ADDJOB that may have arrived raises instead of arriving twice."""
    with FakeNode(ADDJOB=HANG_UP) as one:
        client = make_client(one, nodes[0], resend_add=False)
        with pytest.raises(ConnectionLostError) as raised:
            client.add_job(queue, "body")
        assert raised.value.sent
        assert one.count("ADDJOB") == 1
        assert nodes[0].jobs(queue) == []


def test_without_resending_a_dead_node_is_passed_over(nodes, make_client, queue):
    """resend_add=False is about jobs that may have arrived; one that was never sent moves on."""
    first, second = nodes
    first.kill()
    job_id = make_client(*nodes, resend_add=False).add_job(queue, "body")
    assert second.jobs(queue) == [job_id]


def test_many_jobs_at_once_are_resent_once_each(nodes, make_client, queue):
    """Of jobs sent together only those without an answer go to the next node."""
    answers = iter([None, None, HANG_UP])
    with FakeNode(ADDJOB=lambda *_: next(answers)) as fickle:
        ids = make_client(fickle, nodes[0]).add_jobs(queue, [str(n) for n in range(5)])
        assert [job_id[2:10] == fickle.id[:8].encode() for job_id in ids] == [
            True,
            True,
            False,
            False,
            False,
        ]
    assert sorted(nodes[0].jobs(queue)) == sorted(ids[2:])


def test_what_may_arrive_twice_is_resent(nodes, make_client, queue):
    """Acknowledgements and reads that lost their node are carried out by the next."""
    job_id = nodes[0].ask("ADDJOB", queue, "body", 0)
    for call, words, result in [
        ("qlen", (queue,), 1),
        ("working", (job_id,), 300),
        ("enqueue", (job_id,), 1),
        ("dequeue", (job_id,), 1),
        ("nack_job", (job_id,), 1),
        ("ack_job", (job_id,), 1),
    ]:
        name = {"nack_job": "NACK", "ack_job": "ACKJOB"}.get(call, call.upper())
        with FakeNode(**{name: HANG_UP}) as one:
            assert getattr(make_client(one, nodes[0]), call)(*words) == result
            assert one.count(name) == 1


def test_a_foreign_command_is_never_resent(nodes, make_client):
    """Nobody knows what an unknown command does twice, so its loss is the caller's to know."""
    with FakeNode(CONFIG=HANG_UP) as one:
        with pytest.raises(ConnectionLostError):
            make_client(one, nodes[0]).execute_command("CONFIG", "GET", "port")
        assert one.count("CONFIG") == 1


def test_an_error_is_an_answer(nodes, make_client, queue):
    """A job that a node refuses is offered to no other."""
    with FakeNode(ADDJOB=PAUSED) as one:
        with pytest.raises(PausedError):
            make_client(one, nodes[0]).add_job(queue, "body")
        assert one.count("ADDJOB") == 1
        assert nodes[0].jobs(queue) == []


# Nodes that leave


@pytest.fixture
def leave(nodes: Nodes) -> Iterator[Callable[[NodeProcess], None]]:
    """Makes a node leave its cluster; all have joined again after the test."""
    yield lambda node: node.ask("CLUSTER", "LEAVING", "yes")
    for node in nodes:
        node.start()
        node.ask("CLUSTER", "LEAVING", "no")


def test_a_leaving_node_sends_its_clients_away(nodes, client, queue, submit, leave):
    """A waiting consumer whose node leaves goes on waiting on the next, and so do new ones."""
    first, second = nodes
    waiting = submit(client.get_job, [queue])
    until(lambda: first.blocked(queue))
    leave(first)
    until(lambda: second.blocked(queue))
    job_id = second.ask("ADDJOB", queue, "body", 0)
    assert [job.id for job in waiting.result(10)] == [job_id]
    assert client.connected_node.port == second.port


def test_all_nodes_leave(nodes, client, queue, leave):
    """When every node is leaving there is nothing to wait for: their own answer is raised."""
    for node in nodes:
        leave(node)
    started = time.monotonic()
    with pytest.raises(LeavingError):
        client.get_job([queue], timeout=60_000)
    assert time.monotonic() - started < 5


def test_a_node_that_stays_after_all_is_used_again(nodes, client, queue, leave):
    """A node that no longer leaves serves when the other one is gone."""
    first, second = nodes
    leave(first)
    assert client.get_job([queue], timeout=1) == []
    assert client.connected_node.port == second.port
    first.ask("CLUSTER", "LEAVING", "no")
    second.kill()
    job_id = client.add_job(queue, "body")
    assert first.jobs(queue) == [job_id]


# Ctrl-C

WAITING = """
import signal, sys
from pydisque.client import Client

signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests ignores
queue, *nodes = sys.argv[1:]
client = Client(nodes, deadline=60, backoff=(30, 30))
try:
    print("waiting", flush=True)
    client.get_job([queue])
except KeyboardInterrupt:
    print("interrupted", flush=True)
    if len(nodes) == 1:
        print(client.qlen(queue), client.ping())
"""


def interrupted(nodes: list[str], queue: str, ready: Callable[[], Any]) -> str:
    """What a program says that waits for a job and is interrupted when it is ready."""
    command = [sys.executable, "-c", WAITING, queue, *nodes]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout.readline() == "waiting\n"
            ready()
            program.send_signal(signal.SIGINT)
            started = time.monotonic()
            assert program.stdout.readline() == "interrupted\n"
            assert time.monotonic() - started < 1
            assert program.wait(10) == 0
            return program.stdout.read()
        finally:
            program.kill()


def test_ctrl_c_ends_a_wait(nodes, queue):
    """Ctrl-C ends a wait at once, the node forgets it, and the client can go on."""
    node, _ = nodes
    said = interrupted([node.address], queue, lambda: until(lambda: node.blocked(queue)))
    assert said == "0 True\n"
    until(lambda: node.blocked(queue) == 0)


def test_ctrl_c_ends_the_search_for_a_node(nodes, queue):
    """Ctrl-C ends the pause between two tries as well."""
    for node in nodes:
        node.kill()
    interrupted([node.address for node in nodes], queue, lambda: time.sleep(0.5))
