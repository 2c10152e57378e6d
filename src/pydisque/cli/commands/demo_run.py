"""The demonstration: a node, a producer and workers, all in one process, and a view of them.

Shows what a program using the client looks like. Everything it tells at the end is counted from
what the node answered.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from pydisque.client.client import Client
from pydisque.node import Server

QUEUE = "demo"


class Demo:
    """One run with so many jobs and workers."""

    def __init__(self, jobs: int, workers: int) -> None:
        self.jobs = jobs
        self.workers = workers
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._finished = threading.Event()

    def run(self) -> bool:
        """Run it, show it, sum it up; whether every job was done and the queue is empty."""
        console = Console()
        started = time.monotonic()
        with Server() as server:
            console.print(f"A node listens on [bold]{server.address}[/].")
            threads = [threading.Thread(target=self._produce, args=(server.address,))]
            threads += [
                threading.Thread(target=self._work, args=(server.address,))
                for _ in range(self.workers)
            ]
            for thread in threads:
                thread.start()
            self._watch(console, threads)
            with Client(server.address) as client:
                left = client.qlen(QUEUE)
                stats = client.qstat(QUEUE)
        seconds = time.monotonic() - started
        console.print(self._summary(seconds, left, 0 if stats is None else stats.jobs_out))
        return self.counts["done"] == self.jobs and left == 0

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1
            if self.counts["done"] == self.jobs:
                self._finished.set()

    def _produce(self, address: str) -> None:
        """Add the jobs: every fourth delayed by a second, every fifth to fail once."""
        with Client(address) as client:
            for number in range(self.jobs):
                delay = 1 if number % 4 == 3 else None
                task = {"number": number, "fails": number % 5 == 4}
                client.add_job(QUEUE, json.dumps(task), delay=delay, retry=10)
                self._count("added")
                if delay:
                    self._count("delayed")
                time.sleep(min(0.03, 3 / self.jobs))

    def _work(self, address: str) -> None:
        """Get, process, ack; what fails goes back and comes again."""
        with Client(address) as client:
            while not self._finished.is_set():
                for job in client.get_jobs([QUEUE], timeout=200):
                    task = json.loads(job.body)
                    if task["fails"] and not job.nacks:
                        job.nack()
                        self._count("failed")
                    else:
                        time.sleep(min(0.05, 3 / self.jobs))  # the work itself
                        job.ack()
                        self._count("done")

    def _watch(self, console: Console, threads: list[threading.Thread]) -> None:
        columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=console) as progress:
            bars = {name: progress.add_task(name, total=self.jobs) for name in ("added", "done")}
            bars["failed"] = progress.add_task("failed", total=len(range(4, self.jobs, 5)))
            while any(thread.is_alive() for thread in threads):
                for name, bar in bars.items():
                    progress.update(bar, completed=self.counts[name])
                time.sleep(0.05)
            for name, bar in bars.items():
                progress.update(bar, completed=self.counts[name])

    def _summary(self, seconds: float, left: int, jobs_out: int) -> Table:
        table = Table(title=f"{self.jobs} jobs, {self.workers} workers, {seconds:.1f} s")
        table.add_column("what happened")
        table.add_column("jobs", justify="right")
        counts = self.counts
        table.add_row("added", str(counts["added"]))
        table.add_row("  of these delayed by a second", str(counts["delayed"]))
        table.add_row("delivered to a worker", str(jobs_out))
        table.add_row("failed at first (nack), delivered again", str(counts["failed"]))
        table.add_row("done (ack)", str(counts["done"]))
        table.add_row("left in the queue", str(left))
        return table
