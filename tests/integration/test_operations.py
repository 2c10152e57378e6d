"""What docs/operations.md and contrib/ say of nodes on Valkey is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from pydisque.cli import main
from pydisque.node import Server
from pydisque.node.config.sources import STARTABLE
from pydisque.node.store import valkey as valkey_store
from pydisque.node.store.valkey.url import parse
from support.resp_peer import Peer
from support.servers import unique, until
from support.valkeys import valkey

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
COMPOSE = ROOT / "contrib" / "compose.yaml"


def block(begin: str) -> str:
    """The block of the page that begins so."""
    return next(
        text for text in re.findall(r"^```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
        if text.startswith(begin)
    )  # fmt: skip


def rights(begin: str) -> list[str]:
    """The words of an ACL rule that the page gives."""
    return re.sub(r"\\\n", " ", block(begin)).replace("PASSWORD", "secret").split()


def work(peer: Peer, other: Peer) -> None:
    """Have a node do whatever it can do in Valkey."""
    queue, second = unique("q"), unique("r")
    ids = [peer.ask("ADDJOB", queue, "x", 0, "RETRY", 100) for _ in range(9)]
    assert peer.ask("ADDJOB", queue, "x", 0, "MAXLEN", 100, "RETRY", 0)
    assert peer.ask("ADDJOB", second, "x", 0, "DELAY", 1, "TTL", 2, "RETRY", 5)
    assert len(peer.ask("GETJOB", "COUNT", 4, "FROM", queue, second)) == 4
    peer.ask("NACK", ids[0])
    peer.ask("NACK", ids[1], "DELAY", 1)
    peer.ask("WORKING", ids[2])
    peer.ask("ENQUEUE", ids[3])
    peer.ask("DEQUEUE", ids[4])
    assert peer.ask("QLEN", queue)
    assert peer.ask("QPEEK", queue, -3)
    assert peer.ask("QSTAT", queue)
    assert peer.ask("SHOW", ids[0])
    assert peer.ask("QSCAN", "BUSYLOOP", "MINLEN", 1)[1]
    assert peer.ask("JSCAN", "BUSYLOOP", "QUEUE", queue, "REPLY", "all")[1]
    assert b"registered_jobs" in peer.ask("INFO")
    until(lambda: len(peer.ask("HELLO")) == 4)
    assert peer.ask("PAUSE", second, "in") == b"in"
    assert peer.ask("PAUSE", second, "none") == b"none"
    waited = unique("w")
    other.send("GETJOB", "FROM", waited)
    until(lambda: peer.ask("QSTAT", waited))
    peer.ask("ADDJOB", waited, "x", 0, "RETRY", 0)
    assert other.read()
    other.send("GETJOB", "TIMEOUT", 10, "FROM", waited, second)
    other.read()
    time.sleep(2.5)  # delays, TTLs and the words of nodes to each other
    assert peer.ask("ACKJOB", *ids) == 9


def test_the_rights_that_nodes_need(tmp_path):
    """A user with just the rights on the page can do all that nodes and the tools do."""
    with valkey() as server:
        assert server.ask(*rights("ACL SETUSER pydisque on")) == b"OK"
        url = f"valkey://pydisque:secret@{server.address}"
        with (
            Server(store=url) as node, Server(store=url) as fellow,
            Peer(node.address) as peer, Peer(fellow.address) as other,
        ):  # fmt: skip
            work(peer, other)
            assert server.ask("ACL", "LOG") == []
            peer.ask("ADDJOB", "left", "x", 0)
        tool = CliRunner()
        assert tool.invoke(main, ["check", url]).exit_code == 1
        [refused] = server.ask("ACL", "LOG")
        assert refused[refused.index(b"object") + 1] == b"scan"
        server.ask("ACL", "LOG", "RESET")
        server.ask(*rights("ACL SETUSER pydisque +"))
        assert tool.invoke(main, ["check", url]).exit_code == 0
        done = tool.invoke(main, ["dump", url, "-o", str(tmp_path / "jobs")])
        assert done.exit_code == 0
        with Server(store=url) as node, Peer(node.address) as peer:
            peer.ask("DEBUG", "FLUSHALL")
        assert tool.invoke(main, ["load", url, str(tmp_path / "jobs")]).exit_code == 0
        assert server.ask("ACL", "LOG") == []
        for words in (["GET", "disque"], ["CONFIG", "GET", "*"], ["KEYS", "*"], ["FLUSHALL"]):
            assert server.ask("ACL", "DRYRUN", "pydisque", *words) != b"OK"


def test_the_rights_that_functions_need():
    """Also what functions do but now and then is among the rights on the page."""
    given = " ".join([*rights("ACL SETUSER pydisque on"), *rights("ACL SETUSER pydisque +")])
    with valkey() as server:
        for text in map(Path.read_text, Path(valkey_store.__file__).parent.glob("*.lua")):
            for word in set(re.findall(r'"([A-Z]+)"', text)):
                if server.ask("COMMAND", "INFO", word) != [None]:
                    assert re.search(rf"\+{word.lower()}\b", given), word


def test_the_page_names_settings_that_exist():
    """Every option of `pydisque serve` on the page is one."""
    named = set(re.findall(r"pydisque serve[^`]*?--([a-z-]+)", PAGE))
    assert named <= set(STARTABLE)
    assert named


@pytest.mark.parametrize("name", re.findall(r"`(valkey_[a-z_]+)`", PAGE))
def test_the_fields_that_the_page_names(name):
    """INFO has the fields that the page says it has."""
    with valkey() as server, Server(store=server.url) as node, Peer(node.address) as peer:
        assert f"{name}:".encode() in peer.ask("INFO", "persistence")


def test_the_valkey_settings_are_taken():
    """The settings that the page recommends are ones that Valkey takes, and nodes start on it."""
    lines = [line.partition("#")[0].split() for line in block("maxmemory-policy").splitlines()]
    options = [word for name, *values in filter(None, lines) for word in (f"--{name}", *values)]
    with valkey(*options) as server, Server(store=server.url) as node, Peer(node.address) as peer:
        assert peer.ask("PING") == b"PONG"


def test_a_policy_that_throws_jobs_away():
    """On a Valkey that may throw jobs away no node starts, and what it says stands on the page."""
    told = "its maxmemory-policy is allkeys-lru, and has to be noeviction"
    with (
        valkey("--maxmemory-policy", "allkeys-lru") as server,
        pytest.raises(Exception, match=told),
        Server(store=server.url),
    ):
        pass
    assert told in PAGE


# contrib/compose.yaml


def test_the_compose_file():
    """It is YAML that names what is there: images, volumes, networks, services, settings."""
    compose = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    services = compose["services"]
    nodes = {name: it for name, it in services.items() if it.get("command", [""])[0] == "serve"}
    assert len(nodes) >= 2
    for service in services.values():
        assert "image" in service or service["build"]["dockerfile"] == "contrib/Dockerfile"
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose["volumes"]
        for other in service.get("depends_on", []):
            assert other in services
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"]
    for node in nodes.values():
        options = [word[2:].partition("=")[0] for word in node["command"] if word[:2] == "--"]
        assert set(options) <= set(STARTABLE)
        for name in node.get("environment", {}):
            assert name.removeprefix("PYDISQUE_").lower().replace("_", "-") in STARTABLE
    binary, *options = services["valkey"]["command"]
    assert binary == "valkey-server"
    assert options[:2] == ["--requirepass", "${VALKEY_PASSWORD:?}"]
    with valkey(*options[2:]) as server:
        assert server.ask("PING") == b"PONG"


# What is typed


def typed(page: str, command: str) -> list[str]:
    """The lines of console blocks that use a command."""
    shown = re.findall(r"^```console\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^\$ (.*)$", "\n".join(shown), re.MULTILINE)
    return [line for line in lines if f"pydisque {command} " in line]


@pytest.mark.parametrize("line", typed(PAGE, "serve"))
def test_nodes_are_started_as_shown(line):
    """Every way to start a node that the page shows is one that `pydisque serve` takes."""
    words = shlex.split(line.replace("pydisque serve", ""))
    given = dict(zip(words[::2], words[1::2], strict=True))
    for name, value in given.items():
        assert STARTABLE[name.removeprefix("--")].typed(value)
    assert parse(given["--store"]).hosts


@pytest.mark.parametrize("line", dict.fromkeys(typed(PAGE, "check") + typed(PAGE, "dump")))
def test_the_tools_are_used_as_shown(line, tmp_path):
    """The lines that check, dump and load do so, also one after the other."""
    (tmp_path / "kept").mkdir()
    with valkey() as server:
        with Server(store=server.url) as node, Peer(node.address) as peer:
            peer.ask("ADDJOB", "q", "x", 0)
        with Server(data=tmp_path / "kept") as node, Peer(node.address) as peer:
            peer.ask("ADDJOB", "r", "y", 0)
        script = line.replace("10.0.0.1:6379", server.address)
        script = script.replace("/var/lib/pydisque", str(tmp_path / "kept"))
        script = script.replace("pydisque ", f"{shlex.quote(sys.executable)} -m pydisque ")
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    if "check" in line:
        assert [row.split()[0] for row in done.stdout.splitlines()] == [
            row.split()[0] for row in block("$ pydisque check").splitlines()[1:]
        ]
    elif "load" in line:
        assert done.stdout.startswith("loaded: 1 job, 1 queue\n"), done.stdout
    else:
        assert (tmp_path / "jobs.jsonl").stat().st_size
