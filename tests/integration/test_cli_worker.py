"""`pydisque worker` as its users meet it: real processes that work, end, are replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from pydisque.client import Client
from pydisque.node import Server
from support.servers import until

APP = """
import os, time
from pathlib import Path
from pydisque.worker import Worker

worker = Worker(grace=20)
nothing = {}


def note(job, word):
    with Path("notes").open("a") as file:
        file.write(f"{os.getpid()} {job.body.decode()} {word}\\n")


@worker.handler("emails")
def emails(job):
    note(job, "begun")
    if job.body == b"wait":
        while not Path("go").exists():
            time.sleep(0.01)
    note(job, "done")


@worker.handler("reports:2")
def reports(job):
    note(job, "report")
"""


class Working:
    """A `pydisque worker`, in the folder of an app."""

    def __init__(
        self, folder: Path, *args: str, new_session: bool = False, **environment: str
    ) -> None:
        self._folder = folder
        with Path(folder, "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pydisque", "worker", *args],
                cwd=folder,
                env=os.environ | environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=new_session,
            )

    def says(self) -> str:
        """The next line it says."""
        return self.process.stdout.readline()

    def log(self) -> str:
        return Path(self._folder, "log").read_text()

    def ends(self) -> int:
        """Its exit code."""
        return self.process.wait(30)


class App:
    """An app's folder, a node, and the workers started here; what still runs is ended."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self.folder = folder
        self.node = stack.enter_context(Server())
        self.client = stack.enter_context(Client(self.node.address))
        self.write("jobs.py", APP)

    def write(self, name: str, text: str) -> None:
        Path(self.folder, name).write_text(text)

    def start(self, *args: str, new_session: bool = False, **environment: str) -> Working:
        environment = {"DISQUE_NODES": self.node.address} | environment
        working = Working(self.folder, *args, new_session=new_session, **environment)
        self._stack.callback(self._end, working)
        return working

    def _end(self, working: Working) -> None:
        working.process.kill()
        working.process.communicate()
        for pid in self.pids():  # none is there any more, but for a test that failed
            if running(pid):
                os.kill(pid, signal.SIGKILL)

    def notes(self) -> list[tuple[int, str, str]]:
        """What the handlers wrote: which process, which job, what happened."""
        with suppress(FileNotFoundError):
            lines = [line.split() for line in Path(self.folder, "notes").read_text().splitlines()]
            return [(int(pid), body, word) for pid, body, word in lines]
        return []

    def pids(self) -> set[int]:
        return {pid for pid, _, _ in self.notes()}

    def begun(self, body: str) -> int:
        """Wait until this job runs; in which process."""
        wanted = (body, "begun")
        return until(lambda: next((n[0] for n in self.notes() if n[1:] == wanted), 0), 30)

    def works(self, body: str) -> int:
        """Add a job and wait until it is done; in which process."""
        self.client.add_job("emails", body)
        until(lambda: (body, "done") in {note[1:] for note in self.notes()}, 30)
        return self.begun(body)

    def left(self) -> int:
        return sum(1 for _ in self.client.iter_jobs())


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with ExitStack() as stack:
        yield App(stack, tmp_path)


def running(pid: int) -> bool:
    """Whether a process is there, and not only waits to be noticed."""
    said = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return bool(said) and not said.startswith("Z")


# One process


def test_it_works_and_ends(app):
    """It says what it does, does it, and a signal ends it with exit code 0."""
    working = app.start("jobs")
    assert working.says() == (
        f"working on emails, reports:2: 16 threads, nodes {app.node.address} (Ctrl-C stops)\n"
    )
    app.works("one")
    working.process.terminate()
    assert working.ends() == 0
    assert app.left() == 0


def test_a_signal_that_another_thread_gets(app):
    """It ends the worker all the same, though it interrupts nobody who waits for the end."""
    signalling = APP.replace("time.sleep(0.01)", "signal.pthread_kill(threading.get_ident(), 15)")
    app.write("jobs.py", f"import signal, threading\n{signalling}".replace("while not", "if not"))
    working = app.start("jobs")
    app.client.add_job("emails", "wait")
    assert working.ends() == 0
    assert app.left() == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_running_job_is_finished(app, signum):
    """What has begun is finished after the first signal, and nothing more is fetched."""
    working = app.start("jobs:worker")
    app.client.add_job("emails", "wait")
    app.begun("wait")
    working.process.send_signal(signum)
    until(lambda: app.client.qstat("emails").blocked == 0)
    app.client.add_job("emails", "later")
    app.write("go", "")
    assert working.ends() == 0
    assert [body for _, body, word in app.notes() if word == "done"] == ["wait"]
    assert app.client.qlen("emails") == 1


def test_jobs_cut_short(app):
    """With exit code 1 it tells that jobs were cut short, here by the end of their grace."""
    working = app.start("jobs", "--grace", "0")
    app.client.add_job("emails", "wait")
    app.begun("wait")
    working.process.terminate()
    assert working.ends() == 1
    assert app.client.qlen("emails") == 1


def test_a_second_signal(app):
    """It does not wait for the grace to be over."""
    working = app.start("jobs")
    app.client.add_job("emails", "wait")
    app.begun("wait")
    working.process.terminate()
    until(lambda: app.client.qstat("emails").blocked == 0)
    working.process.terminate()
    assert working.ends() == 1


def test_options_win_over_the_code(app):
    """What is given on the command line counts, what is not stays as the code says."""
    app.write("jobs.py", APP.replace("grace=20", 'nodes="127.0.0.1:1", strict=True'))
    app.write("more.py", "from jobs import worker as other\n")
    working = app.start(
        "more:other", "--nodes", app.node.address, "--concurrency", "3", "--executor", "processes",
        "--queues", "reports:2:5,emails",
    )  # fmt: skip
    assert working.says() == (
        f"working on reports:2, emails: 3 processes, nodes {app.node.address} (Ctrl-C stops)\n"
    )
    app.works("one")
    working.process.terminate()
    assert working.ends() == 0


def test_queues_that_are_left_to_others(app):
    """With --queues only these are worked on."""
    app.start("jobs", "--queues", "emails").says()
    app.client.add_job("reports:2", "left")
    app.works("one")
    assert app.client.qlen("reports:2") == 1


def test_the_log_as_json(app):
    """--log-json and --log-level say how it logs."""
    working = app.start("jobs", "--log-json", "--log-level", "debug")
    app.works("one")
    until(lambda: '"logger": "pydisque.worker"' in working.log())
    assert all(line.startswith("{") for line in working.log().splitlines())


# What goes wrong


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (["nowhere.jobs"], 3, "there is no module nowhere, from "),
        (["jobs:none"], 3, "module jobs has no none; its workers are: worker"),
        (["jobs:nothing"], 3, "jobs:nothing is of type dict, and no Worker"),
        (["jobs:Worker"], 3, "jobs:Worker is a class, and no Worker"),
        (["broken"], 3, "module broken cannot be imported: on purpose"),
        (["empty"], 3, "cannot work: a worker needs a handler"),
        (["jobs", "--nodes", "disque://:wrong@NODE"], 3, "cannot work: "),
        (["nowhere", "--processes", "2"], 3, "there is no module nowhere, from "),
        (["jobs.py"], 3, "there is no module jobs.py"),
        (["my/jobs.py"], 2, "'my/jobs.py' is not MODULE:ATTRIBUTE"),
        ([], 2, "Missing argument 'MODULE:ATTRIBUTE'"),
        (["jobs", "--queues", "emails,letters"], 2, "there is no handler for letters"),
        (["jobs", "--queues", "emails:0"], 2, "'emails:0' is not NAME or NAME:WEIGHT"),
        (["jobs", "--nodes", "a b"], 2, "'a b' is no node"),
        (["jobs", "--http", "9100"], 2, "'9100' is not HOST:PORT"),
        (["jobs", "--concurrency", "0"], 2, "--concurrency"),
        (["jobs", "--reload", "--processes", "2"], 2, "do not go together"),
    ],
)
def test_it_cannot_begin(app, args, code, told):
    """That is told in one plain line, with exit code 3, or 2 when the words are wrong."""
    app.write("broken.py", "raise ValueError('on purpose')")
    app.write("empty.py", "from pydisque.worker import Worker\nworker = Worker()")
    with Server(requirepass="right") as guarded:
        words = [word.replace("NODE", guarded.address) for word in args]
        working = app.start(*words)
        assert working.ends() == code
    last = working.log().splitlines()[-1]
    assert last.startswith("Error: ")
    assert told in last


def test_reload_needs_a_library(app):
    """Without watchfiles one plain line tells how to install it."""
    app.write("watchfiles.py", "raise ImportError")
    working = app.start("jobs", "--reload")
    assert working.ends() == 3
    assert (
        working.log() == "Error: --reload needs watchfiles: pip install 'pydisque[reload]>=1.0'\n"
    )


# Several processes


def children(working: Working) -> set[int]:
    said = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    pairs = [tuple(map(int, line.split())) for line in said.splitlines()]
    return {pid for pid, parent in pairs if parent == working.process.pid}


def test_several_processes(app):
    """They say so together, share the work, and end together with exit code 0."""
    working = app.start("jobs", "--processes", "2", "--concurrency", "1")
    assert working.says() == (
        "2 processes, each working on emails, reports:2: 1 thread, "
        f"nodes {app.node.address} (Ctrl-C stops)\n"
    )
    app.client.add_job("emails", "wait")
    first = app.begun("wait")
    second = app.works("one")
    assert {first, second} == children(working)
    working.process.terminate()
    app.write("go", "")
    assert working.ends() == 0
    assert not running(first)
    assert not running(second)
    assert app.left() == 0


def test_a_killed_process_is_replaced(app):
    """Another takes its place, the log says what ended it, and work goes on."""
    working = app.start("jobs", "--processes", "2")
    working.says()
    before = children(working)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(children(working) - before) == 1, 30)
    until(lambda: f"pid {victim}, was ended by SIGKILL; another begins in 0.5 s" in working.log())
    assert victim not in children(working)
    app.works("one")
    working.process.send_signal(signal.SIGINT)
    assert working.ends() == 0


def test_no_process_outlives_its_supervisor(app):
    """Killed without a word, it leaves none behind: they finish what runs, and end."""
    working = app.start("jobs", "--processes", "2")
    working.says()
    app.client.add_job("emails", "wait")
    pid = app.begun("wait")
    (other,) = children(working) - {pid}
    working.process.kill()
    until(lambda: not running(other), 30)
    assert running(pid)
    app.write("go", "")
    until(lambda: not running(pid), 30)
    assert app.left() == 0


def test_signals_to_all(app):
    """A terminal's Ctrl-C reaches all processes; it is still the first, and cuts nothing short."""
    working = app.start("jobs", "--processes", "2")
    working.says()
    app.client.add_job("emails", "wait")
    pid = app.begun("wait")
    for each in (*children(working), working.process.pid):
        os.kill(each, signal.SIGINT)
    until(lambda: app.client.qstat("emails").blocked == 0)
    assert running(pid)
    app.write("go", "")
    assert working.ends() == 0


def test_the_second_signal_to_several(app):
    """It is passed on, and the worst exit code is that of all."""
    working = app.start("jobs", "--processes", "2")
    working.says()
    app.client.add_job("emails", "wait")
    app.begun("wait")
    working.process.terminate()
    until(lambda: app.client.qstat("emails").blocked == 0)
    working.process.terminate()
    assert working.ends() == 1


def test_processes_are_replaced_on_demand(app):
    """SIGHUP replaces all, one after the other, and each finishes what it has begun."""
    working = app.start("jobs", "--processes", "2")
    working.says()
    before = children(working)
    app.client.add_job("emails", "wait")
    pid = app.begun("wait")
    working.process.send_signal(signal.SIGHUP)
    until(lambda: "replacing 2 worker processes" in working.log())
    app.write("go", "")
    until(lambda: "all worker processes are replaced" in working.log(), 30)
    assert len(children(working)) == 2
    assert not children(working) & before
    assert (pid, "wait", "done") in app.notes()
    assert "another begins" not in working.log()
    working.process.terminate()
    assert working.ends() == 0


def test_each_process_has_a_port(app):
    """With --http the ports count up from the one given."""
    app.write(
        "jobs.py", APP + "\nworker.start = lambda: exit(print('port', worker.http, flush=True))\n"
    )
    working = app.start("jobs", "--processes", "2", "--http", "127.0.0.1:9100")
    said = {working.says(), working.says()}
    assert said == {"port 127.0.0.1:9100\n", "port 127.0.0.1:9101\n"}


# Again after each change


def test_reload(app):
    """A change of a .py file ends the worker gracefully and begins it with the new code."""
    working = app.start("jobs", "--reload")
    assert working.says().startswith("working on emails, reports:2: 16 threads")
    app.client.add_job("emails", "wait")
    first = app.begun("wait")
    app.write("other.txt", "no code")
    app.write("jobs.py", APP.replace("grace=20", "concurrency=5"))
    until(lambda: "changed, beginning again: jobs.py" in working.log(), 30)
    app.write("go", "")
    assert working.says().startswith("working on emails, reports:2: 5 threads")
    assert app.works("one") != first
    assert (first, "wait", "done") in app.notes()
    working.process.send_signal(signal.SIGINT)
    assert working.ends() == 0


@pytest.mark.parametrize("busy", [False, True])
def test_ctrl_c_ends_a_reloader(app, busy):
    """Ctrl-C, which reaches parent and child, ends both as it does without --reload."""
    working = app.start("jobs", "--reload", "--grace", "0.1", new_session=True)
    assert working.says().startswith("working on emails")
    if busy:
        app.client.add_job("emails", "wait")
        app.begun("wait")
    os.killpg(working.process.pid, signal.SIGINT)
    assert working.ends() == int(busy)
    assert "Traceback" not in working.log()
    assert "Error" not in working.log()


def test_reload_after_a_mistake(app):
    """Code that cannot be imported is told, and mended by the next change."""
    app.write("jobs.py", "raise ValueError('oops')")
    working = app.start("jobs", "--reload")
    until(lambda: "it begins again after a change" in working.log(), 30)
    assert "module jobs cannot be imported: oops" in working.log()
    app.write("jobs.py", APP)
    assert working.says().startswith("working on emails")
    working.process.terminate()
    assert working.ends() == 0


# systemd


@pytest.mark.parametrize("args", [(), ("--processes", "2"), ("--reload",)])
def test_systemd_is_told(app, args):
    """Once that it works, once that it stops, whatever the number of processes."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        sock.bind(f"{folder}/notify")
        sock.settimeout(30)
        working = app.start("jobs", *args, NOTIFY_SOCKET=f"{folder}/notify")
        assert sock.recv(99) == b"READY=1"
        working.process.terminate()
        assert sock.recv(99) == b"STOPPING=1"
        assert working.ends() == 0
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(99)
