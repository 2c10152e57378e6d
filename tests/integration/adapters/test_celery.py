"""Celery runs on Disque: real workers of it, and what becomes of their tasks."""

from __future__ import annotations

import importlib
import sys
import time
from collections import Counter

import pytest
from celery import Celery
from kombu import Exchange, Queue, pools
from kombu.exceptions import OperationalError

from pydisque import PausedError, dead_letters
from support.servers import until

from .conftest import HERE


@pytest.fixture
def program(disque_server, notes, monkeypatch):
    """The module with the tasks, for producers, on a node of its own."""
    monkeypatch.setenv("BROKER_URL", f"disque://{disque_server.address}/")
    monkeypatch.setenv("NOTES", str(notes))
    monkeypatch.syspath_prepend(HERE)
    module = importlib.import_module("celery_app")
    yield module
    pools.reset()  # closes connections, which else the garbage collector finds open
    module.app.close()
    del sys.modules["celery_app"]


@pytest.fixture
def work(start):
    """Starts a worker."""

    def begin(*options, **environment):
        quiet = ("--without-heartbeat", "-l", "INFO")
        return start("-m", "celery", "-A", "celery_app", "worker", *quiet, *options, **environment)

    return begin


def in_hand(client):
    """The queues of all jobs that are there and no announcement."""
    jobs = client.iter_jobs(reply="all")
    return [job.queue for job in jobs if not job.queue.startswith(b"_kombu")]


def commands_of(client):
    return client.info()["total_commands_processed"]


def test_no_task_is_lost_with_a_worker(program, work, noted, disque_client):
    """A thousand tasks all run though a worker is killed amid them; few run twice."""
    for number in range(1000):
        program.count.delay(number)
    first = work("-c", "2")
    noted(300)
    first.kill()
    second = work("-c", "2")
    until(lambda: len(set(noted(1))) == 1000, 20)
    runs = Counter(noted(1000))
    assert max(runs.values()) <= 2
    assert runs.total() <= 1000 + 8 + 2  # what the dead one had prefetched, and was at
    until(lambda: not in_hand(disque_client))
    assert second.terminate() == 0


def test_the_server_keeps_what_is_not_due(program, work, noted, disque_client):
    """A task with a countdown is with the node until then; a retry is one too."""
    worker = work("-c", "1", "--pool", "solo")
    begun = time.time()
    program.timed.apply_async(countdown=2)
    program.flaky.delay()
    until(lambda: worker.says("ready") and disque_client.qlen("celery") == 0)
    [line] = noted(1, "timed")
    assert 2 <= float(line.split()[1]) - begun < 4
    assert noted(3, "flaky") == ["flaky 0", "flaky 1", "flaky 2"]
    until(lambda: not in_hand(disque_client))


def test_what_a_worker_has_is_its_own(program, work, noted, disque_client):
    """A task longer than its lease runs once; what waits behind it goes back at the end."""
    worker = work("-c", "1", "--pool", "solo")
    program.slow.delay(4.2)  # with leases of 2 s
    noted(1, "begins")
    for number in range(5):
        program.count.delay(number)
    until(lambda: disque_client.qlen("celery") == 2)  # of four it may have, one runs
    time.sleep(2.2)
    assert disque_client.qlen("celery") == 2
    assert worker.terminate() == 0
    assert noted(1) == ["begins 4.2", "ends 4.2"]
    assert disque_client.qlen("celery") == 5


def test_a_worker_can_be_talked_to(program, work, noted, disque_client):
    """Remote control, priorities, pauses and what no worker knows."""
    for priority in (0, 3, 9, 0, 3, 9):
        program.count.apply_async((priority,), queue="ranked", priority=priority)
    program.app.send_task("no.such.task")
    work("-c", "1", "--pool", "solo", PREFETCH="1")
    assert noted(6) == [f"count {priority}" for priority in (9, 9, 3, 3, 0, 0)]
    until(lambda: disque_client.qlen("celery:dead") == 1)
    assert [list(reply.values()) for reply in program.app.control.ping()] == [[{"ok": "pong"}]]
    before = commands_of(disque_client)
    time.sleep(1)
    assert commands_of(disque_client) - before < 5
    disque_client.pause("celery", kw_out=True)
    program.count.delay(7)
    time.sleep(0.2)
    assert disque_client.qlen("celery") == 1
    disque_client.pause("celery", kw_none=True)
    noted(7)
    [letter] = disque_client.qpeek("celery:dead", 2)
    assert b"no.such.task" in letter.body


def test_a_pause_is_outlasted_by_what_tasks_send(program, work, noted, disque_client):
    """A task that retries itself, and the next one of a chain, run when the queue is resumed."""
    work("-c", "2", "--pool", "threads")
    (program.step.si(1) | program.step.si(2)).delay()
    program.again.delay()
    noted(1, "again")
    noted(1, "begins")
    disque_client.pause("celery", kw_in=True, kw_out=True)
    noted(1, "step")
    with pytest.raises(PausedError):
        program.count.delay(1)  # who is no task is told
    time.sleep(0.5)
    disque_client.pause("celery", kw_none=True)
    assert noted(2, "again") == ["again 0", "again 1"]
    assert noted(2, "step") == ["step 1", "step 2"]
    until(lambda: not in_hand(disque_client))


def test_a_long_pause_makes_dead_letters(program, work, noted, disque_client):
    """What tasks were to send can be put back when it is over; it is not sent by half."""
    worker = work("-c", "2", "--pool", "prefork", PATIENCE="0.5")
    (program.step.si(1) | program.step.si(2)).delay()
    program.again.delay()
    noted(1, "again")
    noted(1, "begins")
    disque_client.pause("celery", kw_in=True, kw_out=True)
    noted(1, "sent")
    until(lambda: disque_client.qlen("celery:dead") == 2)
    assert worker.says("paused in input")
    disque_client.pause("celery", kw_none=True)
    letters = dead_letters.peek(disque_client, "celery:dead", 5)
    dead_letters.replay(disque_client, letters)
    assert noted(2, "again") == ["again 0", "again 1"]
    assert noted(2, "step") == ["step 1", "step 2"]
    until(lambda: not in_hand(disque_client))


def test_a_time_limit_loses_nothing_that_a_task_was_to_send(program, work, noted, disque_client):
    """It ends the wait for a paused queue, and what was to be sent is a dead letter."""
    work("-c", "1", "--pool", "prefork")
    program.again.apply_async(soft_time_limit=1)
    noted(1, "again")
    disque_client.pause("celery", kw_in=True)
    noted(1, "sent")
    [filed] = dead_letters.peek(disque_client, "celery:dead", 2)
    assert filed.letter.queue == "celery"
    disque_client.pause("celery", kw_none=True)
    dead_letters.replay(disque_client, [filed])
    assert noted(2, "again") == ["again 0", "again 1"]


def test_a_worker_outlives_its_node(program, work, noted, node, monkeypatch):
    """A node that was away is found again, by workers and producers, and nothing is run twice."""
    address = f"disque://{node.address}/"
    monkeypatch.setattr(program.app.conf, "broker_url", address)
    worker = work("-c", "2", "--pool", "threads", BROKER_URL=address)
    program.count.delay(1)
    noted(1)
    node.kill()
    node.start()
    program.count.delay(2)
    assert noted(2) == ["count 1", "count 2"]
    assert worker.terminate() == 0


def test_messages_to_an_exchange_run_before_a_worker_was_there(program, work, noted):
    """A producer sends by the bindings of its own configuration, direct and topic."""
    program.count.apply_async((1,), exchange="dir", routing_key="k")
    program.count.apply_async((2,), exchange="top", routing_key="log.a.b")
    program.app.conf.task_routes = {"celery_app.timed": {"exchange": "dir", "routing_key": "k"}}
    program.timed.delay()
    work("-c", "1", "--pool", "solo")
    assert {"count 1", "count 2"} <= set(noted(2, "count"))
    noted(1, "timed")


def test_a_task_that_no_queue_gets_is_refused(program):
    """Celery's own error names the exchange and the routing key."""
    with pytest.raises(OperationalError, match="'dir' by routing key 'other'"):
        program.count.apply_async((1,), exchange="dir", routing_key="other")
    with pytest.raises(OperationalError, match="'nowhere'"):
        program.count.apply_async((1,), exchange="nowhere", routing_key="k")


def test_a_task_is_refused_whatever_its_delivery_mode(program):
    """Programs set task_default_delivery_mode for the speed of another broker."""
    program.app.conf.task_default_delivery_mode = "transient"
    with pytest.raises(OperationalError, match="NO_ROUTE"):
        program.count.apply_async((1,), exchange="dir", routing_key="other", delivery_mode=1)


def test_a_broadcast_reaches_all_workers_or_is_refused(program, work, noted, caplog):
    """One to an exchange that is not durable may be dropped, which the log says."""
    with pytest.raises(OperationalError, match="'orders'"):
        program.count.apply_async((1,), queue="orders")
    with caplog.at_level("INFO", "pydisque.adapters.kombu"):
        for _ in range(2):
            program.count.apply_async((2,), queue="news")
    assert len([text for text in caplog.messages if "'news'" in text]) == 1
    workers = [work("-c", "1", "--pool", "solo", "-n", name) for name in ("a@x", "b@x")]
    until(lambda: all(worker.says("ready") for worker in workers))
    program.count.apply_async((3,), queue="orders")
    program.count.apply_async((4,), queue="news")
    assert sorted(noted(4)) == ["count 3", "count 3", "count 4", "count 4"]


def test_a_program_with_another_broker_declares_nothing_here(program, disque_client):
    """The queues of each app are declared at its own broker."""
    other = Celery("other", broker="disque://127.0.0.1:1/", set_as_current=False)
    other.conf.task_queues = [Queue("stranger", Exchange("dir", "direct"), routing_key="k")]
    program.count.apply_async((1,), exchange="dir", routing_key="k")
    assert disque_client.qlen("bound") == 1
    assert disque_client.qlen("stranger") == 0
    other.close()


def test_a_task_that_is_requeued_without_end_becomes_a_dead_letter(
    program, work, noted, disque_client
):
    """After as many deliveries as delivery_limit says, without pauses; retries do not count."""
    work("-c", "1", "--pool", "solo")
    program.stubborn.delay()
    program.persistent.delay()
    noted(6, "persistent")
    until(lambda: disque_client.qlen("celery:dead") == 1)
    assert noted(1, "stubborn") == ["stubborn"] * 3
    [filed] = dead_letters.peek(disque_client, "celery:dead", 2)
    assert filed.letter.error == "requeued after each of 3 deliveries, where delivery_limit is 3"
    until(lambda: in_hand(disque_client) == [b"celery:dead"])


def test_a_task_that_kills_its_process_becomes_a_dead_letter(program, work, noted, disque_client):
    """Though it is to be rejected each time that a process of the pool is lost."""
    work("-c", "1", "--pool", "prefork")
    program.deadly.delay()
    until(lambda: disque_client.qlen("celery:dead") == 1, 30)
    assert noted(1, "deadly") == ["deadly"] * 3
    [filed] = dead_letters.peek(disque_client, "celery:dead", 2)
    assert "delivery_limit" in filed.letter.error


FORKS = """
import multiprocessing, os, sys
from celery_app import add, note
def get(name, number):
    note(name, add.delay(number, 1).get(timeout=10))
get("parent", 1)
if sys.argv[1] == "fork":
    if os.fork() == 0:
        get("child", 2)
        os._exit(0)
    os.wait()
else:
    child = multiprocessing.get_context("fork").Process(target=get, args=("child", 2))
    child.start()
    child.join()
get("parent", 3)
"""


@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_results_reach_a_forked_child(program, work, noted, start, how, pool):
    """Those of rpc://: the child has a queue of its own for them, and the parent keeps its."""
    work("-c", "1", "--pool", pool)
    start("-W", "ignore", "-c", FORKS, how)
    assert noted(3) == ["parent 2", "child 3", "parent 4"]
