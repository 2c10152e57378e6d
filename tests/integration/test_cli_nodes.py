"""Nodes from the shell, and what a terminal sees of commands that take their time."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from pydisque.cli.commands.monitor import _lines
from pydisque.cli.options import completion
from pydisque.client import Client
from pydisque.node import Server
from support.cli import Ended, run, seen, shape, started, terminal
from support.servers import Deployment, ask, free_port, until

on_both = pytest.mark.parametrize("server", ["memory", "disque"], indirect=True)
on_ours = pytest.mark.parametrize("server", ["memory"], indirect=True)


@pytest.fixture
def client(server: Deployment) -> Iterator[Client]:
    with Client(server.addresses) as client:
        yield client


@pytest.fixture
def cli(server: Deployment) -> Callable[..., Ended]:
    def call(*args: str, **environment: str) -> Ended:
        return run(server.addresses, *args, **environment)

    return call


# hello, info, ping


@on_both
def test_hello(cli, server):
    """Every node that is known, with where it is and how it does."""
    port = server.addresses[0].rpartition(":")[2]
    assert cli("hello").shape.replace(port, "PORT") == (
        "id  host  port  state\nNODE  127.0.0.1  PORT  fine  this one\n"
    )
    told = json.loads(cli("hello", "--json").text)
    assert told == {
        "id": ask(server.addresses[0], "HELLO")[1].decode(),
        "host": "127.0.0.1", "port": int(port), "priority": 1, "own": True,
    }  # fmt: skip


@on_both
def test_info(cli):
    """A section as the node tells it; all of it as one object; one that is not there is told."""
    assert re.fullmatch(r"# Jobs\nregistered_jobs:\d+\n", cli("info", "JOBS").text)
    told = json.loads(cli("info", "--json").text)
    assert told["registered_jobs"] >= 0
    assert "disque_version" in told
    assert cli("info", "x\x1b") == (1, b"", "Error: there is no section x\\x1b\n")


@on_both
def test_ping(cli, server):
    """Each node that is named answers for itself; with one that does not the exit code is 3."""
    assert re.fullmatch(r"HOST:PORT: PONG after \d+\.\d\d ms\n", cli("ping").shape)
    nobody = f"127.0.0.1:{free_port()}"
    done = cli("ping", "--json", "--nodes", f"{server.addresses[0]},{nobody}")
    fine, silent = map(json.loads, done.text.splitlines())
    assert (done.code, fine["node"], silent["node"]) == (3, server.addresses[0], nobody)
    assert fine["milliseconds"] > 0
    assert "refused" in silent["error"]


# monitor


@on_both
def test_monitor(server, client, queue):
    """Each command is shown as it is carried out, harmless; Ctrl-C ends it and says how many."""
    with started(server.addresses, "monitor") as process:
        watching(process)
        client.add_job(queue, b"\x1b[31m\xff")
        for line in process.stdout:
            if b"ADDJOB" in line:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert re.fullmatch(rb"seen: \d+ commands?\n", process.stderr.read())
    assert re.fullmatch(
        r'\d+\.\d+ \[HOST:PORT\] "ADDJOB" "QUEUE" "\\x1b\[31m\\xff" "200"\n', shape(line.decode())
    )


def watching(process: Any) -> None:
    """Wait until it watches."""
    assert process.stderr.readline().startswith(b"watching 127.0.0.1:")


@on_both
def test_monitor_hides_passwords(server, client):
    """A password that a client sends is seen by nobody; what else it says is."""
    with started(server.addresses, "monitor", "--json") as process:
        watching(process)
        with suppress(Exception):
            ask(server.addresses[0], "AUTH", "sesame")
        ask(server.addresses[0], "QLEN", 'a"\\\n')
        told = []
        while not told or told[-1]["words"][0] != "QLEN":
            told.append(json.loads(process.stdout.readline()))
    assert told[-1]["words"] == ["QLEN", 'a"\\\n']
    assert ["AUTH", "(hidden)"] in [line["words"] for line in told]


@on_both
def test_monitor_hides_passwords_of_nodes(server, client):
    """What CONFIG SET makes the password is seen by nobody, on a real Disque neither."""
    with started(server.addresses, "monitor", "--json") as process:
        watching(process)
        with suppress(Exception):
            ask(server.addresses[0], "config", "set", "masterauth", "sesame")
        ask(server.addresses[0], "QLEN", "end")
        told = []
        while not told or told[-1]["words"][0] != "QLEN":
            told.append(json.loads(process.stdout.readline()))
    assert "sesame" not in json.dumps(told)


def test_monitor_of_a_quiet_node(monkeypatch):
    """It waits as long as nobody says anything to the node, however soon others give up."""
    monkeypatch.setattr("pydisque.cli.commands.monitor.QUIET", 0.1)
    with Server() as server, Client(server.address, socket_timeout=0.2) as client:
        later = threading.Timer(1, ask, [server.address, "QLEN", "q"])
        later.start()
        assert b'"QLEN" "q"' in next(line for line in _lines(client) if b"QLEN" in line)
        later.join()


def test_monitor_of_a_node_that_ends():
    """When the node goes it is told, with exit code 3."""
    with Server() as server, started([server.address], "monitor") as process:
        watching(process)
        ask(server.address, "PING")
        assert process.stdout.readline()
        server.close()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 3
    assert re.fullmatch(rb"Error: .*\n", err)


# bench


@on_both
def test_bench(cli, client):
    """It measures the three commands, and leaves no job behind."""
    done = cli("bench", "--jobs", "300", "--clients", "2", "--pipeline", "7")
    assert (done.code, done.err) == (0, "")
    head, *lines = done.shape.splitlines()
    assert head == "command  jobs  seconds  jobs/s  p50 ms  p99 ms  max ms"
    assert [line.split()[:2] for line in lines] == [["add", "300"], ["get", "300"], ["ack", "300"]]
    told = [json.loads(line) for line in cli("bench", "--jobs", "5", "--json").text.splitlines()]
    assert [line["command"] for line in told] == ["add", "get", "ack"]
    assert left_by_bench(client) == []


def left_by_bench(client: Client) -> list[bytes]:
    jobs = client.iter_jobs(reply="all")
    return [job.id for job in jobs if job.queue.startswith(b"pydisque-bench")]


@on_both
def test_bench_that_is_interrupted(server, client):
    """Ctrl-C leaves no job behind either, and says so."""
    with started(server.addresses, "bench", "--jobs", "1000000", "--pipeline", "10") as process:
        until(lambda: len(left_by_bench(client)) > 100)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert re.fullmatch(rb"tidied up: \d+ jobs\n\nAborted!\n", err)
    assert out == b""
    assert left_by_bench(client) == []


# Terminals


@on_ours
def test_a_narrow_terminal(server, client, queue):
    """Bodies are cut to its width and IDs never are; nothing is coloured if that is not wanted."""
    job_id = client.add_job(queue, "a body that is too long").decode()
    environment = {"NO_COLOR": "1", "TERM": "xterm", "COLUMNS": ""}
    with (
        terminal(60) as (ours, theirs),
        started(
            server.addresses, "peek", queue,
            stdout=theirs, stderr=theirs, environment=environment,
        ) as process,
    ):  # fmt: skip
        said = seen(ours, theirs)
        assert process.wait(30) == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", said)
    head, line = re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines()
    assert head.split() == ["id", "body"]
    assert line == f"{job_id}  a body that is to…"
    assert len(line) == 60


@on_ours
@pytest.mark.parametrize("wanted", [{}, {"NO_COLOR": "1"}])
def test_progress_on_a_terminal(server, client, queue, wanted):
    """What takes its time is counted on a terminal meanwhile, in colours unless none are wanted,
    and only there."""
    environment = {"TERM": "xterm-256color", **wanted}
    with (
        terminal(80) as (ours, theirs),
        started(server.addresses, "add", queue, stderr=theirs, environment=environment) as process,
    ):
        process.stdin.write(b"x\n" * 10)
        process.stdin.flush()
        until(lambda: client.qlen(queue) == 10)
        out, _ = process.communicate(timeout=30)
        said = seen(ours, theirs)
    assert out == b"added: 10 jobs\n"
    assert "added: " in said
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]", said)) is not bool(wanted)


# Completion


@on_both
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(cli, client, queue, shell):
    """Every shell completes commands, options and names of queues."""
    client.add_job(queue, "body")
    for words, wanted in (
        ("pydisque que", "queues"), ("pydisque peek --new", "--newest"),
        (f"pydisque peek {queue[:-4]}", queue),
    ):  # fmt: skip
        position = str(len(words.split()) - 1)
        word = position if shell != "fish" else words.split()[-1]
        done = run(
            [],
            _PYDISQUE_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=word,
            DISQUE_NODES=nodes_of(client),
        )  # fmt: skip
        assert wanted in done.text


def nodes_of(client: Client) -> str:
    return ",".join(client.nodes)


@on_ours
def test_completion_is_bounded(server, client, queue, monkeypatch):
    """Only so many names are offered, none with what a shell could not take, and none without a
    node."""
    for number in range(5):
        client.add_job(f"{queue}-{number}", "body")
    client.add_job(queue.encode() + b"-\x1b\xff", "body")
    monkeypatch.setattr(completion, "MOST", 3)
    assert len(completion.names_of_queues(server.addresses, queue)) == 3
    assert completion.names_of_queues(server.addresses, f"{queue}-\x1b") == []
    assert completion.names_of_queues(f"localhost:{free_port()}", "") == []
