"""`pydisque jobs`: the jobs that nodes have, queued or not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import chain, islice
from typing import Any

import click

from pydisque.cli.options.nodes import EXIT_CODES, errors_told, every_node, name_of, shown, to_ask
from pydisque.cli.options.parameters import AtLeast, as_json, at_most_one, maybe_queue
from pydisque.cli.output.formatting import fields_as_dict, in_a_line, print_json
from pydisque.cli.output.job_details import due
from pydisque.cli.output.progress import counted
from pydisque.cli.output.tables import Table, duration
from pydisque.client.client import Client

# Jobs asked for in a call: with their bodies, which may be long, and without.
PAGE = 100
PAGE_OF_IDS = 1000

STATES = ("queued", "active", "acked", "wait-repl")


@click.command(epilog=EXIT_CODES)
@maybe_queue
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="Only these.")
@click.option(
    "--limit", metavar="N", default=100, show_default=True, type=AtLeast(0),
    help="At most so many; 0: all.",
)  # fmt: skip
@as_json
@click.option("--ids", "only_ids", is_flag=True, help="Only the IDs.")
@to_ask
def jobs(
    queue: bytes | None,
    states: tuple[str, ...],
    limit: int,
    as_json: bool,
    only_ids: bool,
    nodes: tuple[str, ...],
) -> None:
    """List jobs, of QUEUE or of all: those queued, delivered, delayed or failed.

    They come in no order. In a cluster each node is asked, and a job comes once for each node that
    has a copy of it. A node looks at all its jobs to find those of one queue; `pydisque peek` is
    quicker.

    \b
    Examples:
      pydisque jobs
      pydisque jobs mail --state active
      pydisque jobs --limit 0 --json > all.jsonl
      pydisque jobs mail --state queued --ids --limit 0 | pydisque dequeue -
    """  # noqa: D301
    at_most_one(json=as_json, ids=only_ids)
    scan = _ids if only_ids else _infos
    with errors_told(), every_node(nodes) as clients:
        asked = {"queue": queue, "state": states or None}
        pages = chain.from_iterable(scan(client, asked) for client in clients)
        rest = _print(pages, limit or None, as_json=as_json, only_ids=only_ids)
    if rest:
        click.echo("and more: see --limit", err=True)


Page = list[tuple[str, Any]]


def _ids(client: Client, asked: dict[str, Any]) -> Iterator[Page]:
    """IDs of jobs and nothing else, page by page."""
    return _pages(client, PAGE_OF_IDS, asked)


def _infos(client: Client, asked: dict[str, Any]) -> Iterator[Page]:
    """Jobs page by page, each with the node that has it."""
    return _pages(client, PAGE, {**asked, "reply": "all"})


def _pages(client: Client, count: int, asked: dict[str, Any]) -> Iterator[Page]:
    found = client.iter_jobs(count=count, **asked)
    while page := list(islice(found, count)):
        yield [(name_of(client), job) for job in page]


def _print(pages: Iterator[Page], limit: int | None, *, as_json: bool, only_ids: bool) -> bool:
    """Print so many jobs, page by page; whether there are more."""
    table = Table(
        ("id", "queue", "state", "nacks", "redelivered", "ttl", "next", "body"),
        numbers=("nacks", "redelivered"), cut=("queue", "body"),
    )  # fmt: skip
    done = 0
    with _listed() as advance:
        for page in pages:
            some = page if limit is None else page[: limit - done]
            if only_ids:
                click.echo(b"".join(job + b"\n" for _, job in some), nl=False)
            elif as_json:
                print_json({"node": node} | fields_as_dict(info) for node, info in some)
            else:
                table.print(_row(info) for _, info in some)
            done += len(some)
            advance(len(some))
            if done == limit:
                return len(some) < len(page) or next(pages, None) is not None
    if not (done or only_ids or as_json):
        click.echo("no jobs")
    return False


def _listed() -> Any:
    """What counts jobs for people who do not see them themselves."""
    if sys.stdout.isatty():
        return nullcontext(lambda _: None)
    return counted("listed")


def _row(info: Any) -> tuple[object, ...]:
    state, queue = info.state.decode(), shown(info.queue or b"")
    life = duration(info.ttl)
    counters = info.nacks, info.additional_deliveries
    return info.id.decode(), queue, state, *counters, life, due(info), in_a_line(info.body)
