"""Start-up and size of a node with very many jobs: add them, stop, start, drain, look at the file.

Everything runs in a folder of its own beside the one given, which is removed in the end.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import hiredis
from node_throughput import BODY, Target
from rich.console import Console
from rich.table import Table

BATCH = 1000


@contextlib.contextmanager
def node(folder: str) -> Iterator[tuple[Target, float]]:
    """A durable node on this folder, and the seconds it took until it listened."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pydisque", "serve", "--port", "0", "--data", folder]
    command += ["--loglevel", "warning", "--maxmemory", "8gb"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            host, _, port = process.stdout.readline().split()[2].rpartition(":")
            took = time.perf_counter() - started
            yield Target("node", host, int(port)), took
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def resident(target: Target) -> int:
    info = bytes(target.call("INFO", "memory")).decode()
    return int(info.partition("used_memory_rss:")[2].split()[0])


def size(folder: str) -> int:
    return sum(file.stat().st_size for file in Path(folder).iterdir())


def fill(target: Target, jobs: int) -> None:
    batch = hiredis.pack_command(("ADDJOB", "restart", BODY, 0)) * BATCH
    for _ in range(jobs // BATCH):
        target.sock.sendall(batch)
        target.receive(BATCH * len("+D-12345678-123456789012345678901234-05a1\r\n"))


def drain(target: Target) -> int:
    drained = 0
    while jobs := target.call("GETJOB", "NOHANG", "COUNT", BATCH, "FROM", "restart"):
        drained += int(target.call("ACKJOB", *[job[1] for job in jobs]))
    return drained


def settled(folder: str) -> int:
    """The size once it does not shrink any more."""
    before = 0
    while (now := size(folder)) != before:
        before = now
        time.sleep(3)
    return now


@click.command()
@click.option("--jobs", default=1_000_000, show_default=True, type=click.IntRange(BATCH))
@click.option("--folder", type=click.Path(exists=True), help="where to put the data directory")
def main(jobs: int, folder: str | None) -> None:
    """Measure how a node copes with many jobs of 100 bytes on its disk."""
    table = Table("what", "", title=f"{jobs:,} jobs of {len(BODY)} bytes")
    with tempfile.TemporaryDirectory(dir=folder) as data:
        with node(data) as (target, took):
            empty = resident(target)
            table.add_row("start, empty", f"{took:.1f} s")
            started = time.perf_counter()
            fill(target, jobs)
            table.add_row("adding", f"{jobs / (time.perf_counter() - started):,.0f} jobs/s")
            table.add_row("file, full", f"{size(data) / 2**20:.0f} MiB")
            grown = resident(target) - empty
            table.add_row("memory a job, body and all", f"{grown / jobs:.0f} bytes")
        with node(data) as (target, took):
            table.add_row("start, full", f"{took:.1f} s")
            grown = resident(target) - empty
            table.add_row("memory a job after that", f"{grown / jobs:.0f} bytes")
            started = time.perf_counter()
            drained = drain(target)
            rate = drained / (time.perf_counter() - started)
            table.add_row("GETJOB COUNT 1000 + ACKJOB", f"{rate:,.0f} jobs/s")
            table.add_row("file, drained", f"{settled(data) / 2**20:.1f} MiB")
        table.add_row("file, stopped", f"{size(data) / 2**20:.1f} MiB")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
