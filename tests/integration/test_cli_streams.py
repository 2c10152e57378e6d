"""Standard input and output that are closed, full, or not buffered."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pydisque.client import Client
from support.cli import COMMAND
from support.servers import Deployment

pytestmark = pytest.mark.parametrize("server", ["memory"], indirect=True)

SMALL = 20_000
"""Bytes that a file may have."""

FULL = Path("/dev/full")


@pytest.fixture
def client(server: Deployment) -> Iterator[Client]:
    with Client(server.addresses) as client:
        yield client


def ran(server: Deployment, *words: str, closed: int | None = None, **options: Any) -> Any:
    """A command in a process of its own, with one of its standard streams closed."""

    def close() -> None:
        if closed is not None:
            os.close(closed)

    unbuffered = options.pop("unbuffered", False)
    environment = os.environ | {"DISQUE_NODES": ",".join(server.addresses)}
    return subprocess.run(
        [*COMMAND, *words],
        preexec_fn=options.pop("before", close),
        env=environment | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {}),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("form", ["--json", "--raw"])
def test_jobs_that_could_not_be_written_whole(server, client, queue, tmp_path, form, unbuffered):
    """They are put back and not acknowledged, also if Python writes without a buffer."""
    client.add_jobs(queue, [100 * "x"] * 1000)
    with (tmp_path / "out").open("wb") as out:
        words = ("get", queue, "--count", "1000", "--ack", form)
        done = ran(server, *words, stdout=out, before=small_files, unbuffered=unbuffered)
    assert (done.returncode, done.stderr) == (1, "Error: File too large\n")
    assert (tmp_path / "out").stat().st_size <= SMALL
    assert client.qlen(queue) == 1000


def test_a_reader_who_has_had_enough(server, client, queue):
    """Jobs of which only some were read are put back, also if Python writes without a buffer."""
    client.add_jobs(queue, [1000 * "x"] * 1000)
    words = [*COMMAND, "get", queue, "--count", "1000", "--ack", "--raw"]
    environment = {"DISQUE_NODES": ",".join(server.addresses), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, env=os.environ | environment, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        process.stdout.close()
    assert process.returncode == 1
    assert client.qlen(queue) == 1000


def test_what_is_printed_unbuffered_is_there_at_once(server):
    """A worker's jobs that print, without a line end too, are seen while they run."""
    code = "import sys; from pydisque.cli import streams; streams.settle(); "
    code += "print('x', end=''); sys.stdin.read()"
    words = [sys.executable, "-c", code]
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, env=environment, **pipes) as process:
        assert process.stdout.read(1) == b"x"
        process.communicate(b"\n", timeout=30)


def test_no_output(server, client, queue):
    """Without a standard output nothing is done, as nobody would hear of it."""
    client.add_job(queue, "body")
    done = ran(server, "get", queue, "--ack", closed=1)
    assert done.returncode == 1
    assert done.stderr == "Error: standard output is closed; > /dev/null throws it away\n"
    assert client.qlen(queue) == 1


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", ["get Q --ack", "queues", "add Q x", "jobs --json", "--help"])
def test_a_full_disk(server, client, queue, words):
    """That nothing could be written is told in one plain line."""
    client.add_job(queue, "body")
    with FULL.open("wb") as out:
        done = ran(server, *(queue if word == "Q" else word for word in words.split()), stdout=out)
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device\n")
    assert client.qlen(queue) == 1 + words.startswith("add")


@pytest.mark.parametrize("words",
    [
        ("add", "q"), ("add", "q", "-"), ("add", "q", "--file", "-"), ("ack", "-"), ("show", "-"),
        ("dead", "show", "-"), ("dead", "purge", "-", "--yes"), ("load", "/nowhere"),
        ("load", "/nowhere", "-"),
    ],
)  # fmt: skip
def test_no_input(server, words):
    """That there is nothing to read from is told with exit code 2."""
    done = ran(server, *words, closed=0)
    assert done.returncode == 2
    assert done.stderr.endswith(
        "\n\nError: standard input is closed; < /dev/null is an empty one\n"
    )


def test_a_file_that_cannot_be_read(server):
    """It is told which, and why."""
    done = ran(server, "add", "q", "--file", "/proc/self/mem")
    assert done.returncode == 1
    assert done.stderr == "Error: Could not open file '/proc/self/mem': Input/output error\n"
