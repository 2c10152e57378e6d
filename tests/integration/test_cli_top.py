"""`pydisque top` on a terminal, and into a pipe, on every kind of system."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pydisque import Client
from support.cli import run, started
from support.servers import Deployment, NodeProcess, Server, free_port, unique, until
from support.terminal import on_screen
from support.valkeys import valkey

kinds = pytest.mark.parametrize(
    "server", ["memory", "valkey-3", "disque", "disque-3"], indirect=True
)

OFTEN = ("top", "--interval", "0.2")


@pytest.fixture
def client(server: Deployment) -> Iterator[Client]:
    with Client(server.addresses[-1:]) as client:
        yield client


# Live


@kinds
def test_looking_around(server, client):
    """Queues are sorted, filtered and looked into, and so are jobs; figures move by themselves."""
    prefix = unique("top")[:12]
    long, short = f"{prefix}-long", f"{prefix}-short"
    client.add_jobs(long, ["x"] * 30)
    client.add_job(short, '{"to": "ada"}')
    with on_screen(server.addresses[:1], *OFTEN, height=30) as screen:
        screen.shows("pydisque top", f"{len(server.addresses)} node", "sorted by len")
        screen.type("/" + prefix)
        screen.until(lambda: screen.chosen.startswith(f"{long} "))
        screen.type("\r")
        screen.shows(f"showing {prefix}")
        screen.type("r")
        screen.until(lambda: screen.chosen.startswith(f"{short} "))
        client.add_jobs(long, ["x"] * 1000)
        screen.until(lambda: any(line.split()[:2] == [long, "1030"] for line in screen.lines))
        screen.type("\r")
        screen.shows(f"queue {short}", "[queued]", '{"to": "ad')
        screen.type("\r")
        screen.shows("job D-", "state        queued", '  "to": "ada"')
        screen.type("b")
        screen.shows("7b 22 74 6f")
        screen.type("\x1b")
        screen.shows("[queued]")
        job = client.get_jobs([short], timeout=5000)[0]
        screen.shows("no jobs")
        screen.type("\t")
        screen.shows("[active]", job.id.decode())
        screen.type("q")
        screen.until(lambda: screen.chosen.startswith(f"{short} "))
        screen.type("n")
        screen.shows(*(f":{address.rpartition(':')[2]} " for address in server.addresses))
        screen.type("?")
        screen.shows("Keys", "PgUp PgDn")
        screen.type("\x1b\x1bq")
        screen.ends(0)
    job.ack()


@kinds
def test_pausing(server, client):
    """A queue is paused on every node, but only after a yes; the same key resumes it."""
    name = unique("top")
    client.add_job(name, "x")

    def paused() -> set[bytes]:
        states = set()
        for address in server.addresses:
            with Client(address) as each:
                states.add(each.pause(name, kw_state=True))
        return states

    with on_screen(server.addresses[:1], *OFTEN, "--filter", name) as screen:
        screen.until(lambda: screen.chosen.startswith(name))
        screen.type("p")
        screen.shows(f"pause {name}? [y/N]")
        screen.type("n")
        screen.shows("? keys")
        assert paused() == {b"none"}
        screen.type("py")
        screen.shows(f"{name}: paused in input and output")
        assert paused() == {b"all"}
        screen.until(lambda: screen.chosen.endswith(" all"))
        screen.type("py")
        screen.shows(f"{name}: not paused")
        assert paused() == {b"none"}
        screen.until(lambda: not screen.chosen.endswith(" all"))


def test_a_node_that_goes_and_comes_back():
    """The last figures stay, with what is the matter in a line; keys are answered meanwhile."""
    with NodeProcess() as node:
        with Client(node.address) as client:
            client.add_job("mail", "x")
        with on_screen([node.address], *OFTEN) as screen:
            screen.shows("mail")
            node.kill()
            screen.shows("no node answered", "1 node, 1 failed")
            assert screen.chosen.startswith("mail")
            screen.type("p")
            screen.shows("pause mail?")
            screen.type("y")
            screen.shows("no node answered", "mail: done on 0 of 0 nodes")
            screen.type("n")
            screen.shows("no answer", "refused")
            screen.type("n")
            node.start()
            screen.until(lambda: "no node answered" not in screen.text)
            screen.shows("no queues")
            with Client(node.address) as client:
                client.add_job("after", "x")
            screen.shows("after")


def test_what_is_not_known_is_not_said_to_be_none():
    """Looking into a queue or a job when no node answers says just that."""
    with NodeProcess() as node, Client(node.address) as client:
        client.add_job("mail", "x")
        with on_screen([node.address], "top", "--interval", "60") as screen:
            screen.until(lambda: screen.chosen.startswith("mail"))
            screen.type("\r")
            screen.until(lambda: screen.chosen.startswith("D-"))
            node.kill()
            screen.type("\r")
            screen.shows("no node answered", "looking for it")
            screen.type("\x1b")
            screen.shows("no node answered", "[queued]", "D-")
            screen.type("\t")
            screen.shows("no node answered", "looking for jobs")


def test_one_node_of_several_goes():
    """The others are still asked, and it is said that one failed."""
    with ExitStack() as stack:
        url = stack.enter_context(valkey()).url
        first, second = (stack.enter_context(NodeProcess("--store", url)) for _ in range(2))
        client = stack.enter_context(Client(second.address))
        client.add_job("mail", "x")
        screen = stack.enter_context(on_screen([first.address], *OFTEN))
        screen.shows("2 nodes  1 queue", "mail")
        first.kill()
        screen.shows("2 nodes, 1 failed")
        client.add_job("images", "x")
        screen.shows("images")
        first.start()
        screen.until(lambda: "failed" not in screen.text)


def test_what_is_frozen_does_not_move():
    """Nothing new is seen while it is frozen, and all at once when it is not any more."""
    with Server() as node, Client(node.address) as client:
        client.add_job("mail", "x")
        with (
            on_screen([node.address], *OFTEN) as screen,
            on_screen([node.address], *OFTEN) as other,
        ):
            screen.shows("mail")
            other.shows("mail")
            screen.type(" ")
            screen.shows("frozen")
            for name in ("perhaps", "images"):  # a look may have been under way for the first
                client.add_job(name, "x")
                other.shows(name)
            screen.type("s")
            screen.shows("sorted by in")
            assert "images" not in screen.text
            screen.type(" ")
            screen.shows("images")


def test_only_what_is_opened_is_asked_for_while_frozen():
    """Nothing is asked when it freezes, nor on coming back; a queue and a job that are opened are
    asked for, once."""
    with Server() as node, Client(node.address) as client:
        client.add_jobs("mail", ["x"] * 2)

        def asked() -> int:
            return int(client.info()["total_commands_processed"])

        with on_screen([node.address], "top", "--interval", "60") as screen:
            screen.until(lambda: screen.chosen.startswith("mail") and screen.chosen[-1] == "s")
            before = asked()
            screen.type(" ?\x1b")
            screen.shows("frozen", "sorted by")
            screen.type("s")
            screen.shows("sorted by in")
            assert asked() == before + 1
            screen.type("\r")
            screen.until(lambda: screen.chosen.startswith("D-"))
            client.add_job("mail", "new")
            screen.type("\r")
            screen.shows("state        queued")
            before = asked()
            screen.type("?\x1b")
            screen.shows("state        queued")
            screen.type("\x1b")
            screen.until(lambda: screen.chosen.startswith("D-"))
            assert "new" not in screen.text
            assert asked() == before + 1


@pytest.fixture
def busy() -> Iterator[str]:
    """A node with some queues, by its address."""
    with Server() as node, Client(node.address) as client:
        for at in range(50):
            client.add_jobs(f"queue-{at:02}", ["x"] * (50 - at))
        yield node.address


def test_a_window_of_another_size(busy):
    """The whole of it is used at once, without a key."""
    with on_screen([busy], "top", "--interval", "60", width=120, height=30) as screen:
        screen.shows("queue-24", "trend")
        screen.resize(60, 12)
        screen.until(lambda: "queue-06" in screen.text and "queue-07" not in screen.text)
        assert "oldest" not in screen.text
        assert screen.lines[-1].startswith("? keys")
        screen.resize(160, 60)
        screen.shows("queue-49", "import", "trend")


def test_moving(busy):
    """Keys move over the lines, and the screen goes with them."""
    with on_screen([busy], "top", "--interval", "60") as screen:
        screen.until(lambda: screen.chosen.startswith("queue-00"))
        for keys, chosen in {
            "j\x1b[B": "02", "\x1b[6~": "21", "\x1b[F": "49", "\x1b[5~k": "29", "\x1b[H": "00",
        }.items():  # fmt: skip
            screen.type(keys)
            screen.until(lambda name=f"queue-{chosen}": screen.chosen.startswith(name))


ENDS = {"q": 0, "\x03": 0, signal.SIGTERM: -signal.SIGTERM, signal.SIGHUP: -signal.SIGHUP}


@pytest.mark.parametrize("way", ENDS, ids=repr)
def test_the_terminal_is_given_back(busy, way):
    """However it ends: its modes, the screen of before, and the cursor are as they were."""
    with on_screen([busy], *OFTEN) as screen:
        before = screen.modes
        screen.shows("queue-00")
        assert screen.modes != before
        assert screen.sent.count(b"\x1b[?1049h") == 1
        if isinstance(way, str):
            screen.type(way)
        else:
            screen.process.send_signal(way)
        screen.ends(ENDS[way])
        assert screen.modes == before
        assert screen.sent.endswith(b"\x1b[?25h\x1b[?1049l")


def test_stopping_it_and_going_on(busy):
    """Ctrl-Z gives the terminal back meanwhile."""
    with on_screen([busy], *OFTEN) as screen:
        before = screen.modes
        screen.shows("queue-00")
        screen.type("\x1a")
        until(lambda: os.waitpid(screen.process.pid, os.WUNTRACED | os.WNOHANG)[0])
        assert screen.modes == before
        screen.until(lambda: screen.sent.endswith(b"\x1b[?25h\x1b[?1049l"))
        screen.process.send_signal(signal.SIGCONT)
        screen.until(lambda: screen.sent.count(b"\x1b[?1049h") == 2)
        screen.type("s")
        screen.shows("sorted by in")
        screen.type("q")
        screen.ends(0)


def test_no_color(busy):
    """With NO_COLOR nothing is colored, and the chosen line stands out all the same."""
    with on_screen([busy], *OFTEN, NO_COLOR="1", width=160) as screen:
        screen.shows("trend")
        screen.until(lambda: screen.chosen.startswith("queue-00"))
        assert not any(cell.fg != "default" for cell in screen.cells)
    with on_screen([busy], *OFTEN, width=160) as screen:
        screen.shows("trend")
        screen.until(lambda: any(cell.fg != "default" for cell in screen.cells))


def test_nothing_of_anybody_commands_the_terminal():
    """Names and bodies are shown as what they are: sequences, wide letters, and no text at all."""
    name = b"a\x1b[2J\x9b31m\xff\xe7\x95\x8c"
    with Server() as node, Client(node.address) as client:
        client.add_job(name, b"\x1b]0;title\x07\xff\x1b[2J")
        with on_screen([node.address], *OFTEN, width=120) as screen:
            screen.until(lambda: screen.chosen.startswith("a\\x1b[2J\\x9b31m\\xff界"))
            screen.type("\r")
            screen.shows("\\x1b]0;title\\x07\\xff\\x1b[2J")
            screen.type("\r")
            screen.shows("1b 5d 30 3b")
            assert b"\x1b[2J" not in screen.sent
            assert b"\x1b]0" not in screen.sent


def test_no_node_from_the_start():
    """It is told in one plain line, and the terminal is left alone."""
    with on_screen([f"127.0.0.1:{free_port()}"], "top") as screen:
        screen.ends(3)
        assert screen.text.startswith("Error: no node answered")
        assert b"\x1b[?" not in screen.sent


# Once


@kinds
def test_a_table_for_a_pipe(server, client):
    """Without a terminal there is one table, with the rates of a moment."""
    prefix = unique("once")
    client.add_jobs(f"{prefix}-a", ["x"] * 5)
    client.add_jobs(f"{prefix}-b", ["x"] * 2)
    client.get_job([f"{prefix}-a"])
    done = run(server.addresses[:1], "top", "--filter", prefix)
    head, *rows = done.text.splitlines()
    assert head.split()[:5] == ["queue", "len", "in/s", "out/s", "active"]
    assert [row.split()[:2] for row in rows] == [[f"{prefix}-a", "4"], [f"{prefix}-b", "2"]]
    few = run(server.addresses[:1], "top", "--once", "--filter", prefix, "--limit", "1")
    assert (len(few.text.splitlines()), few.err) == (2, "and more: see --limit\n")
    told = run(server.addresses[:1], "top", "--json", "--filter", prefix, "--sort", "name")
    queues = [json.loads(line) for line in told.text.splitlines()]
    assert [(q["name"], q["len"], q["jobs_out"]) for q in queues] == [
        (f"{prefix}-a", 4, 1), (f"{prefix}-b", 2, 0),
    ]  # fmt: skip
    assert all(0 <= q["oldest"] < 60 and q["in_rate"] == 0 for q in queues)


def test_rates_once():
    """A table for a pipe has rates of now, for whoever wants the quickest too."""
    with Server() as node, Client(node.address) as client:
        client.add_job("idle", "x")
        with started([node.address], "top", "--json", "--sort", "in") as process:
            while process.poll() is None:
                client.add_jobs("mail", ["x"] * 10)
                time.sleep(0.01)
            first = json.loads(process.stdout.readline())
    assert (first["name"], first["in_rate"] > 0) == ("mail", True)


def test_a_terminal_that_can_do_nothing(busy):
    """A dumb terminal gets a table as well."""
    with on_screen([busy], "top", TERM="dumb") as screen:
        screen.ends(0)
        assert screen.lines[0].startswith("queue ") or "queue-" in screen.text
        assert b"\x1b" not in screen.sent


@pytest.mark.parametrize(
    ("options", "code"),
    [(("--sort", "bogus"), 2), (("--interval", "0"), 2), (("--limit", "0"), 2), ((), 3)],
)
def test_exit_codes(options, code):
    """They are those of the other commands."""
    assert run([f"127.0.0.1:{free_port()}"], "top", *options).code == code


def test_a_wrong_password():
    """It is told apart from a node that is not there, and what to do."""
    with Server(requirepass="right") as node:
        done = run([f"disque://:wrong@{node.address}"], "top")
        assert done.code == 3
        assert "a password goes into the address" in done.err
        assert "wrong" not in done.err.replace("--nodes disque://:PASSWORD@HOST:PORT", "")
