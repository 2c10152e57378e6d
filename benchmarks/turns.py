"""make bench-turns: an honest client's PING beside one hostile connection, of each kind in turn.

The hostile client is a process of its own; it sends as fast as the node takes it. The exit code is
1 when a median exceeds `ALLOWED`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import click
import hiredis
from rich.console import Console
from rich.table import Table

ALLOWED = 0.050
"""Seconds that half of the honest PINGs may take beside any hostile client."""
PASSWORD = b"honest"
PATIENCE = 30


def pack(*words: bytes) -> bytes:
    return hiredis.pack_command(words)


class Hostility(NamedTuple):
    """What a hostile client sends, again and again; `begins` is sent once per connection."""

    sends: bytes
    logs_in: bool = False
    reads: bool = True
    begins: bytes = b""
    reconnects: bool = False


ID = b"D-%08x-%024d-05a1"
IDS = [ID % (number, number) for number in range(100_000)]
JOBS = [b"%d" % number for number in range(200)]
LARGE = b"x" * 1_000_000

KINDS = {
    "nobody": Hostility(b""),
    "blank lines": Hostility(b"\r\n" * 100_000),
    "lines of one letter": Hostility(b"p\n" * 100_000),
    "empty arrays": Hostility(b"*0\r\n" * 100_000),
    "unknown commands": Hostility(pack(b"NOTHING", b"x") * 10_000),
    "commands before the login": Hostility(pack(b"PING") * 10_000),
    "wrong passwords": Hostility(pack(b"AUTH", b"wrong") * 10_000),
    "wrong HELLO": Hostility(pack(b"HELLO", b"3", b"AUTH", b"default", b"x") * 10_000),
    "lines of quoted words": Hostility(b'"a" ' * 16_000 + b"\n"),
    "lines of bare words": Hostility(b"a " * 32_000 + b"\n"),
    "connections": Hostility(b"", reconnects=True),
    "connections over HTTP": Hostility(b"GET / HTTP/1.1\r\n", reconnects=True),
    "a million arguments": Hostility(b"*1048576\r\n" + b"$1\r\na\r\n" * 1048576, logs_in=True),
    "a million job IDs": Hostility(b"*1000001\r\n" + pack(b"ACKJOB", *IDS * 10)[11:], logs_in=True),
    "names of a million commands": Hostility(
        b"*1000002\r\n" + pack(b"COMMAND", b"INFO", *[b"ping"] * 10)[5:]
        + pack(*[b"ping"] * 10)[5:] * 99_999, logs_in=True,
    ),
    "10,000 queues": Hostility(pack(b"GETJOB", b"NOHANG", b"FROM", *IDS[:10_000]), logs_in=True),
    "PING": Hostility(pack(b"PING") * 10_000, logs_in=True),
    "an argument without end": Hostility(
        LARGE, logs_in=True, begins=b"*2\r\n$4\r\nPING\r\n$500000000\r\n"
    ),
    "large jobs": Hostility(
        pack(b"ADDJOB", b"large", LARGE, b"0", b"MAXLEN", b"20"), logs_in=True
    ),
    "small jobs": Hostility(
        pack(b"ADDJOB", b"small", b"x" * 100, b"0", b"TTL", b"1", b"RETRY", b"0") * 1000,
        logs_in=True,
    ),
    "QPEEK": Hostility(pack(b"QPEEK", b"jobs", b"200") * 100, logs_in=True),
    "QPEEK, nothing read": Hostility(
        pack(b"QPEEK", b"jobs", b"200") * 100, logs_in=True, reads=False
    ),
    "GETJOB": Hostility(pack(b"GETJOB", b"NOHANG", b"FROM", b"nothing") * 1000, logs_in=True),
    "behind a blocked GETJOB": Hostility(
        pack(b"PING") * 10_000, logs_in=True, begins=pack(b"GETJOB", b"FROM", b"nothing")
    ),
    "SHOW": Hostility(pack(b"SHOW", IDS[0]) * 10_000, logs_in=True),
    "INFO": Hostility(pack(b"INFO") * 1000, logs_in=True),
    "HELLO": Hostility(pack(b"HELLO") * 10_000, logs_in=True),
    "COMMAND DOCS": Hostility(pack(b"COMMAND", b"DOCS") * 1000, logs_in=True),
    "JSCAN": Hostility(pack(b"JSCAN", b"0", b"COUNT", b"1000") * 100, logs_in=True),
    "QSCAN": Hostility(pack(b"QSCAN", b"0", b"COUNT", b"1000") * 100, logs_in=True),
}  # fmt: skip


# The hostile client


def be_hostile(port: int, hostility: Hostility) -> None:
    """Send for ever, and connect again whenever the node hangs up."""
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as sock:
            if hostility.logs_in:
                sock.sendall(pack(b"AUTH", PASSWORD))
            sock.sendall(hostility.begins + (hostility.sends if hostility.reconnects else b""))
            sock.setblocking(False)
            while not hostility.reconnects:
                flood(sock, hostility)


def flood(sock: socket.socket, hostility: Hostility) -> None:
    """Send once, and read meanwhile what comes."""
    rest = memoryview(hostility.sends)
    while rest:
        readers = [sock] if hostility.reads else []
        readable, writable, _ = select.select(readers, [sock], [])
        if readable and not sock.recv(1 << 20):
            raise ConnectionResetError
        if writable:
            rest = rest[sock.send(rest[: 1 << 20]) :]


@contextmanager
def beside(port: int, hostility: Hostility) -> Iterator[None]:
    """A hostile client at work."""
    process = multiprocessing.get_context("fork").Process(target=be_hostile, args=(port, hostility))
    if hostility.sends or hostility.reconnects:
        process.start()
        time.sleep(0.5)
    try:
        yield
    finally:
        if process.pid:
            process.kill()
            process.join()


# The honest one


class Honest:
    """A client that logs in and sends one PING after the other."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._reader = hiredis.Reader()
        self.call(b"AUTH", PASSWORD)

    def call(self, *words: bytes) -> object:
        self.sock.sendall(pack(*words))
        while (reply := self._reader.gets()) is False:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError
            self._reader.feed(data)
        return reply


class Times(NamedTuple):
    """Seconds until an honest client was in, and that its PINGs took."""

    login: float
    pings: list[float]


def measure(port: int, seconds: float) -> Times:
    begun = time.perf_counter()
    client = Honest(port)
    login = time.perf_counter() - begun
    pings: list[float] = []
    with client.sock:
        while not pings or time.perf_counter() < begun + seconds:
            before = time.perf_counter()
            client.call(b"PING")
            pings.append(time.perf_counter() - before)
            time.sleep(0.001)
    return Times(login, pings)


@contextmanager
def node(store: str) -> Iterator[int]:
    """A node with a password, in a process of its own, and its port."""
    with ExitStack() as stack:
        command = [sys.executable, "-m", "pydisque", "serve", "--port", "0"]
        command += ["--loglevel", "warning"]
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        if store == "valkey":
            command += ["--store", stack.enter_context(valkey())]
        else:
            command += ["--data", ":memory:" if store == "memory" else folder]
        log = stack.enter_context(Path(folder, "log").open("w"))
        environ = os.environ | {"PYDISQUE_REQUIREPASS": PASSWORD.decode()}
        process = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environ)
        )
        try:
            yield int(process.stdout.readline().split()[2].rpartition(":")[2])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@contextmanager
def valkey() -> Iterator[str]:
    """The URL of a Valkey without replicas."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.valkeys import valkey as server  # noqa: PLC0415 - it needs pytest

    with server() as running:
        yield running.url


@click.command()
@click.option("--store", type=click.Choice(["memory", "durable", "valkey"]), multiple=True)
@click.option("--seconds", default=3.0, show_default=True, help="for each kind")
@click.option("--only", default="", help="Kinds, commas between them.")
def main(store: tuple[str, ...], seconds: float, only: str) -> None:
    """Measure the PING of an honest client beside one hostile one, on all stores or some."""
    console = Console(width=110)
    slow = []
    for kept in store or ("memory", "durable", "valkey"):
        table = Table("hostile client", "login ms", "median ms", "p99 ms", "max ms", title=kept)
        with node(kept) as port:
            honest = Honest(port)
            for _ in JOBS:
                honest.call(b"ADDJOB", b"jobs", b"x" * 10_000, b"0")
            for name in only.split(",") if only else KINDS:
                with beside(port, KINDS[name]):
                    times = measure(port, seconds)
                figures = [times.login, median(times.pings), p99(times.pings), max(times.pings)]
                table.add_row(name, *(f"{figure * 1000:.1f}" for figure in figures))
                if figures[1] > ALLOWED:
                    slow.append(f"{name} on {kept}")
        console.print(table)
    if slow:
        console.print(f"medians of more than {ALLOWED * 1000:.0f} ms: {', '.join(slow)}")
        sys.exit(1)


def p99(times: list[float]) -> float:
    return quantiles(times, n=100)[98] if len(times) > 1 else times[0]


if __name__ == "__main__":
    main()
