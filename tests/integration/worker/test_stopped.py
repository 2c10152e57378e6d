"""A worker whose process was stopped for a while, by SIGSTOP or with its machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.chaos.worker_app import CONFIG
from harness.chaos.worker_history import Story, Task
from pydisque.client import Client
from support.servers import NodeProcess, until

TESTS = Path(__file__).parent.parent.parent


@contextmanager
def worker(address: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker in a process of its own."""
    settings = {
        "nodes": [address], "log": str(log), "executor": "threads", "concurrency": 1, "grace": 5,
        "deliveries": 5,
    }  # fmt: skip
    environment = {**os.environ, CONFIG: json.dumps(settings), "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(
        [sys.executable, "-m", "harness.chaos.worker_app"], env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_job_that_came_while_it_was_stopped_and_was_given_away(tmp_path):
    """Woken up, a worker does not begin what was delivered long ago and is done elsewhere."""
    log = tmp_path / "log"
    log.touch()

    def begun() -> list[int]:
        story = Story("threads", 5)
        story.read(log.read_text().splitlines())
        return [run.worker for runs in story.runs.values() for run in runs]

    with (
        NodeProcess() as node,
        Client(node.address) as client,
        worker(node.address, log) as sleeper,
    ):
        until(lambda: node.blocked("work") == 1, 20)
        sleeper.send_signal(signal.SIGSTOP)
        id_ = client.add_job("work", Task("asleep").body(), retry=1)
        assert client.show(id_).state == b"active"  # it is on its way to the sleeper
        with worker(node.address, log) as other:
            until(lambda: begun() == [other.pid], 20)
            until(lambda: client.show(id_) is None)
            sleeper.send_signal(signal.SIGCONT)
            later = client.add_job("work", Task("later").body(), retry=60)
            until(lambda: client.show(later) is None)
            time.sleep(0.5)  # nothing tells that it lets it be
    assert len(begun()) == 2


def test_a_job_that_came_while_it_was_stopped_and_is_still_its_own(tmp_path):
    """Woken up in time, or when nobody else took the job, it begins it."""
    log = tmp_path / "log"
    log.touch()
    with (
        NodeProcess() as node,
        Client(node.address) as client,
        worker(node.address, log) as sleeper,
    ):
        until(lambda: node.blocked("work") == 1, 20)
        sleeper.send_signal(signal.SIGSTOP)
        id_ = client.add_job("work", Task("asleep").body(), retry=60)
        time.sleep(1.5)
        sleeper.send_signal(signal.SIGCONT)
        until(lambda: client.show(id_) is None, 10)
    assert log.read_text().count("B ") == 1


@pytest.mark.parametrize("server", ["memory"], indirect=True)
def test_a_job_given_to_another_meanwhile_is_not_renewed(make_worker, sync_client, queue, notes):
    """Woken up before its first renewal, a worker lets go of what is another's by now."""
    worker = make_worker(concurrency=1)
    id_ = sync_client.add_job(queue, "until-lost", retry=2)
    until(lambda: notes.begun(id_))
    worker._loop.call_soon_threadsafe(time.sleep, 3)  # as if the process were stopped
    [job] = sync_client.get_jobs([queue], timeout=10000)
    assert (job.id, job.additional_deliveries) == (id_, 1)
    until(lambda: "lost" in notes.words(id_), 10)
    sync_client.ack_job(id_)
