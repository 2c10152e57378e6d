"""make bench [SERVERS="HOST:PORT …"]: the clients' cost per call and the node's throughput.

Starts nodes of its own; other servers that speak Disque's protocol are measured beside them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import async_cost
import click
import client_cost
import node_throughput
from rich.console import Console
from rich.table import Table

KINDS = ("memory", "always", "everysec", "none")
"""What our nodes are measured as: without a journal, and with each durability."""


@contextmanager
def own_node(kind: str, folder: str) -> Iterator[node_throughput.Target]:
    """A node in a process of its own, as `pydisque serve` runs it, its jobs in this folder."""
    command = [sys.executable, "-m", "pydisque", "serve", "--port", "0", "--loglevel", "warning"]
    command += ["--maxmemory", "4gb"]
    if kind == "memory":
        command += ["--data", ":memory:"]
    else:
        command += ["--data", f"{folder}/{kind}", "--durability", kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            host, _, port = process.stdout.readline().split()[-1].rpartition(":")
            yield node_throughput.Target(kind, host, int(port))
        finally:
            process.terminate()


def show_client(console: Console, costs: dict[str, dict[str, client_cost.Cost]]) -> None:
    table = Table("operation", "client", "CPU µs", "× floor", "wall µs", title="Client, per call")
    for operation, by_name in costs.items():
        floor = by_name[client_cost.Floor.name]
        for name, cost in by_name.items():
            ratio = f"{cost.cpu / floor.cpu:.2f}"
            table.add_row(operation, name, f"{cost.cpu:.1f}", ratio, f"{cost.wall:.1f}")
    console.print(table)


def show_async(console: Console, costs: dict[str, dict[str, client_cost.Cost]]) -> None:
    table = Table("operation", "client", "CPU µs", "× ours", "wall µs", title="asyncio, per call")
    for operation, by_name in costs.items():
        ours = by_name[async_cost.Pydisque.name]
        for name, cost in by_name.items():
            ratio = f"{cost.cpu / ours.cpu:.2f}"
            table.add_row(operation, name, f"{cost.cpu:.1f}", ratio, f"{cost.wall:.1f}")
    console.print(table)


def show_node(console: Console, results: dict[str, dict[str, node_throughput.Throughput]]) -> None:
    table = Table("load", "node", "jobs/s", "CPU µs/job", "p50 ms", "p99 ms", "ours ÷ this")
    for load, by_target in results.items():
        for name, result in by_target.items():
            kind, _, other = name.partition("=")
            ratio = f"{by_target[kind].rate / result.rate:.2f}" if other else ""
            times = [f"{time:.2f}" if time else "" for time in (result.p50, result.p99)]
            table.add_row(load, name, f"{result.rate:,.0f}", f"{result.cpu:.1f}", *times, ratio)
    console.print(table)


def others(servers: tuple[str, ...]) -> Iterator[node_throughput.Target]:
    """The servers beside ours, each named by the kind of ours to compare it with."""
    for server in servers:
        kind, _, address = server.rpartition("=")
        host, _, port = address.rpartition(":")
        name = f"{kind or 'memory'}={address}"
        yield node_throughput.Target(name, host or "127.0.0.1", int(port))


@click.command()
@click.argument("servers", nargs=-1, metavar="[[KIND=]HOST:PORT]...")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--calls", default=3000, show_default=True, help="of each client in a round")
@click.option("--jobs", default=30_000, show_default=True, help="for each node in a round")
@click.option("--folder", type=click.Path(exists=True), help="where journals are put")
def main(servers: tuple[str, ...], rounds: int, calls: int, jobs: int, folder: str | None) -> None:
    """Measure the client, and our node in memory and with each durability.

    Any SERVERS are measured beside: always=127.0.0.1:7711 is compared with ours of durability
    always.
    """
    console = Console(width=110)
    with ExitStack() as stack:
        data = stack.enter_context(tempfile.TemporaryDirectory(dir=folder))
        targets = [stack.enter_context(own_node(kind, data)) for kind in KINDS]
        console.print(
            f"{rounds} rounds, in turn; medians. Bodies of {len(client_cost.BODY)} bytes."
        )
        show_node(console, node_throughput.compare([*targets, *others(servers)], rounds, jobs))
        memory = targets[0]
        show_client(console, client_cost.compare(memory.host, memory.port, rounds, calls))
        show_async(console, async_cost.compare(memory.host, memory.port, rounds, calls))


if __name__ == "__main__":
    main()
