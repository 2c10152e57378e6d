"""What is measured of one worker process: its rate, its CPU, its latency, and its cost when idle.

A server and a worker are started anew for each measurement, so that none finds another's remains.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import worker_processes as processes
from rivals import cells
from worker_processes import FailedError

POLL = 0.005
"""Seconds between two looks at how far a worker is; the same for all, 0.2 % of a core."""
STALLED = 20.0
"""Seconds without progress after which a worker is given up."""
PRODUCING = 120.0
"""Seconds a producer may take."""
IDLE = 10.0
"""Seconds an idle worker is watched."""


class Contender(NamedTuple):
    """A framework with its settings; `jobs` is how many it may do in about five seconds."""

    name: str
    module: str
    python: str
    server: str
    jobs: int
    variant: str = ""


class Rate(NamedTuple):
    """Jobs a second, and microseconds of CPU per job of the worker and of the server."""

    jobs: int
    rate: float
    worker_cpu: float
    server_cpu: float


class Idle(NamedTuple):
    """Milliseconds from before enqueueing to the job's start, and CPU seconds per idle minute."""

    p50: float
    p99: float
    worker_cpu: float
    server_cpu: float


class Site:
    """One contender on a server of its own, with a folder for its files."""

    def __init__(self, contender: Contender, port: int, server: int, folder: Path) -> None:
        self.contender = contender
        self.server = server
        self.folder = folder
        self._environment = {
            "BENCH_PORT": str(port),
            "BENCH_VARIANT": contender.variant,
            "BENCH_CELLS": str(folder / "cells"),
            "BENCH_SENT": str(folder / "sent"),
            "PYTHONPATH": str(Path(__file__).parent),
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, what: str, *args: str) -> contextlib.AbstractContextManager[subprocess.Popen]:
        command = [self.contender.python, "-m", "rivals.run", self.contender.module, what, *args]
        return processes.running(command, self.log(what), **self._environment)

    def log(self, what: str) -> Path:
        return self.folder / f"{what}.log"

    def produce(self, what: str, count: int) -> None:
        with self.run(what, str(count)) as process:
            processes.finish(process, self.log(what), PRODUCING, what)


def server_command(kind: str, port: int, folder: Path, valkey: str) -> list[str]:
    if kind == "Valkey":
        where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
        return [valkey, *where, "--save", "", "--appendonly", "no"]
    data = ":memory:" if kind == "memory" else str(folder / "data")
    options = ["--maxmemory", "4gb", "--loglevel", "warning"]
    return [
        sys.executable,
        "-m",
        "pydisque",
        "serve",
        "--port",
        str(port),
        "--data",
        data,
        *options,
    ]


@contextlib.contextmanager
def site(contender: Contender, valkey: str) -> Iterator[Site]:
    """The contender's kind of server, new and empty."""
    with tempfile.TemporaryDirectory(prefix="bench-workers-") as name:
        folder, port = Path(name), processes.free_port()
        command = server_command(contender.server, port, folder, valkey)
        with processes.running(command, folder / "server.log") as server:
            processes.wait_for_port(server, port)
            yield Site(contender, port, server.pid, folder)


def wait_for_first(worker: subprocess.Popen, place: Site, starts: memoryview) -> None:
    deadline = time.monotonic() + STALLED
    while not any(starts[:100]):
        if worker.poll() is not None or time.monotonic() > deadline:
            raise FailedError(f"no job done: {processes.last_words(place.log('work'))}")
        time.sleep(POLL)


def wait_for_rest(place: Site, starts: memoryview) -> None:
    """Until every job was started; they come about in order."""
    done, moved = 0, time.monotonic()
    while done < len(starts):
        if starts[done]:
            done, moved = done + 1, 0.0
            continue
        moved = moved or time.monotonic()
        if time.monotonic() - moved > STALLED:
            raise FailedError(f"stuck after {done} jobs: {processes.last_words(place.log('work'))}")
        time.sleep(POLL)


def measure_rate(contender: Contender, valkey: str, jobs: int) -> Rate:
    """Jobs that are all there when the worker starts, from the first one's start to the last's."""
    with site(contender, valkey) as place:
        starts = cells.create(place.folder / "cells", jobs)
        place.produce("fill", jobs)
        with place.run("work") as worker:
            wait_for_first(worker, place, starts)
            before = processes.cpu_seconds(worker.pid), processes.cpu_seconds(place.server)
            counted = jobs - sum(map(bool, starts))
            wait_for_rest(place, starts)
            after = processes.cpu_seconds(worker.pid), processes.cpu_seconds(place.server)
        spent = [(b - a) / max(counted, 1) * 1e6 for a, b in zip(before, after, strict=True)]
        seconds = (max(starts) - min(starts)) / 1e9
        return Rate(jobs, jobs / seconds, *spent)


def measure_idle(contender: Contender, valkey: str, jobs: int) -> Idle:
    """One job now and then, and then none."""
    with site(contender, valkey) as place:
        starts = cells.create(place.folder / "cells", jobs + 1)
        sent = cells.create(place.folder / "sent", jobs + 1)
        with place.run("work") as worker:
            place.produce("trickle", jobs + 1)
            wait_for_rest(place, starts)
            time.sleep(1)
            before = processes.cpu_seconds(worker.pid), processes.cpu_seconds(place.server)
            time.sleep(IDLE)
            after = processes.cpu_seconds(worker.pid), processes.cpu_seconds(place.server)
        delays = sorted((b - a) / 1e6 for a, b in zip(sent[1:], starts[1:], strict=True))
        spent = [(b - a) * 60 / IDLE for a, b in zip(before, after, strict=True)]
        return Idle(delays[jobs // 2], delays[jobs * 99 // 100], *spent)
