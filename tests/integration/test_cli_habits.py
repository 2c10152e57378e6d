"""What all commands have in common: help, errors and exit codes, JSON, pipes that are closed.

A command that is added needs its row below, and then has to have these habits as well.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pydisque.cli import SECTIONS, main
from pydisque.cli.options.parameters import milliseconds
from pydisque.client import Client
from pydisque.dead_letters import DeadLetter
from pydisque.node import Server
from support.cli import COMMANDS, run, started
from support.fake_node import FakeNode, array, bulk
from support.servers import Deployment, free_port, unique

# The commands that ask nodes, each as it is run: Q is a queue, TAKEN and QUEUED are jobs of it, and
# LETTER is a dead letter of it.
ASKING: dict[str, str] = {
    "add": "Q body", "get": "Q", "ack": "TAKEN", "nack": "TAKEN", "working": "TAKEN",
    "show": "TAKEN", "jobs": "Q", "enqueue": "TAKEN", "dequeue": "QUEUED", "delete": "TAKEN",
    "queues": "Q*", "stats": "Q", "peek": "Q", "tail": "Q", "pause": "Q", "resume": "Q",
    "purge": "Q --yes", "top": "--once", "ping": "", "hello": "", "info": "", "monitor": "",
    "bench": "--jobs 10", "dead list": "Q", "dead show": "LETTER", "dead replay": "LETTER",
    "dead purge": "LETTER --yes",
}  # fmt: skip
# These go on until they are interrupted: their own tests read their JSON.
ENDLESS = {"tail", "monitor"}

NOBODY = "D-0c0c0c0c-BBBBBBBBBBBBBBBBBBBBBBBB-05a1"


def parameters(command: str) -> dict[str | None, click.Parameter]:
    return {parameter.name: parameter for parameter in COMMANDS[command].params}


JSON = sorted(name for name in ASKING if "as_json" in parameters(name))


def words(command: str, queue: str = "q", **ids: bytes) -> list[str]:
    """A command as it is typed."""
    known = {"Q": queue, **{name: job_id.decode() for name, job_id in ids.items()}}
    given = re.sub(r"\b[A-Z]+\b", lambda at: known.get(at[0], NOBODY), ASKING[command])
    return [*command.split(), *given.split()]


@pytest.fixture
def typed(request: pytest.FixtureRequest, server: Deployment) -> list[str]:
    """A command as it is typed, about jobs that are there."""
    queue = unique("q")
    with Client(server.addresses) as client:
        client.add_job(queue, "taken", retry=60)
        [taken] = client.get_job([queue])
        queued = client.add_job(queue, "queued")
        letter = DeadLetter(
            queue, NOBODY, 1, 0, "ValueError: no", "Traceback", "2026-01-01T12:00:00+00:00"
        )
        filed = client.add_job(f"{queue}:dead", letter.to_body())
    command = request.getfixturevalue("command")
    return words(command, queue, TAKEN=taken.id, QUEUED=queued, LETTER=filed)


def test_no_command_is_left_out():
    """The table above has every command that asks nodes."""
    asking = {name for name in COMMANDS if "nodes" in parameters(name)}
    assert set(ASKING) == asking - {"worker", "dashboard"}  # which never give up


# Errors


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is waited for."""
    monkeypatch.setattr("pydisque.cli.options.nodes.DEADLINE", 0.01)


@pytest.mark.parametrize("command", ASKING)
def test_no_node(command):
    """That none answers is told in one plain line, with what to do, and exit code 3."""
    done = run([f"localhost:{free_port()}"], *words(command))
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "refused" in done.err
    if command != "ping":
        assert re.fullmatch(r"Error: .*no node answered .*; --nodes or DISQUE_NODES .*\n", done.err)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """A node that wants a password."""
    with Server(requirepass="open sesame") as server:
        yield server


@pytest.mark.parametrize("login", ["", "disque://:wrong@"])
@pytest.mark.parametrize("command", ASKING)
def test_no_password(command, login, guarded):
    """Without the password, or with a wrong one, it is told how to give one, and none is shown."""
    done = run([f"{login}{guarded.address}"], *words(command))
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert done.err.endswith("--nodes disque://:PASSWORD@HOST:PORT\n")
    assert "wrong@" not in done.text + done.err


@pytest.mark.parametrize("command", ["queues", "ping"])
def test_the_right_password(command, guarded):
    """With the right password all is well."""
    assert run([f"disque://:open%20sesame@{guarded.address}"], command).code == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_words(command):
    """An option that is none, or an argument that is missing, is told with exit code 2."""
    wrong = [[*command.split(), "--nonsense"]]
    if any(isinstance(p, click.Argument) and p.required for p in COMMANDS[command].params):
        wrong.append(command.split())
    for typed in wrong:
        done = run([], *typed)
        assert (done.code, done.out) == (2, b"")
        assert done.err.startswith(f"Usage: pydisque {command} ")
        assert re.search(r"\nError: .*\n\Z", done.err)


@pytest.mark.parametrize("command", ASKING)
def test_wrong_nodes(command):
    """An address that is none is told with exit code 2."""
    done = run([], *words(command), "--nodes", "a:b:c")
    assert (done.code, done.out) == (2, b"")
    assert "Error: Invalid value for '--nodes': " in done.err


@pytest.mark.parametrize("command", ["get", "peek", "tail", "show"])
def test_one_form_only(command):
    """Forms of output that exclude each other are refused."""
    done = run([], *words(command), "--json", "--raw")
    assert (done.code, done.out) == (2, b"")
    assert "--json and --raw do not go together" in done.err


WHOLE = {
    "delete", "jobs", "queues", "stats", "peek", "pause", "resume", "purge", "dead list",
    "dead show", "dead replay", "dead purge",
}  # fmt: skip
PARTLY = set(ASKING) - WHOLE - ENDLESS - {"add", "top", "ping", "hello", "info", "bench"}


@pytest.mark.parametrize("command", sorted(WHOLE | PARTLY))
def test_a_part_of_a_cluster(command):
    """A node of a cluster that does not answer is told and left out; what is then not all that it
    should be ends with exit code 1."""
    none, nothing = b"*-1\r\n", array(bulk(b"0"), array())
    answers = {"JSCAN": nothing, "QSCAN": nothing, "QPEEK": array(), "QSTAT": none, "SHOW": none}
    info = bulk(b"# Server\r\ndisque_version:1.0-rc1\r\n")
    with FakeNode(INFO=info, PAUSE=b"+all\r\n", **answers) as node:
        gone = free_port()
        node.others = [("b" * 40, "127.0.0.1", gone, 1)]
        done = run([node.address], *words(command))
    complaint, *others = done.err.splitlines()
    assert re.match(rf"not asked: 127\.0\.0\.1:{gone}: .*refused", complaint)
    assert not [line for line in others if "no node answered" in line]
    if command in WHOLE:
        assert done.code == 1
    assert done.code in (0, 1)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("", 7711), ("a b", 1), ("\x1b[2J", 1), ("[::1", 1), ("x/y", 1), ("u@h", 1), ("a,b", 1),
        ("a?b", 1), ("a\nb", 1), ("\0", 1), ("127.0.0.1", 0), ("a" * 70_000, 1), ("é", 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", sorted(ASKING.keys() - ENDLESS - {"ping"}))
def test_a_fellow_whose_address_is_none(command, host, port):
    """Whatever a node tells of another, that one is told to be missing, and the command goes on."""
    none, nothing = b"*-1\r\n", array(bulk(b"0"), array())
    answers = {"JSCAN": nothing, "QSCAN": nothing, "QPEEK": array(), "QSTAT": none, "SHOW": none}
    with FakeNode(INFO=bulk(b"# Server\r\n"), PAUSE=b"+all\r\n", **answers) as node:
        node.others = [("b" * 40, host, port, 1)]
        done = run([node.address], *words(command))
    assert "\x1b" not in done.text + done.err
    assert len(done.text + done.err) < 2000 or command == "hello"
    if command in WHOLE:
        assert done.code == 1
        assert done.err.startswith("not asked: ")


@pytest.mark.parametrize("priority", [1, 10, 100])
def test_what_the_others_know(priority):
    """Of a cluster a node of which is gone, what the others have is told, and exit code 1: also
    when they have noticed."""
    fields = {b"name": bulk(b"mail"), b"len": b":7\r\n", b"age": b":9\r\n", b"idle": b":9\r\n",
              b"blocked": b":0\r\n", b"import-from": array(), b"import-rate": b":0\r\n",
              b"jobs-in": b":7\r\n", b"jobs-out": b":0\r\n", b"pause": bulk(b"none")}  # fmt: skip
    queue = array(*(part for name, value in fields.items() for part in (bulk(name), value)))
    with FakeNode(
        INFO=bulk(b""), QSTAT=queue, QSCAN=array(bulk(b"0"), array(bulk(b"mail")))
    ) as node:
        node.others = [("b" * 40, "127.0.0.1", free_port(), priority)]
        for asked in (["queues"], ["stats", "mail"]):
            done = run([node.address], *asked, "--json")
            assert (done.code, json.loads(done.text)["len"]) == (1, 7)


@pytest.mark.parametrize(
    "typed",
    [
        "add q x --timeout nan", "add q x --timeout inf", "add q x --delay 9999999999999999999999",
        "add q x --maxlen 9223372036854775808", "get q --timeout nan", "get q --timeout 1e300",
        "tail q --interval nan", "tail q --interval inf", "top --interval nan",
        f"nack {NOBODY} --delay 9999999999999",
        "queues --min-len 999999999999999999999", "jobs --limit 999999999999999999999",
        f"dead replay {NOBODY} --ttl 9999999999999",
    ],
)  # fmt: skip
def test_numbers_beyond_sense(typed):
    """What no node would take is refused with exit code 2, before any is asked."""
    done = run([f"localhost:{free_port()}"], *typed.split())
    assert (done.code, done.out) == (2, b"")
    assert re.search(
        r"Error: Invalid value for '--[a-z-]+': \S+ is not in the range x<=\d+\.", done.err
    )


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, 0), (0.0004, 1), (0.001, 1), (16.1, 16_100), (1.005, 1005)]
)
def test_times_in_milliseconds(seconds, told):
    """A time is what it says, and none but 0 becomes 0, which is for ever."""
    assert milliseconds(seconds) == told


def test_a_password_nobody_wants(server_without_password):
    """It is told to leave it out."""
    done = run([f"disque://:x@{server_without_password.address}"], "queues")
    assert done.code == 3
    assert done.err.endswith("; leave the password out of the address\n")


@pytest.fixture
def server_without_password() -> Iterator[Server]:
    with Server() as server:
        yield server


# Output


@pytest.mark.parametrize("server", ["memory", "disque"], indirect=True)
@pytest.mark.parametrize("command", [name for name in JSON if name not in ENDLESS])
def test_json(command, server, typed):
    """With --json standard output is one object a line, and nothing else."""
    done = run(server.addresses, *typed, "--json")
    assert done.code == 0
    lines = done.text.splitlines()
    assert lines
    assert all(isinstance(json.loads(line), dict) for line in lines)


@pytest.mark.parametrize("server", ["memory"], indirect=True)
@pytest.mark.parametrize("command", ASKING)
def test_a_reader_who_has_gone(command, server, typed):
    """When nobody reads what is written, as with `| head`, a command ends without a word."""
    gone, out = os.pipe()
    os.close(gone)
    with started(server.addresses, *typed, stdout=out) as process:
        os.close(out)
        if command == "monitor":
            with Client(server.addresses) as client:
                while process.poll() is None:
                    client.ping()
        err = process.stderr.read().decode()
        assert process.wait(30) in (0, 1)
    besides = ("watching ", "tidied up: ")  # of monitor and bench, for people
    assert [line for line in err.splitlines() if not line.startswith(besides)] == []


# Help


@pytest.mark.parametrize("command", ASKING)
def test_help(command):
    """Each command explains its options, its exit codes, and gives examples."""
    done = run([], *command.split(), "--help")
    assert done.code == 0
    said = " ".join(done.text.split())
    wanted = (f"Usage: pydisque {command} ", "Examples:", "--nodes", "Exit code: 0 when", "3 when")
    assert [each for each in wanted if each not in said] == []


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_of_all(command):
    """No command is without examples, the meaning of its exit codes, and of each option."""
    said = " ".join(run([], *command.split(), "--help").text.split())
    assert [each for each in ("Examples:", "Exit code: 0 when") if each not in said] == []
    options = [each for each in COMMANDS[command].params if isinstance(each, click.Option)]
    assert [each.name for each in options if not each.help] == []


def test_those_that_answer_programs():
    """Whatever tells people something tells it to programs as well, if they want."""
    silent = {"serve", "worker", "dashboard", "demo", "dump"}  # dump writes JSON anyway
    assert {name for name in COMMANDS if "as_json" not in parameters(name)} == silent


def test_the_help_has_every_command():
    """What can be run is listed, each once."""
    listed = [command.name for commands in SECTIONS.values() for command in commands]
    assert sorted(listed) == sorted(main.commands)


def test_the_page_has_every_command():
    """docs/cli.md tells of each command, and of no other."""
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    [section] = re.findall(
        r"^## Commands\n(.*?)^## ", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    rows = re.findall(r"^\| (`[a-z].*?`) \|", section, re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"`([a-z]+)", row)]
    assert sorted(told) == sorted(main.commands)
