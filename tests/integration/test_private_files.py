"""Whose the files of a node are: nobody else can read them, nor get in beside it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest

from pydisque.node import Server
from support.servers import ask


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Files are open to everybody, unless they are made otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_files(folder: Path) -> list[str]:
    """The files that others can read or write."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path.name for path in files if path.stat().st_mode & 0o077]


def test_journal_is_private(tmp_path: Path) -> None:
    """Files of a data directory have the mode 0600, also where the directory is open to all."""
    folder = tmp_path / "data"
    folder.mkdir(0o755)
    for _ in range(2):
        with Server(data=folder) as node:
            ask(node.address, "ADDJOB", "q", "secret", 0)
            assert {"lock", "journal.db", "journal.db-wal"} <= {p.name for p in folder.iterdir()}
            assert open_files(folder) == []
        assert open_files(folder) == []


def test_open_journal_becomes_private(tmp_path: Path) -> None:
    """A journal that others could read is private once a node has opened it."""
    with Server(data=tmp_path) as node:
        ask(node.address, "ADDJOB", "q", "secret", 0)
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    with Server(data=tmp_path) as node:
        assert ask(node.address, "QLEN", "q") == 1
        assert open_files(tmp_path) == []


def test_own_valkey_has_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has not the password in the private folder of a node's own Valkey does not get in."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = tmp_path / "pydisque" / "valkey"
    (folder / "appendonlydir").mkdir(0o755, parents=True)
    (folder / "log").touch(0o644)
    for round_ in range(2):
        with Server(store="valkey") as node:
            ask(node.address, "ADDJOB", "q", "secret", 0)
            assert ask(node.address, "QLEN", "q") == 1 + round_
            assert open_files(folder) == []
            port, password = (folder / "port").read_text().split()
            with pytest.raises(hiredis.ReplyError, match="NOAUTH"):
                ask(f"127.0.0.1:{port}", "PING")
            assert ask(f"127.0.0.1:{port}", "AUTH", password) == b"OK"
            assert not listens_elsewhere(int(port))
            assert not any(password.encode() in line for line in command_lines())


def command_lines() -> Iterator[bytes]:
    """What anybody on this machine sees of all processes."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


def listens_elsewhere(port: int) -> bool:
    """Whether a port is open on all addresses."""
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.2", port)) == 0
