"""Processes of jobs, and those that jobs start: whom they belong to, and when they end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pydisque.client import Client
from pydisque.node import Server
from pydisque.testing import Clock, InlineWorker
from pydisque.worker import Worker
from support.servers import until

from . import children
from .conftest import Notes, letters

TESTS = Path(__file__).parents[2]


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        yield client


@pytest.fixture
def run(server, client, notes) -> Callable[..., list[str]]:
    """Runs one job in a worker, and a second one after it; what the first noted."""

    def run(
        body: str, executor: str = "processes", function=children.child, **options
    ) -> list[str]:
        worker = Worker(server.address, executor=executor, concurrency=1)
        worker.handler("q", max_attempts=1, **options)(function)
        with worker:
            id_ = client.add_job("q", body)
            last = client.add_job("q", "nothing")
            until(lambda: client.show(last) is None, 20)
        assert [note.word for note in notes.all() if note.id == last.decode()] == ["done"]
        return [note.word for note in notes.all() if note.id == id_.decode()]

    return run


def is_alive(pid: int) -> bool:
    """Whether it runs, and is no zombie that nobody has taken notice of."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGPIPE", "SIGHUP", "SIGQUIT"])
@pytest.mark.parametrize("word", ["signal", "terminate"])
def test_a_program_of_a_job_can_be_ended(run, word, name):
    """Signals have their usual effect in programs and forked children that a job starts."""
    if (word, name) in {("terminate", "SIGPIPE"), ("terminate", "SIGINT")}:
        pytest.skip("Python handles these itself")
    assert run(f"{word} {name}") == [str(-signal.Signals[name])]


def test_what_ignores_its_children_still_waits_for_those_of_jobs(run):
    """A worker whose parent ignored SIGCHLD, which is inherited, learns how children end."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert run("reap") == ["1"]
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_in_a_job(run, method):
    """A job may use multiprocessing's pool, and terminate it."""
    assert run(f"pool {method}") == ["1,2"]


def test_a_timeout_ends_children_too(run, client):
    """What a job has started is gone when its time was up."""
    [pid] = run("leave wait", timeout=1)
    [letter] = letters(client, "q:dead")
    assert letter.error == "TimeoutError: the job took longer than 1 s"
    until(lambda: not is_alive(int(pid)))


@pytest.mark.parametrize("how", ["segfault", ""])
def test_children_do_not_outlive_the_process(run, how):
    """What a job has left behind ends with its process: when that crashed, or the worker ends."""
    [pid] = run(f"leave {how}")
    until(lambda: not is_alive(int(pid)))


def test_a_crash_is_seen_though_a_child_lives(run, client, notes):
    """A child that has all open files of its process does not hide the end of that."""
    assert run("shell") == []
    [letter] = letters(client, "q:dead")
    assert "SIGSEGV" in letter.error
    [pid] = Path(f"{notes.path}.pids").read_text().split()
    until(lambda: not is_alive(int(pid)))


@pytest.mark.parametrize(
    ("how", "code"), [("exit", "3"), ("fail", "1"), ("return", "0"), ("thread", "0")]
)
@pytest.mark.parametrize("executor", ["processes", "threads", "asyncio", "coroutine"])
def test_a_forked_child_does_not_answer_for_the_job(run, client, executor, how, code):
    """However a forked child goes on, it ends there; the job's outcome is its own."""
    coroutine = executor == "coroutine"
    words = run(
        f"fork {how}",
        "asyncio" if coroutine else executor,
        children.forks if coroutine else children.child,
    )
    assert words == [code]
    assert client.qlen("q:dead") == 0


@pytest.mark.parametrize(("how", "code"), [("exit", "3"), ("fail", "1"), ("return", "0")])
def test_a_forked_child_in_a_test(notes, how, code):
    """The same for handlers that run in a test."""
    clock = Clock()
    with clock.server() as server, Client(server.address) as client:
        for function in (children.child, children.forks):
            with InlineWorker({"q": function}, client, clock) as inline:
                client.add_job("q", f"fork {how}")
                assert [end.outcome for end in inline.run()] == ["done"]
    assert [note.word for note in notes.all()] == [code, code]


def test_a_service_manager_ends_no_job(run):
    """SIGTERM and SIGINT, which some send to every process of a service, do not end a job."""
    assert run("term") == ["went-on"]


# Without a worker that could end them

PROGRAM = """
import sys, time
from pydisque.worker import Worker
from integration.worker.children import child

if __name__ == "__main__":
    worker = Worker(sys.argv[1], executor="processes", concurrency=3)
    worker.handler("q")(child)
    worker.start()
    print("works", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def program(tmp_path: Path, server, notes: Notes):
    """A program that has a worker in the background, and ends when standard input does."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    python_path = os.pathsep.join([str(TESTS), str(TESTS / "integration")])
    process = subprocess.Popen(
        [sys.executable, str(path), server.address],
        env={**os.environ, "PYTHONPATH": python_path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout.readline() == "works\n"
        yield process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["kill", "end"])
def test_nothing_outlives_the_program(program, client, notes, how):
    """Killed, or at its end without a stop, a program leaves no process of jobs behind."""
    id_ = client.add_job("q", "leave wait")
    until(lambda: notes.words(id_), 20)
    [note] = notes.all()
    workers_own = {pid for pid in map(int, pids()) if parent_of(pid) == program.pid}
    assert note.process in workers_own
    assert is_alive(int(note.word))
    if how == "kill":
        program.kill()
    else:
        program.stdin.close()
    program.wait(10)
    until(lambda: not any(map(is_alive, [*workers_own, int(note.word)])), 10)


def pids() -> list[str]:
    return [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]


def parent_of(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0
