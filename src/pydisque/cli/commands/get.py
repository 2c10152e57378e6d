"""`pydisque get`, `peek` and `show`: jobs and their bodies."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import click

from pydisque.cli.options.nodes import EXIT_CODES, be_known, errors_told, every_node, shown, to_ask
from pydisque.cli.options.parameters import (
    Seconds,
    as_json,
    at_most_one,
    batches_of_ids,
    milliseconds,
    queue,
    queues,
    raw,
)
from pydisque.cli.options.parameters import ids as ids_argument
from pydisque.cli.options.stdin import Value
from pydisque.cli.output.formatting import (
    body_as_dict,
    fields_as_dict,
    in_a_line,
    opened,
    print_json,
    print_raw,
    print_sections,
    sections_of,
    text_or_base64,
)
from pydisque.cli.output.job_details import facts
from pydisque.cli.output.progress import Complaints
from pydisque.cli.output.tables import Table, print_pairs
from pydisque.client.client import Client, ReceivedJob
from pydisque.protocol.replies import Job, JobInfo, believed

# Milliseconds in which jobs come from one node of a cluster to another.
MOMENT = 500


# get


@click.command(epilog=EXIT_CODES)
@queues
@click.option(
    "--count", metavar="N", default=1, show_default=True, type=click.IntRange(1, 10_000),
    help="At most so many.",
)  # fmt: skip
@click.option(
    "--timeout", metavar="S", type=Seconds(),
    help="Seconds to wait for a job; 0: for ever.  [default: do not wait]",
)  # fmt: skip
@click.option("--ack", is_flag=True, help="Acknowledge them once they are written.")
@as_json
@raw
@to_ask
def get(
    queues: tuple[bytes, ...],
    count: int,
    timeout: float | None,
    ack: bool,
    as_json: bool,
    raw: bool,
    nodes: tuple[str, ...],
) -> None:
    """Take jobs from queues.

    They are yours then: `pydisque ack` says that they are done, `pydisque nack` that they failed.
    Without either they come again after their RETRY. Jobs that could not be written are put back.

    With several queues one job is taken from each in turn. When there is none, nothing is written
    and the exit code is 1.

    \b
    Examples:
      pydisque get mail
      pydisque get urgent mail --count 10 --timeout 30 --json
      pydisque get mail --raw --ack | process-one
      while pydisque get mail --timeout 0 --raw --ack; do :; done
    """  # noqa: D301
    at_most_one(json=as_json, raw=raw)
    with errors_told(), every_node(nodes, whole=False) as clients:
        for client, wait in _looks(clients, timeout):
            if jobs := client.get_jobs(queues, count=count, **wait):
                _hand_over(client, jobs, ack=ack, as_json=as_json, raw=raw)
                return
    raise click.exceptions.Exit(1)


def _looks(clients: list[Client], timeout: float | None) -> Iterator[tuple[Client, dict[str, Any]]]:
    """Whom to ask for jobs, and how, until there are any."""
    if timeout is None:
        yield from ((client, {"nohang": True}) for client in clients)
    if timeout is not None or len(clients) > 1:
        # A node that is waited on gets jobs from the others; perhaps they are on their way to it.
        yield clients[0], {"timeout": MOMENT if timeout is None else milliseconds(timeout)}


def _hand_over(
    client: Client, jobs: list[ReceivedJob], *, ack: bool, as_json: bool, raw: bool
) -> None:
    """Write jobs; they are done once they are written, and put back if they cannot be."""
    try:
        _print_taken(jobs, as_json=as_json, raw=raw)
    except BaseException:
        client.put_back(jobs)
        raise
    if ack:
        client.ack_job(*(job.id for job in jobs))


def _print_taken(jobs: list[ReceivedJob], *, as_json: bool, raw: bool) -> None:
    if as_json:
        print_json(_taken_as_dict(job) for job in jobs)
    elif raw:
        print_raw(job.body for job in jobs)
    else:
        names = ("id", "queue", "nacks", "redelivered", "body")
        rows = [
            (job.id.decode(), shown(job.queue), job.nacks, job.additional_deliveries,
             in_a_line(job.body))
            for job in jobs
        ]  # fmt: skip
        Table(names, numbers=("nacks", "redelivered"), cut=("queue", "body")).print(rows)


def _taken_as_dict(job: ReceivedJob) -> dict[str, Any]:
    counters = {"nacks": job.nacks, "additional_deliveries": job.additional_deliveries}
    return _as_dict(job, counters)


def _as_dict(job: Job, more: dict[str, Any]) -> dict[str, Any]:
    head = {"id": job.id.decode()} | text_or_base64("queue", job.queue)
    return head | more | body_as_dict(job.body)


# peek


@click.command(epilog=EXIT_CODES)
@queue
@click.option(
    "--count", metavar="N", default=10, show_default=True, type=click.IntRange(1, 10_000),
    help="At most so many.",
)  # fmt: skip
@click.option("--newest", is_flag=True, help="The newest first instead of the oldest.")
@as_json
@raw
@to_ask
def peek(
    queue: bytes, count: int, newest: bool, as_json: bool, raw: bool, nodes: tuple[str, ...]
) -> None:
    """Look at the jobs queued in QUEUE without taking them.

    In a cluster those of one node come after those of another.

    \b
    Examples:
      pydisque peek mail
      pydisque peek mail --newest --count 1 --raw
      pydisque peek mail --count 1000 --json | jq -r .body.to
    """  # noqa: D301
    at_most_one(json=as_json, raw=raw)
    with errors_told(), every_node(nodes) as clients:
        be_known(clients, queue)
        jobs = _peeked(clients, queue, count, newest=newest)
    if as_json:
        print_json(_as_dict(job, {}) for job in jobs)
    elif raw:
        print_raw(job.body for job in jobs)
    elif jobs:
        rows = [(job.id.decode(), in_a_line(job.body)) for job in jobs]
        Table(("id", "body"), cut=("body",)).print(rows)
    else:
        click.echo("no jobs")


def _peeked(clients: list[Client], queue: bytes, count: int, *, newest: bool) -> list[Job]:
    found: dict[bytes, Job] = {}
    for client in clients:
        most = count - len(found)
        if most > 0:
            found |= {job.id: job for job in client.qpeek(queue, -most if newest else most)}
    return list(found.values())


# show


@click.command(epilog=EXIT_CODES)
@ids_argument
@as_json
@click.option("--raw", is_flag=True, help="Only the body, byte for byte, with nothing added.")
@to_ask
def show(ids: tuple[Value, ...], as_json: bool, raw: bool, nodes: tuple[str, ...]) -> None:
    """Show all that is known of jobs.

    A body of JSON is laid out, one that is no text is shown byte by byte. In a cluster the node is
    believed that has the job queued, else the first that knows it. An ID that is - reads IDs from
    standard input, a line each.

    \b
    Examples:
      pydisque show D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1
      pydisque show D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1 --raw > body
    """  # noqa: D301
    at_most_one(json=as_json, raw=raw)
    unknown = Complaints()
    with errors_told(), every_node(nodes, whole=False) as clients:
        for number, job_id in enumerate(chain.from_iterable(batches_of_ids(ids))):
            info = _known(clients, job_id)
            if info is None:
                unknown.tell(f"{job_id}: no node knows such a job")
            elif as_json:
                print_json([fields_as_dict(info)])
            elif raw:
                click.echo(info.body or b"", nl=False)
            else:
                _print_story(info, after_another=bool(number))
    unknown.end()


def _known(clients: list[Client], job_id: str) -> JobInfo | None:
    return believed(client.show(job_id) for client in clients)


def _print_story(info: JobInfo, *, after_another: bool) -> None:
    if after_another:
        click.echo()
    print_pairs(facts(info))
    print_sections(*sections_of(*opened(info.body or b"")))
