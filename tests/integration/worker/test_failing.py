"""An executor that fails ends its worker, which says so; its jobs go to others."""

from __future__ import annotations

import asyncio
import ctypes
import http.client
import json
import logging
import threading
import time

import pytest

from pydisque.client import Client
from pydisque.node import Server
from pydisque.worker import Backoff, Hook, Retry, Worker
from pydisque.worker.executors import processes
from pydisque.worker.executors.base import ExecutorError
from support.servers import until

from . import handlers


def break_threads(worker: Worker) -> None:
    """End an idle thread of the executor, which no job does, by an exception from outside."""
    # The newest one: threads of earlier tests may still run.
    thread = [t for t in threading.enumerate() if t.name.startswith("pydisque-job-1")][-1]
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
    )


def break_loop(worker: Worker) -> None:
    """Make the loop end by a bug in what begins jobs."""
    executor = worker._core._executor  # type: ignore[union-attr]
    executor._context = None


def break_processes(worker: Worker) -> None:
    """Let no process be started again, and end those that there are."""

    def fail(*args):
        raise BlockingIOError("no more processes")

    processes._FRESH.Process = fail  # type: ignore[method-assign]
    worker._core._executor._kill_all()  # type: ignore[union-attr]
    worker._core._executor._cutting = False  # type: ignore[union-attr]


BREAKS = {"threads": break_threads, "asyncio": break_loop, "processes": break_processes}


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        yield client


def health(worker: Worker) -> tuple[int, dict]:
    connection = http.client.HTTPConnection(worker.http_address, timeout=10)
    connection.request("GET", "/health")
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


@pytest.mark.parametrize("executor", BREAKS)
def test_an_executor_that_fails_ends_its_worker(
    server, client, notes, caplog, executor, monkeypatch
):
    """It is logged, /health fails and tells why, join raises, and jobs are delivered to others."""
    monkeypatch.setattr(processes._FRESH, "Process", processes._FRESH.Process, raising=False)
    worker = Worker(server.address, executor=executor, concurrency=2, http=":0", prefetch=0)
    worker.handler("q")(handlers.awaited if executor == "asyncio" else handlers.plain)
    worker.start()
    slow = client.add_job("q", "sleep 60", retry=3600)
    until(lambda: notes.begun(slow))
    assert health(worker)[0] == 200
    BREAKS[executor](worker)
    next_one = client.add_job("q", "sleep 60", retry=3600)
    until(lambda: health(worker)[0] == 503, 20)
    status, told = health(worker)
    assert (status, told["status"]) == (503, "failed")
    assert told["reason"].startswith("the executor failed: ")
    with pytest.raises(ExecutorError, match="the executor failed"):
        worker.join(20)
    assert worker.http_address is None
    assert "the executor failed" in caplog.text
    assert client.show(slow).nacks == 1
    assert client.show(next_one).state in (b"queued", b"active")


def test_a_worker_that_failed_starts_again(server, client, notes):
    """Once it was joined it can be started, and is well."""
    worker = Worker(server.address, concurrency=2, http=":0")
    worker.handler("q")(handlers.plain)
    worker.start()
    until(lambda: worker.tally.last_fetch is not None)
    break_threads(worker)
    client.add_jobs("q", ["1", "2", "3"], retry=1)
    until(lambda: worker.tally.failure is not None, 20)
    with pytest.raises(ExecutorError):
        worker.join(20)
    with worker:
        id_ = client.add_job("q", "again")
        until(lambda: client.show(id_) is None)
        assert health(worker)[0] == 200
        assert worker.tally.failure is None


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, ValueError, KeyboardInterrupt])
def test_a_hook_that_fails_at_the_start(server, error):
    """The worker does not start, whoever starts it is told, and nothing is left open."""

    class Fails(Hook):
        def start(self, worker):
            raise error("no")

    worker = Worker(server.address, http=":0", hooks=[Fails()])
    worker.handler("q")(print)
    expected = RuntimeError if error in (SystemExit, GeneratorExit) else error
    with pytest.raises(expected, match="no"):
        worker.start()
    assert worker.http_address is None
    worker.hooks.pop(1)
    with worker:
        assert health(worker)[0] == 200


def test_tasks_that_a_handler_cancels(server, client):
    """A handler that cancels all tasks of its loop, also those not begun, fails jobs, not slots."""
    worker = Worker(server.address, concurrency=3, prefetch=0)
    begun = []

    async def cancel_all(job):
        begun.append(job.id)
        if job.body == b"cancel":
            for task in asyncio.all_tasks():
                task.cancel()
        await asyncio.sleep(0)

    worker.handler("q", max_attempts=1)(cancel_all)
    client.add_jobs("q", ["cancel"] * 9 + ["other"] * 9)
    with worker:
        until(lambda: worker.tally.dead[b"q"] + worker.tally.done[b"q"] == 18)
        client.add_jobs("q", ["last"] * 3)
        until(lambda: worker.tally.dead[b"q"] + worker.tally.done[b"q"] == 21)
        assert worker.tally.in_hand == 0


@pytest.mark.parametrize("executor", ["threads", "asyncio"])
def test_a_backoff_of_an_app_that_fails(server, client, notes, executor, caplog):
    """Retry(inf) and a backoff that exits are failures as others are; the worker goes on."""

    class Exits(Backoff):
        def pause(self, failures, jitter):
            raise SystemExit

    def ask(job):
        if job.body == b"inf":
            raise Retry(in_seconds=float("inf"))
        if job.body == b"fail":
            raise ValueError

    worker = Worker(server.address, executor=executor, concurrency=1)
    worker.handler("q", backoff=Exits())(ask)
    client.add_jobs("q", ["inf", "fail"], ttl=60)
    with worker:
        until(lambda: worker.tally.dead[b"q"] == 1)
        until(lambda: worker.tally.retried[b"q"] >= 1)
        client.add_job("q", "")
        until(lambda: worker.tally.done[b"q"] == 1)
        assert worker.tally.failure is None
    assert "its backoff failed" in caplog.text


def test_a_loop_that_stands_still_is_not_well(server):
    """A worker whose own loop has not run for a while is not well, whatever else it says."""
    worker = Worker(server.address, http=":0")
    worker.handler("q")(print)
    with worker:
        until(lambda: health(worker)[0] == 200)
        released = threading.Event()
        worker._loop.call_soon_threadsafe(released.wait, 30)
        time.sleep(0.1)
        worker.tally.last_beat -= 15
        status, told = health(worker)
        assert (status, told["status"]) == (503, "stalled")
        assert "has not run for 15 s" in told["reason"]
        released.set()
        until(lambda: health(worker)[0] == 200)


def test_a_failure_of_the_worker_itself_is_logged(server, caplog):
    """A bug in the worker's own loop ends it, is logged, and fails the health check."""
    worker = Worker(server.address, http=":0")
    worker.handler("q")(print)
    worker.start()
    until(lambda: worker.tally.last_fetch is not None)

    def exits(*args):
        raise SystemExit(0)

    worker._loop.call_soon_threadsafe(exits)
    until(lambda: health(worker)[1]["status"] == "failed")
    assert health(worker)[0] == 503
    with pytest.raises(RuntimeError, match="the worker failed: SystemExit"):
        worker.join(20)
    assert [r.levelno for r in caplog.records if "the worker failed" in r.message] == [
        logging.CRITICAL
    ]
