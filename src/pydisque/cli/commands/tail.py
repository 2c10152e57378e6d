"""`pydisque tail`: jobs of a queue as they come, none of which is taken."""

from __future__ import annotations

import time
from collections import deque

import click

from pydisque.cli.options.nodes import EXIT_CODES, errors_told, every_node, number, to_ask
from pydisque.cli.options.parameters import Seconds, as_json, at_most_one, queue, raw
from pydisque.cli.output.formatting import body_as_dict, in_a_line, print_json, print_raw
from pydisque.cli.output.tables import Table
from pydisque.client.client import Client
from pydisque.protocol.replies import Job

# Jobs looked at in one go, and IDs remembered so that no job is told twice.
PAGE = 1000
REMEMBERED = 10_000


@click.command(epilog=EXIT_CODES)
@queue
@click.option(
    "-n", "--lines", "before", metavar="N", default=10, show_default=True,
    type=click.IntRange(0, 10_000), help="So many of those that are queued already.",
)  # fmt: skip
@click.option(
    "--interval", metavar="S", default=0.5, show_default=True, type=Seconds(0.01),
    help="Seconds between two looks.",
)  # fmt: skip
@as_json
@raw
@to_ask
def tail(
    queue: bytes,
    before: int,
    interval: float,
    as_json: bool,
    raw: bool,
    nodes: tuple[str, ...],
) -> None:
    """Show jobs as they are queued in QUEUE, until Ctrl-C. None is taken.

    A job that is taken by a worker between two looks is not seen; how many were missed is told in
    between, and how many came at once beyond a thousand. The queue need not be there yet.

    \b
    Examples:
      pydisque tail mail
      pydisque tail mail -n 0 --interval 0.1 --json
      pydisque tail mail:dead --raw
    """  # noqa: D301
    at_most_one(json=as_json, raw=raw)
    seen = 0
    table = Table(("id", "body"), cut=("body",))
    try:
        with errors_told(), every_node(nodes, whole=False) as clients:
            watches = [_Watch(client, queue, before) for client in clients]
            while True:
                for watch in watches:
                    jobs = watch.look()
                    seen += len(jobs)
                    _print(table, jobs, as_json=as_json, raw=raw)
                time.sleep(interval)
    except KeyboardInterrupt:
        click.echo(f"seen: {number(seen, 'job')}", err=True)


def _print(table: Table, jobs: list[Job], *, as_json: bool, raw: bool) -> None:
    if not jobs:
        return
    if as_json:
        print_json({"id": job.id.decode()} | body_as_dict(job.body) for job in jobs)
    elif raw:
        print_raw(job.body for job in jobs)
    else:
        table.print((job.id.decode(), in_a_line(job.body)) for job in jobs)


class _Watch:
    """One node's part of a queue, looked at again and again."""

    def __init__(self, client: Client, queue: bytes, before: int) -> None:
        self._client = client
        self._queue = queue
        self._jobs_in: int | None = None
        self._before = before
        self._told: deque[bytes] = deque(maxlen=REMEMBERED)

    def look(self) -> list[Job]:
        """The jobs that are new, the oldest first."""
        stats = self._client.qstat(self._queue)
        jobs_in = 0 if stats is None else stats.jobs_in
        first, came = self._jobs_in is None, jobs_in - (self._jobs_in or 0)
        if came < 0:  # it was removed when it was idle, and made again
            came = jobs_in
        self._jobs_in = jobs_in
        if first:
            return self._fresh(self._before)
        looked_for = min(came, PAGE)
        fresh = self._fresh(looked_for)
        for missed, why in (
            (came - looked_for, "so many came at once"),
            (looked_for - len(fresh), "they came again or are gone already"),
        ):
            if missed:
                click.echo(f"not shown, as {why}: {number(missed, 'job')}", err=True)
        return fresh

    def _fresh(self, count: int) -> list[Job]:
        if not count:
            return []
        known = set(self._told)
        newest = self._client.qpeek(self._queue, -count)
        jobs = [job for job in reversed(newest) if job.id not in known]
        self._told.extend(job.id for job in jobs)
        return jobs
