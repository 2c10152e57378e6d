"""The command line as its users meet it: what it says, what it returns, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import pydisque
from pydisque.client import Client
from pydisque.errors import NoAuthError
from pydisque.node.config.sources import STARTABLE
from support import cli
from support.servers import answers, ask, until

COMMAND = [sys.executable, "-m", "pydisque"]


def run(*args: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [*COMMAND, *args], capture_output=True, text=True, timeout=60, check=False
    )


class Serving:
    """A `pydisque serve`, and what it said first."""

    def __init__(self, *args: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "serve", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self.said = self.process.stdout.readline()
        self.kept = self.process.stdout.readline()
        self.address = self.said.removeprefix("listening on ").split()[0]

    def ends(self) -> tuple[int, str]:
        """Its exit code, and what else it wrote to standard output."""
        code = self.process.wait(10)
        return code, self.process.stdout.read()


@pytest.fixture
def serve() -> Iterator[Callable[..., Serving]]:
    """Starts nodes; whatever still runs after the test is ended."""
    with ExitStack() as stack:

        def start(*args: str, **environment: str) -> Serving:
            serving = Serving(*args, **environment)
            stack.enter_context(serving.process)
            stack.callback(serving.process.kill)
            return serving

        yield start


@pytest.fixture
def path() -> Iterator[str]:
    """A path short enough for a socket, whatever the folder of the tests."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"{folder}/disque.sock"


def test_serve_says_where_it_listens(serve):
    """With port 0 a node takes a free port and says which, once it can be reached there."""
    node = serve("--port", "0")
    assert re.fullmatch(r"listening on 127\.0\.0\.1:\d+\n", node.said)
    assert answers(node.address)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(serve, signum, queue):
    """SIGTERM and Ctrl-C end a node with exit code 0, even while consumers wait on it."""
    node = serve("--port", "0")
    host, _, port = node.address.rpartition(":")
    with socket.create_connection((host, int(port))) as consumer:
        consumer.sendall(f"GETJOB FROM {queue}\r\n".encode())
        until(lambda: ask(node.address, "QSTAT", queue))
        node.process.send_signal(signum)
        assert consumer.recv(1) == b""
    assert node.ends() == (0, "")
    assert not answers(node.address)


def test_jobs_are_kept_where_it_says(serve, queue):
    """Without --data a node names a directory of its own for its port, and finds its jobs there
    again, however it ended; a second one takes another."""
    first, second = serve("--port", "0"), serve("--port", "0")
    folders = [node.kept.removeprefix("jobs are kept in ").strip() for node in (first, second)]
    assert folders[0] != folders[1]
    assert all(Path(folder, "journal.db").exists() for folder in folders)
    job_id = ask(first.address, "ADDJOB", queue, "body", 0)
    first.process.kill()
    first.process.wait()
    again = serve("--port", "0", "--data", folders[0])
    assert ask(again.address, "GETJOB", "FROM", queue) == [[queue.encode(), job_id, b"body"]]


def test_a_directory_that_is_taken(serve, tmp_path):
    """A data directory that another node has is told in one plain line, with its process."""
    node = serve("--port", "0", "--data", str(tmp_path))
    second = run("serve", "--port", "0", "--data", str(tmp_path))
    assert (second.returncode, second.stdout) == (1, "")
    taken = f"Error: cannot serve: {tmp_path}: in use by process {node.process.pid}\n"
    assert second.stderr == taken


def test_jobs_in_memory(serve):
    """With :memory: nothing is written, and that is said."""
    node = serve("--port", "0", "--data", ":memory:")
    assert node.kept == "jobs are kept in memory: they are gone when the node stops\n"


def test_shutdown_ends_it(serve):
    """So does the command SHUTDOWN, to which no answer comes."""
    node = serve("--port", "0")
    with pytest.raises(ConnectionResetError):
        ask(node.address, "SHUTDOWN")
    assert node.ends() == (0, "")


def test_a_port_that_is_taken(serve):
    """A port somebody has is told in one plain line, with exit code 1."""
    _, _, port = serve("--port", "0").address.rpartition(":")
    second = run("serve", "--port", port)
    assert (second.returncode, second.stdout) == (1, "")
    assert re.fullmatch(rf"Error: cannot serve: .*{port}.*in use.*\n", second.stderr)


@pytest.mark.parametrize("word", ["--nonsense", "now"])
def test_wrong_words(word):
    """What is not understood is told with exit code 2, and nothing is started."""
    result = run("serve", word)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Usage: pydisque serve" in result.stderr
    assert word in result.stderr


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--port", "65536"], "port (--port): '65536' is not allowed; "),
        (["--port", "many"], "port (--port): 'many' is not allowed; "),
        (["--log-json=maybe"], "log-json (--log-json): 'maybe' is not allowed; allowed is one of "),
        (["--host", ","], "bind (--bind): ',' is not allowed; "),
        (["--tls-key", "k"], "tls-cert: missing; TLS needs both "),
        (["--disable-commands", "x"], "disable-commands (--disable-commands): there is no command"),
        (["--users", "/nowhere"], "users (--users): /nowhere cannot be read: No such file"),
        (["--config", "/nowhere"], "config: /nowhere cannot be read: No such file"),
    ],
)
def test_wrong_settings(args, told):
    """A setting that cannot be is told in one line that says whose it is, with exit code 2."""
    result = run("serve", *args)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {told}")
    assert result.stderr.count("\n") == 1


def test_a_unix_socket_beside_the_port(serve, path, queue):
    """A node can be reached by both ways, and removes its socket in the end."""
    node = serve("--port", "0", "--unixsocket", path)
    assert node.said == f"listening on {node.address} and unix:{path}\n"
    with Client(f"unix:{path}") as client:
        job_id = client.add_job(queue, "body")
    assert ask(node.address, "QLEN", queue) == 1
    with Client(node.address) as client:
        assert client.ack_job(job_id) == 1
    node.process.terminate()
    assert node.ends() == (0, "")
    assert not Path(path).exists()


def test_a_unix_socket_alone(serve, path):
    """Port -1 is no port."""
    node = serve("--port", "-1", "--unixsocket", path)
    assert node.said == f"listening on unix:{path}\n"
    with Client(f"unix:{path}") as client:
        assert client.ping()


def test_commands_over_a_unix_socket(serve, path, queue):
    """Commands reach a node there, and name it as it is written."""
    serve("--port", "-1", "--unixsocket", path)
    address = f"unix:{path}"

    def told(*words: str) -> str:
        return cli.run([address], *words).text

    job_id = told("add", queue, "x").strip()
    assert f"{job_id}  x" in told("peek", queue)
    assert json.loads(told("jobs", queue, "--json"))["node"] == address
    assert told("stats").split()[:2] == ["node", address]
    assert json.loads(told("hello", "--json"))["host"] == ""
    assert queue in told("top", "--once")


def test_a_unix_socket_left_behind(serve, path):
    """A socket whose node was killed is taken over; one that is served is left alone."""
    serve("--port", "-1", "--unixsocket", path).process.kill()
    until(lambda: not listens(path))
    serve("--port", "-1", "--unixsocket", path)
    second = run("serve", "--port", "-1", "--unixsocket", path)
    assert (second.returncode, second.stdout) == (1, "")
    assert re.fullmatch(rf"Error: cannot serve: .*{re.escape(path)}.*in use.*\n", second.stderr)
    assert listens(path)


def listens(path: str) -> bool:
    """Whether a node serves at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def test_a_file_is_no_socket(path):
    """A file that happens to lie at the socket's path is not removed for it."""
    Path(path).write_text("precious", encoding="utf-8")
    result = run("serve", "--port", "-1", "--unixsocket", path)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: cannot serve: ")
    assert result.stderr.count("\n") == 1
    assert Path(path).read_text(encoding="utf-8") == "precious"


def test_a_password(serve, queue):
    """A password given in the environment is wanted of every client."""
    node = serve("--port", "0", PYDISQUE_REQUIREPASS="open sesame")
    with Client(node.address) as client, pytest.raises(NoAuthError):
        client.qlen(queue)
    with Client(node.address, password="open sesame") as client:
        assert client.qlen(queue) == 0


def test_the_demo():
    """The demonstration does all its jobs, and its figures agree with each other."""
    result = run("demo", "--jobs", "12", "--workers", "2")
    assert (result.returncode, result.stderr) == (0, "")
    added, delayed, delivered, failed, done, left = (
        int(number) for number in re.findall(r"│ +(\d+) │", result.stdout)
    )
    assert (added, delayed, failed) == (12, 3, 2)
    assert (done, left) == (added, 0)
    assert delivered == done + failed


@pytest.mark.parametrize(
    "args",
    [(), ("serve",), ("demo",), ("worker",), ("dead",), ("dead", "list"), ("dead", "replay")],
)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(args, option):
    """Every command explains itself and each of its options."""
    result = run(*args, option)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: {' '.join(['pydisque', *args])} [OPTIONS]")
    wanted: dict[Any, list[str]] = {
        (): ["serve", "worker", "dead", "demo", "--version"],
        ("serve",): ["--config", *(f"--{name}" for name in STARTABLE), "--host"],
        ("demo",): ["--jobs", "--workers"],
        ("worker",): ["--nodes", "--queues", "--processes", "--reload", "Exit code", "Examples:"],
        ("dead",): ["list", "show", "replay", "purge", "Examples:"],
        ("dead", "list"): ["--dead-queue", "--error", "--count", "--json", "DISQUE_NODES"],
        ("dead", "replay"): ["--queue", "--to", "--delay", "--ttl", "--retry", "Examples:"],
    }
    assert [word for word in wanted[args] if word not in result.stdout] == []


def test_version():
    """--version says name and version."""
    assert run("--version").stdout == f"pydisque, version {pydisque.__version__}\n"


def test_the_script():
    """The installed script `pydisque` is the same program."""
    script = Path(sys.executable).with_name("pydisque")
    said = subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout
    assert said == run("--version").stdout
