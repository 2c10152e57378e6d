"""What people see of each command, kept in tests/snapshots as they see it.

Of each there is what it writes in a pipe, at a terminal of 80 columns and at one of 40. After a
change that is meant `make snapshots` writes them anew; then look at what git says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pydisque.client import Client
from pydisque.dead_letters import DeadLetter
from pydisque.node import Server
from pydisque.testing import Clock
from support.cli import COMMANDS, at_a_terminal, every_command, run

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
WRITE = "PYDISQUE_TEST_SNAPSHOTS"
NOBODY = "D-0c0c0c0c-BBBBBBBBBBBBBBBBBBBBBBBB-05a1"

# What the tests of these commands look at themselves, as they end when they are told to.
ELSEWHERE = {
    "tail": "test_cli_queues.py",
    "monitor": "test_cli_nodes.py",
    "serve": "test_cli.py",
    "worker": "test_cli_worker.py",
    "migrate": "test_migrate.py",
    "demo": "test_cli.py",
    "top": "test_cli_top.py",
    "dashboard": "dashboard/test_dashboard_command.py",
}

# Those whose figures differ from run to run.
FIGURES = {"bench --jobs 20", "check", "dump", "ping", "stats"}


# What is there before


class Place(NamedTuple):
    """A node whose time stands still, and a folder."""

    client: Client
    clock: Clock
    folder: Path


Prepare = Callable[[Place], list[str]]


def nothing(_: Place) -> list[str]:
    return []


def jobs(place: Place) -> list[str]:
    """Jobs of all sorts in some queues, each a minute old; the ID of one that was taken."""
    client = place.client
    client.add_job("mail", "taken", retry=60)
    [taken] = client.get_job(["mail"])
    client.add_job("mail", "hello", retry=60)
    client.add_json("mail", {"to": "ada@example.org", "subject": "a long one " * 5})
    client.add_job("mail", b"\x1b[31m\xff\n", ttl=3600)
    client.add_job("thumbnails-of-the-year", "delayed", delay=3600)
    client.add_job("thumbnails-of-the-year", "cat.png", retry=0)
    client.pause("thumbnails-of-the-year", kw_out=True)
    place.clock.advance(59)
    return [taken.id.decode()]


def job(body: bytes) -> Prepare:
    return lambda place: [place.client.add_job("mail", body, retry=60).decode()]


def taken(place: Place) -> list[str]:
    place.client.add_job("mail", "hello", retry=60)
    return [place.client.get_job(["mail"])[0].id.decode()]


def paused(place: Place) -> list[str]:
    place.client.pause("mail", kw_in=True)
    return []


def letter(place: Place) -> list[str]:
    """A dead letter, by its own ID."""
    place.client.add_job("charges", '{"order": 7}', retry=60)
    [died] = place.client.get_jobs(["charges"])
    story = DeadLetter(
        "charges", died.id.decode(), 7, 0, "ValueError: no card", "Traceback\n  here",
        "2026-01-01T12:00:00+00:00", died.body,
    )  # fmt: skip
    died.ack()
    return [place.client.add_job("charges:dead", story.to_body(), retry=60).decode()]


def directory(place: Place) -> list[str]:
    """Where a node has kept a few jobs."""
    folder = str(place.folder / "kept")
    with Server(data=folder, clock=place.clock) as server, Client(server.address) as client:
        client.add_jobs("mails", ["x", "y"])
        client.get_job(["mails"])
        client.pause("mails", kw_in=True)
    return [folder]


def dumped(place: Place) -> list[str]:
    run([], "dump", *directory(place), "--output", str(place.folder / "jobs.jsonl"))
    return [str(place.folder / "new"), str(place.folder / "jobs.jsonl")]


# A name, what is typed, and what was prepared; what is prepared gives the last words.
SHOWN: dict[str, tuple[str, Prepare]] = {
    "add": ("add mail hello", nothing),
    "add, refused": ("add mail hello", paused),
    "get": ("get mail --count 3", jobs),
    "get, none": ("get mail", nothing),
    "ack": ("ack", taken),
    "ack, unknown": (f"ack {NOBODY}", nothing),
    "nack": ("nack", taken),
    "working": ("working", taken),
    "working, unknown": (f"working {NOBODY}", nothing),
    "show": ("show", job(b'{"to": "ada@example.org"}')),
    "show, bytes": ("show", job(b"\x1b[31m\xff\x00")),
    "show, unknown": (f"show {NOBODY}", nothing),
    "jobs": ("jobs", lambda place: jobs(place) and []),
    "jobs, none": ("jobs", nothing),
    "enqueue": ("enqueue", taken),
    "dequeue": ("dequeue", job(b"hello")),
    "delete": ("delete", taken),
    "queues": ("queues", lambda place: jobs(place) and []),
    "queues, none": ("queues", nothing),
    "stats": ("stats", nothing),
    "stats, of a queue": ("stats mail", lambda place: jobs(place) and []),
    "stats, unknown": ("stats mail", nothing),
    "peek": ("peek mail", lambda place: jobs(place) and []),
    "peek, unknown": ("peek mail", nothing),
    "pause": ("pause mail images --in", nothing),
    "resume": ("resume mail", paused),
    "purge": ("purge mail --yes", lambda place: jobs(place) and []),
    "purge, unknown": ("purge mail", nothing),
    "dead list": ("dead list", lambda place: letter(place) and []),
    "dead list, none": ("dead list", nothing),
    "dead show": ("dead show", letter),
    "dead replay": ("dead replay", letter),
    "dead purge": ("dead purge --yes", letter),
    "ping": ("ping", nothing),
    "ping, no node": ("ping --nodes localhost:1", nothing),
    "hello": ("hello", nothing),
    "info": ("info jobs", nothing),
    "info, unknown": ("info weather", nothing),
    "bench": ("bench --jobs 20", nothing),
    "check": ("check", directory),
    "check, none": ("check /nowhere", nothing),
    "dump": ("dump", directory),
    "load": ("load", dumped),
    "wrong option": ("queues --sort weight", nothing),
    "wrong ID": ("ack hello", nothing),
    "no node": ("queues --nodes localhost:1", nothing),
}


# What is seen


@pytest.mark.parametrize("name", SHOWN)
def test_what_people_see(name, tmp_path, monkeypatch):
    """A command writes what it is known to write, in a pipe and at terminals wide and narrow."""
    monkeypatch.setattr("pydisque.cli.options.nodes.DEADLINE", 0.01)
    typed, prepare = SHOWN[name]
    seen = {}
    for at, columns in {"in a pipe": None, "80 columns": 80, "40 columns": 40}.items():
        clock = Clock()
        folder = tmp_path / str(columns)
        folder.mkdir()
        with clock.server() as server, Client(server.address) as client:
            words = [*typed.split(), *prepare(Place(client, clock, folder))]
            words = [server.address if word == "localhost:7711" else word for word in words]
            said = ran(server.address, words, columns)
        seen[at] = alike(said, {server.address: "localhost:7711", str(folder): "DIR"}, typed)
    wide, narrow = seen["80 columns"], seen["40 columns"]
    more = " …" if len(words) > len(typed.split()) else ""
    told = f"$ pydisque {typed}{more}\n{seen['in a pipe']}"
    told += f"\nat a terminal of 80 columns:\n{wide}" if wide != seen["in a pipe"] else ""
    told += f"\nat a terminal of 40 columns:\n{narrow}" if narrow != wide else ""
    assert_kept(name, told)


@pytest.mark.parametrize("name", dict(every_command()))
def test_help(name):
    """The help of each command is what it is known to be."""
    said = run([], *name.split(), "--help", COLUMNS="80").text
    assert_kept(f"help {name}".strip(), said)


def test_each_command_is_looked_at():
    """A command that is added gets a snapshot; one that is gone leaves none behind."""
    shown = {
        next(c for c in COMMANDS if f"{typed} ".startswith(f"{c} ")) for typed, _ in SHOWN.values()
    }
    assert shown | set(ELSEWHERE) == set(COMMANDS)
    names = {*SHOWN, *(f"help {name}".strip() for name, _ in every_command())}
    assert {path.stem for path in SNAPSHOTS.glob("*.txt")} == names


def assert_kept(name: str, text: str) -> None:
    """What is seen is what was seen before, or is written down from now on."""
    path = SNAPSHOTS / f"{name}.txt"
    if WRITE in os.environ:
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path} is missing: `make snapshots` writes it"
    assert text == path.read_text(encoding="utf-8")


def ran(address: str, words: list[str], columns: int | None) -> str:
    """All that a command writes, in a pipe or at a terminal so wide, and its exit code."""
    if columns is None:
        code, out, err = run([address], *words)
        text = out.decode()
    else:
        environment = {"DISQUE_NODES": address, "COLUMNS": str(columns), "TERM": "xterm"}
        code, text, err = at_a_terminal(words, environment)
    told = f"{text}[standard error]\n{err}" if err else text
    return f"{told}[exit code {code}]\n" if code else told


def alike(text: str, known: dict[str, str], typed: str) -> str:
    """A text without what differs from run to run; what is in columns stays in them."""
    for here, there in known.items():
        text = text.replace(here, there)
    met = {NOBODY: NOBODY}

    def count(at: re.Match[str]) -> str:
        digits = len(at[0]) - len(at[1]) - len(at[2])
        return met.setdefault(at[0], f"{at[1]}{len(met):0{digits}}{at[2]}")

    if typed == "jobs":  # come in no order
        head, *rows = text.splitlines(keepends=True)
        text = head + "".join(sorted(rows, key=lambda row: row[len(NOBODY) :]))
    text = text.replace(" -h' for help.", " --help' for help.")  # Click before 8.4
    text = re.sub(r"(?<=127\.0\.0\.1  )\d+", "77110", text)
    text = re.sub(r"(D-)[0-9a-f]{8}-[A-Za-z0-9+/]{24}(-[0-9a-f]{4})", count, text)
    text = re.sub(r"()\b[0-9a-f]{40}\b()", count, text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "2026-01-01T00:00:00Z", text)
    if typed in FIGURES:
        text = re.sub(r" +", " ", re.sub(r"\d+(\.\d+)?", "N", text))
    return text.replace("\x1b", r"\e")
