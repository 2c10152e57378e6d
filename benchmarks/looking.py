"""What it costs to look at a large system: time until something is seen, and work of the node.

A node in memory, in a process of its own, is filled; then each command is run a few times.
"""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
import hiredis
from node_throughput import BODY, Target
from rich.console import Console
from rich.table import Table

PYDISQUE = [sys.executable, "-m", "pydisque"]
BATCH = 1000
LOOKS = 10
INTERVAL = 2.0


class Cost(NamedTuple):
    """What one run took, or one look."""

    seconds: float
    commands: float
    node_ms: float
    own_ms: float


@contextmanager
def node() -> Iterator[tuple[Target, int]]:
    """A node in memory, with its process."""
    command = [*PYDISQUE, "serve", "--port", "0", "--data", ":memory:", "--maxmemory", "8gb"]
    with subprocess.Popen(
        [*command, "--loglevel", "warning"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            host, _, port = process.stdout.readline().split()[2].rpartition(":")
            yield Target("node", host, int(port)), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def fill(target: Target, queues: int, jobs: int) -> None:
    reply = len("+D-12345678-123456789012345678901234-05a1\r\n")
    for start in range(0, jobs, BATCH):
        names = (f"queue-{at % queues}" for at in range(start, start + BATCH))
        target.sock.sendall(
            b"".join(hiredis.pack_command(("ADDJOB", name, BODY, 0)) for name in names)
        )
        target.receive(BATCH * reply)


def commands_of(target: Target) -> int:
    """How many the node has carried out before this one."""
    info = bytes(target.call("INFO", "stats")).decode()
    return int(info.partition("total_commands_processed:")[2].split()[0])


def cpu_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def children_ms() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000


def measured(target: Target, pid: int, run: Callable[[], float]) -> Cost:
    commands, busy, own = commands_of(target), cpu_ms(pid), children_ms()
    seconds = run()
    asked = commands_of(target) - commands - 1  # the question counts as well
    return Cost(seconds, asked, cpu_ms(pid) - busy, children_ms() - own)


def once(nodes: dict[str, str], *args: str) -> float:
    """Seconds that a command takes from its start to its end."""
    started = time.perf_counter()
    subprocess.run([*PYDISQUE, *args], env=nodes, capture_output=True, check=True)
    return time.perf_counter() - started


@contextmanager
def live(nodes: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The live view, on a terminal of its own."""
    outer, inner = pty.openpty()
    fcntl.ioctl(outer, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    command = [*PYDISQUE, "top", "--interval", str(INTERVAL)]
    with subprocess.Popen(command, env=nodes, stdin=inner, stdout=inner, stderr=inner) as process:
        try:
            yield process, outer
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
            os.close(outer)
            os.close(inner)


def painted(nodes: dict[str, str], text: str) -> float:
    """Seconds until the live view shows this."""
    started = time.perf_counter()
    with live(nodes) as (_, outer):
        seen = b""
        while text.encode() not in seen:
            seen += os.read(outer, 65536)
        return time.perf_counter() - started


def looks(nodes: dict[str, str], target: Target, pid: int) -> Cost:
    """What one look of the live view costs, once it runs."""
    with live(nodes) as (process, outer):
        reader = os.fdopen(os.dup(outer), "rb", buffering=0)
        os.set_blocking(reader.fileno(), False)
        drained(reader, 2 * INTERVAL)
        commands, busy, own = commands_of(target), cpu_ms(pid), cpu_ms(process.pid)
        drained(reader, LOOKS * INTERVAL)
        asked = commands_of(target) - commands - 1
        spent = cpu_ms(pid) - busy, cpu_ms(process.pid) - own
        return Cost(INTERVAL, asked / LOOKS, *(each / LOOKS for each in spent))


def drained(reader: object, seconds: float) -> None:
    """Read what is drawn for so long."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        reader.read(1 << 20)
        time.sleep(0.05)


def median(costs: list[Cost]) -> Cost:
    return Cost(*map(statistics.median, zip(*costs, strict=True)))


@click.command()
@click.option("--queues", default=10_000, show_default=True, type=click.IntRange(1))
@click.option("--jobs", default=1_000_000, show_default=True, type=click.IntRange(BATCH))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
def main(queues: int, jobs: int, rounds: int) -> None:
    """Measure what it costs to look at a node with many queues and jobs."""
    title = f"{jobs:,} jobs of {len(BODY)} bytes in {queues:,} queues"
    table = Table("what", "seconds", "commands", "node's CPU ms", "own CPU ms", title=title)
    with node() as (target, pid):
        fill(target, queues, jobs)
        nodes = os.environ | {"DISQUE_NODES": f"{target.host}:{target.port}", "TERM": "xterm"}
        for name, run in {
            "top, until something is seen": lambda: painted(nodes, "queue-"),
            "top, until all is seen": lambda: painted(nodes, f"{jobs} jobs queued"),
            "top --once": lambda: once(nodes, "top", "--once"),
            "queues": lambda: once(nodes, "queues"),
            "stats": lambda: once(nodes, "stats"),
        }.items():
            cost = median([measured(target, pid, run) for _ in range(rounds)])
            table.add_row(name, f"{cost.seconds:.2f}", *(f"{each:,.0f}" for each in cost[1:]))
        cost = looks(nodes, target, pid)
        seconds = f"every {cost.seconds:.0f}"
        table.add_row("top, a look", seconds, *(f"{each:,.0f}" for each in cost[1:]))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
