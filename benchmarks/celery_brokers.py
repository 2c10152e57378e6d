"""make bench-celery: Celery on our node beside Celery on Valkey, in one run, with one environment.

The same app, worker and no-op task; only the broker's URL is another. Django's tasks on our backend
are beside it. What stands for a server is as in `workers`: a new one for each measurement, ours in
memory or durable, Valkey in memory.
"""

from __future__ import annotations

import os
import sys

import click
from rich.console import Console
from worker_measures import Contender
from workers import Results, look_up, measure, server_version, table, valkey

VARIANTS = ("solo-1", "solo-1-late", "prefork-2-late", "threads-4-late")
BROKERS = (("celery", "Valkey"), ("celery_on_disque", "memory"), ("celery_on_disque", "durable"))
DJANGO = "threads-4-late"
"""The variant beside which Django's tasks are measured, as they are run in the same way."""
JOBS = 8000


def contender(variant: str, module: str, server: str) -> Contender:
    return Contender(variant, module, sys.executable, server, JOBS, variant)


@click.command()
@click.option("--only", default="", metavar="VARIANT,...", help=f"of {', '.join(VARIANTS)}")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--jobs-scale", default=1.0, show_default=True, help="shorter or longer runs")
@click.option("--latency-jobs", default=200, show_default=True, type=click.IntRange(10))
def main(only: str, rounds: int, jobs_scale: float, latency_jobs: int) -> None:
    """Compare brokers of Celery."""
    variants = [name.strip() for name in only.split(",") if name.strip()] or VARIANTS
    everyone = [Results(contender(name, *broker)) for name in variants for broker in BROKERS]
    if DJANGO in variants:
        for server in ("memory", "durable"):
            ours = contender(DJANGO, "django_on_disque", server)._replace(name="django, threads-4")
            everyone.append(Results(ours))
    server, progress = valkey(), Console(stderr=True)
    for results in everyone:
        look_up(results)
    for turn in range(rounds):
        for results in everyone:
            if not results.trouble:
                progress.print(f"round {turn + 1}: {results.label} on {results.contender.server}")
                measure(results, server, jobs_scale, latency_jobs)
    console = Console(width=150)
    console.print(table(everyone))
    for results in everyone:
        if results.trouble:
            where = f"{results.label}, {results.contender.server}"
            console.print(f"{where}: {results.trouble}", markup=False, highlight=False)
    console.print(f"Valkey {server_version(server)}, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
