"""What a service tells systemd, at a socket that pretends to be it."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import uuid
from collections.abc import Iterator

import pytest

from pydisque.service import systemd


@pytest.fixture(params=["path", "abstract"])
def told(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """A socket to be told at, by a path or without a file."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        name = f"{folder}/notify" if request.param == "path" else f"@{uuid.uuid4().hex}"
        sock.bind(name.replace("@", "\0"))
        sock.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        yield sock


async def test_ready_and_stopping(told: socket.socket) -> None:
    """One datagram for each."""
    systemd.ready()
    systemd.stopping()
    assert [told.recv(99), told.recv(99)] == [b"READY=1", b"STOPPING=1"]


async def test_the_watchdog_is_fed(told: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice in each period, as long as the loop goes round."""
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    systemd.ready()
    said = [await asyncio.to_thread(told.recv, 99) for _ in range(4)]
    assert said == [b"READY=1", *[b"WATCHDOG=1"] * 3]


async def test_another_process_watchdog(
    told: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watchdog that waits for another process is not fed."""
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    systemd.ready()
    systemd.stopping()
    assert [told.recv(99), told.recv(99)] == [b"READY=1", b"STOPPING=1"]


@pytest.mark.parametrize("path", ["", "/nowhere/at/all"])
def test_nobody_to_tell(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Without systemd, or when it does not listen, nothing happens."""
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    systemd.notify("READY=1")
