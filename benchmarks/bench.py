"""make bench [SERVERS="HOST:PORT …"]: the client's cost per call and the node's throughput.

Starts a node of its own; other servers that speak Disque's protocol are measured beside it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
import client_cost
import node_throughput
from rich.console import Console
from rich.table import Table


@contextmanager
def own_node() -> Iterator[tuple[str, int]]:
    """A node in a process of its own, as `pydisque serve` runs it."""
    command = [sys.executable, "-m", "pydisque", "serve", "--port", "0", "--data", ":memory:"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            host, _, port = process.stdout.readline().split()[-1].rpartition(":")
            yield host, int(port)
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


def show_node(
    console: Console, results: dict[str, dict[str, node_throughput.Throughput]], own: str
) -> None:
    table = Table("load", "node", "jobs/s", "CPU µs/job", "ours ÷ this", title="Node")
    for load, by_target in results.items():
        for name, result in by_target.items():
            ratio = f"{by_target[own].rate / result.rate:.2f}" if name != own else ""
            table.add_row(load, name, f"{result.rate:,.0f}", f"{result.cpu:.1f}", ratio)
    console.print(table)


@click.command()
@click.argument("servers", nargs=-1, metavar="[HOST:PORT]...")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--calls", default=3000, show_default=True, help="of each client in a round")
@click.option("--jobs", default=50_000, show_default=True, help="for each node in a round")
def main(servers: tuple[str, ...], rounds: int, calls: int, jobs: int) -> None:
    """Measure the client, and the node beside any SERVERS given."""
    console = Console(width=100)
    own = "this node"
    with own_node() as (host, port):
        console.print(
            f"{rounds} rounds, in turn; medians. Bodies of {len(client_cost.BODY)} bytes."
        )
        targets = [node_throughput.Target(own, host, port)]
        for server in servers:
            other, _, number = server.rpartition(":")
            targets.append(node_throughput.Target(server, other or "127.0.0.1", int(number)))
        show_node(console, node_throughput.compare(targets, rounds, jobs), own)
        show_client(console, client_cost.compare(host, port, rounds, calls))


if __name__ == "__main__":
    main()
