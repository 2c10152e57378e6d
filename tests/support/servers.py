"""Servers to test against, each started and ended here: in this process, in others, by threes.

A real Disque is somebody else's program; it takes part when the environment variable below names
its binary. Every address is on loopback, every port a free one, and every process is ended by
its own number.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import hiredis
import pytest

from pydisque.node import Server

T = TypeVar("T")

DISQUE = "PYDISQUE_TEST_DISQUE_SERVER"

KINDS = ("memory", "durable", "valkey", "valkey-3", "disque", "disque-3")

SCATTERED = ("valkey-3",)
"""Kinds whose nodes are all the same, so that each command may go to any of them."""


class Deployment(NamedTuple):
    """Nodes that serve the same jobs, by their addresses; most often there is one."""

    kind: str
    addresses: list[str]


@contextmanager
def running(kind: str) -> Iterator[Deployment]:
    """A deployment of one of the `KINDS`."""
    with ExitStack() as stack:
        if kind == "memory":
            addresses = [stack.enter_context(Server()).address]
        elif kind == "durable":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            addresses = [stack.enter_context(Server(data=folder)).address]
        elif kind.startswith("valkey"):
            from support.valkeys import valkey  # noqa: PLC0415 - it needs what stands here

            url = stack.enter_context(valkey()).url
            nodes, shards = (3, 64) if kind == "valkey-3" else (1, 1)
            made = [Server(store=f"{url}?shards={shards}") for _ in range(nodes)]
            addresses = [stack.enter_context(node).address for node in made]
            until(lambda: all(len(ask(address, "HELLO")) == 2 + nodes for address in addresses))
        else:
            nodes = 3 if kind == "disque-3" else 1
            addresses = [stack.enter_context(_disque()) for _ in range(nodes)]
            _join(addresses)
        yield Deployment(kind, addresses)


def serving(*kinds: str) -> Any:
    """The fixture `server` for tests that need not run on every kind, each of which takes long."""

    @pytest.fixture(scope="session", params=kinds, name="server")
    def server(request: pytest.FixtureRequest) -> Iterator[Deployment]:
        with running(request.param) as deployment:
            yield deployment

    return server


def lacks(kind: str) -> str | None:
    """What has to be done before this kind can run, if anything."""
    if not kind.startswith("disque") or os.environ.get(DISQUE):
        return None
    return f"to run this on Disque itself, set {DISQUE} to the path of a disque-server"


def until(condition: Callable[[], T], seconds: float = 10) -> T:
    """The first true value of a condition; fails the test when it does not come in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"this did not come about within {seconds} s, the last was {value!r}")
        time.sleep(0.01)
    return value


def unique(name: str) -> str:
    """A name nobody else uses."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def ask(address: str, *words: str | bytes | int) -> Any:
    """One command on a connection of its own to exactly this node; an error reply is raised."""
    host, _, port = address.rpartition(":")
    reader = hiredis.Reader()
    with socket.create_connection((host, int(port)), 5) as sock:
        sock.sendall(hiredis.pack_command(words))
        while (reply := reader.gets()) is False:
            data = sock.recv(65536)
            if not data:
                raise ConnectionResetError(f"{address} hung up")
            reader.feed(data)
    if isinstance(reply, Exception):
        raise reply
    return reply


def answers(address: str) -> bool:
    """Whether a node serves here now."""
    try:
        return ask(address, "PING") == b"PONG"
    except OSError:
        return False


def free_port() -> int:
    """A port nobody has, nor the one 10000 above it, where Disque's nodes talk to each other.

    Below the ports the system gives away by itself, so it stays free while a node is restarted.
    """
    while True:
        port = random.randrange(11000, 22000)
        with ExitStack() as stack:
            try:
                for each in (port, port + 10000):
                    sock = stack.enter_context(closing(socket.socket()))
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind(("127.0.0.1", each))
            except OSError:
                continue
            return port


class NodeProcess:
    """Our node in a process of its own, to be killed and started again on the same port."""

    def __init__(self, *options: str, log: Path | None = None) -> None:
        """Start it with these options, without any it keeps its jobs in memory; `log` is for what
        it says."""
        self._options = options
        self._log = log
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it, unless it runs, and wait until it serves."""
        if answers(self.address):
            return
        command = [sys.executable, "-m", "pydisque", "serve", "--port", str(self.port)]
        command += self._options or ("--data", ":memory:")
        with ExitStack() as stack:
            said = stack.enter_context(self._log.open("ab")) if self._log else None
            self._process = subprocess.Popen(
                [*command, "--log-level", "warning"], stdout=subprocess.DEVNULL, stderr=said
            )
        until(lambda: self._process.poll() is not None or answers(self.address), 30)
        assert self._process.poll() is None, "the node did not start"

    @property
    def pid(self) -> int:
        """The process it is now."""
        return self._process.pid

    def signal(self, signum: int) -> None:
        """Send it a signal."""
        self._process.send_signal(signum)

    def kill(self) -> None:
        """End it at once; it can say nothing more to anybody."""
        self._process.kill()
        self._process.wait()

    def ask(self, *words: str | bytes | int) -> Any:
        """One command to this very node."""
        return ask(self.address, *words)

    def jobs(self, queue: str) -> list[bytes]:
        """The IDs of all jobs it holds of a queue, delivered or not."""
        cursor, found = self.ask("JSCAN", 0, "BUSYLOOP", "QUEUE", queue)
        while int(cursor):  # our node ends a BUSYLOOP after 10,000 jobs
            cursor, more = self.ask("JSCAN", cursor, "BUSYLOOP", "QUEUE", queue)
            found += more
        return found

    def blocked(self, queue: str) -> int:
        """How many clients wait for a queue here."""
        stat = self.ask("QSTAT", queue)
        return 0 if stat is None else stat[stat.index(b"blocked") + 1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()


@contextmanager
def _disque() -> Iterator[str]:
    """A real Disque, alone, by its address."""
    binary = os.environ[DISQUE]
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("wb") as log:
        for attempt in count(1):  # somebody else may have taken the port meanwhile
            port = free_port()
            process = subprocess.Popen(
                [binary, "--port", str(port), "--bind", "127.0.0.1"],
                cwd=folder,
                stdout=log,
                stderr=log,
            )
            try:
                address = f"127.0.0.1:{port}"
                until(lambda a=address, p=process: p.poll() is not None or answers(a))
                if process.poll() is None:
                    yield address
                    return
                assert attempt < 5, Path(folder, "log").read_text()
            finally:
                process.kill()
                process.wait()


def _join(addresses: list[str]) -> None:
    """Make nodes one cluster; on return each knows all and can place copies on all."""
    for address in addresses[1:]:
        ask(addresses[0], "CLUSTER", "MEET", *address.split(":"))
    ids = {ask(address, "CLUSTER", "MYID") for address in addresses}
    others = f"cluster_reachable_nodes:{len(addresses) - 1}\r\n".encode()

    def joined(address: str) -> bool:
        known = ask(address, "HELLO")[2:]
        fine = {node[0] for node in known if node[3] == b"1"}
        return fine == ids and others in ask(address, "CLUSTER", "INFO")

    until(lambda: all(joined(address) for address in addresses), 60)
