"""A node as a service: its settings from everywhere, its log, what it tells systemd, its limits."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pydisque.node.config.exposure import RESERVED_FILES
from support.resp_peer import Peer, error, pack
from support.servers import ask

COMMAND = [sys.executable, "-m", "pydisque", "serve", "--port", "0"]
Environ = dict[str, str]


@contextmanager
def serving(
    *args: str, environ: Environ | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A node as a process, and where it listens; killed if it still runs in the end."""
    with subprocess.Popen(
        [*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | (environ or {})
    ) as process:  # fmt: skip
        try:
            said = process.stdout.readline()
            yield said.removeprefix("listening on ").strip(), process
        finally:
            process.kill()


def stop(process: subprocess.Popen[str]) -> str:
    """End a node in order; returns its log."""
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0
    return log


def test_settings_from_everywhere(tmp_path: Path) -> None:
    """A node starts with what flags, variables and its file say, in this order."""
    file = tmp_path / "node.toml"
    file.write_text('maxclients = 7\ntimeout = 7\nslowlog-max-len = 7\nbind = ["127.0.0.1"]\n')
    environ = {
        "PYDISQUE_CONFIG": str(file), "PYDISQUE_TIMEOUT": "8", "PYDISQUE_SLOWLOG_MAX_LEN": "8",
        "PYDISQUE_PASSWORD": "hunter2",
    }  # fmt: skip
    with serving("--slowlog-max-len", "9", environ=environ) as (address, process):
        for name, value in ((b"maxclients", b"7"), (b"timeout", b"8"), (b"slowlog-max-len", b"9")):
            assert ask(address, "CONFIG", "GET", name) == [name, value]
        log = stop(process)
    assert "WARNING PYDISQUE_PASSWORD is no setting" in log
    assert "hunter2" not in log


def test_several_addresses(tmp_path: Path) -> None:
    """A node listens on all addresses given, on one port."""
    with serving("--host", "127.0.0.1,127.0.0.2") as (said, _):
        first, second = said.split(" and ")
        assert re.fullmatch(r"127\.0\.0\.1:\d+", first)
        assert second == first.replace(".1:", ".2:")
        assert ask(first, "PING") == ask(second, "PING") == b"PONG"


@pytest.mark.parametrize(("mode", "bits"), [("660", 0o660), ("0600", 0o600)])
def test_the_mode_of_the_unix_socket(mode: str, bits: int) -> None:
    """`unixsocketperm` says who may connect."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "s")
        with serving("--unixsocket", str(path), "--unixsocketperm", mode):
            assert stat.S_IMODE(path.stat().st_mode) == bits


def test_protected_mode() -> None:
    """A node that everybody could use does not start, and says in one line what to do."""
    done = subprocess.run(
        [*COMMAND, "--bind", "0.0.0.0"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert re.match("Error: cannot serve: protected mode: .*requirepass.*tls-ca.*loop", done.stderr)


def test_a_json_log_without_payloads_or_passwords(tmp_path: Path) -> None:
    """Each line is one object, whatever clients do, and nothing they sent stands in it."""
    (tmp_path / "users").write_text('[ci]\npassword = "hunter2"\n')
    args = ("--log-json", "--users", str(tmp_path / "users"), "--log-level", "debug")
    with serving(*args, environ={"PYDISQUE_REQUIREPASS": "hunter2"}) as (address, process):
        with Peer(address) as peer:
            for words in (["AUTH", "hunter3"], ["AUTH", "ci", "hunter3"], ["AUTH", "hunter3", "x"]):
                assert error(peer.ask(*words)) == "ERR invalid password"
            assert peer.ask("HELLO", 2, "AUTH", "default", "hunter2", "SETNAME", "hunter2")
            peer.ask("CONFIG", "SET", "requirepass", "hunter4")
            for words in (["hunter3"], ["ADDJOB", "hunter3", "hunter3", "0"], ["SHOW", "hunter3"]):
                peer.ask(*words)
            peer.raw(pack("ADDJOB", "q", "hunter3", 0) + b"*1\r\n$x\r\nhunter3\r\n")
            peer.rest()
        with Peer(address) as peer:
            peer.raw(b"hunter3 'hunter3\r\n")
            peer.rest()
        log = stop(process)
    assert "hunter" not in log
    lines = [json.loads(line) for line in log.splitlines()]
    assert any("wrong password from 127.0.0.1:" in line["message"] for line in lines)
    for line in lines:
        assert set(line) == {"time", "level", "logger", "message"}
        assert line["level"] in ("debug", "info", "warning")
        age = datetime.now(UTC) - datetime.fromisoformat(line["time"])
        assert 0 <= age.total_seconds() < 100


def test_systemd_is_told() -> None:
    """When the node is ready, that it lives, and when it begins to stop."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        sock.bind(f"{folder}/notify")
        sock.settimeout(20)
        environ = {"NOTIFY_SOCKET": f"{folder}/notify", "WATCHDOG_USEC": "100000"}
        with serving(environ=environ) as (address, process):
            assert [sock.recv(99) for _ in range(3)] == [b"READY=1"] + [b"WATCHDOG=1"] * 2
            assert ask(address, "PING") == b"PONG"
            stop(process)
        while (said := sock.recv(99)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"


def test_too_few_files_for_all_clients() -> None:
    """Where the system allows fewer clients the node has fewer, says so, and serves these."""
    limit = (
        "import resource as r, runpy, sys; r.setrlimit(r.RLIMIT_NOFILE, (100, 200));"
        "runpy.run_module('pydisque', run_name='__main__')"
    )
    command = [sys.executable, "-c", limit, *COMMAND[3:]]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        address = process.stdout.readline().removeprefix("listening on ").strip()
        room = 200 - RESERVED_FILES
        assert ask(address, "CONFIG", "GET", "maxclients")[1] == b"%d" % room
        with pytest.raises(Exception, match=f"not able to handle .* try with {room}"):
            ask(address, "CONFIG", "SET", "maxclients", 1000)
        log = stop(process)
    assert f"WARNING maxclients is {room}, not 10000" in log
