"""The processes of a comparison of workers: how they start, what CPU they took, that they end.

Nothing is found or ended by name: only what was started here, and its children, by their numbers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
STOPPING = 5.0
"""Seconds a process has to end by itself."""


class FailedError(Exception):
    """A framework that did not do what it was asked; the text is for the table."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for_port(process: subprocess.Popen, port: int, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise FailedError("the server did not start")


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def cpu_seconds(pid: int) -> float:
    """Of a process and its descendants, those that have ended and been waited for included."""
    total = 0.0
    for member in family(pid):
        with contextlib.suppress(OSError):
            total += time.clock_gettime((~member << 3) | 2)  # its own clock: exact to nanoseconds
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[13]) + int(fields[14])) / TICK
    return total


def stop(process: subprocess.Popen) -> None:
    """Ask it to end, then end it and whatever it started."""
    members = family(process.pid) if process.poll() is None else []
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOPPING)
    for member in members:
        if member == process.pid and process.poll() is not None:
            continue
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    process.wait(STOPPING)


@contextlib.contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen]:
    """A process in a session of its own, so that Ctrl-C is ours to deal with, until the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            cwd=Path(__file__).parent,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process)


def finish(process: subprocess.Popen, log: Path, seconds: float, what: str) -> None:
    """Wait until a process has done its work."""
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise FailedError(f"{what}: not done after {seconds:.0f} s") from None
    if status:
        raise FailedError(f"{what}: {last_words(log)}")


def last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:120] if lines else "no word"
