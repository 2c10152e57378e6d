"""`pydisque queues`, `stats`, `pause`, `resume` and `purge`: queues as a whole."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

import click

from pydisque.cli.options.nodes import (
    EXIT_CODES,
    be_known,
    errors_told,
    every_node,
    name_of,
    number,
    shown,
    to_ask,
)
from pydisque.cli.options.parameters import AtLeast, as_json, maybe_queue, queue, queues
from pydisque.cli.output.formatting import print_json, text_or_base64
from pydisque.cli.output.progress import counted, finishing
from pydisque.cli.output.tables import Table, duration, print_pairs
from pydisque.client.client import Client
from pydisque.dead_letters import encoded
from pydisque.protocol.replies import QueueStats

# Queues or jobs asked for in a call.
PAGE = 1000


# What several nodes know of one queue


Stats = dict[str, Any]

_TOGETHER: dict[str, Callable[[list[Any]], Any]] = {
    "len": sum, "age": max, "idle": min, "blocked": sum, "jobs_in": sum, "jobs_out": sum,
    "import_rate": sum, "import_from": lambda lists: sorted({i.decode() for x in lists for i in x}),
    "pause": lambda states: "/".join(dict.fromkeys(state.decode() for state in states)),
}  # fmt: skip


def _together(found: Sequence[QueueStats]) -> Stats:
    """One queue in the whole cluster; a job given on from node to node counts on each."""
    told = {name: join([getattr(s, name) for s in found]) for name, join in _TOGETHER.items()}
    return {"name": found[0].name} | told


def _as_dict(stats: Stats) -> dict[str, Any]:
    return text_or_base64("name", stats["name"]) | {n: stats[n] for n in _TOGETHER}


def _all_stats(clients: list[Client], least: int) -> Iterator[Stats]:
    """Every queue once, page by page, of at least this length."""
    alone = len(clients) == 1
    for at, client in enumerate(clients):
        names = client.iter_queues(count=PAGE, minlen=least if alone and least else None)
        while page := list(islice(names, PAGE)):
            for each in zip(*(_stats(c, page) for c in clients), strict=True):
                found = [stats for stats in each if stats is not None]
                # Whichever node has it first tells of it.
                if found and not any(each[:at]) and (told := _together(found))["len"] >= least:
                    yield told


def _stats(client: Client, names: Sequence[bytes]) -> list[QueueStats | None]:
    pipeline = client.pipeline()
    for name in names:
        pipeline.qstat(name)
    return pipeline.execute()


# queues


_KEYS = {
    "name": "name", "len": "len", "age": "age", "idle": "idle", "blocked": "blocked",
    "in": "jobs_in", "out": "jobs_out",
}  # fmt: skip


@click.command("queues", epilog=EXIT_CODES)
@click.argument("pattern", required=False)
@click.option(
    "--sort", type=click.Choice(list(_KEYS)), default="len", show_default=True,
    help="Names go up, numbers go down.",
)  # fmt: skip
@click.option(
    "--limit", metavar="N", default=100, show_default=True, type=click.IntRange(1, 100_000),
    help="At most so many.",
)  # fmt: skip
@click.option(
    "--min-len", metavar="N", default=0, type=AtLeast(0),
    help="Only those of at least this length.",
)  # fmt: skip
@as_json
@to_ask
def list_queues(
    pattern: str | None, sort: str, limit: int, min_len: int, as_json: bool, nodes: tuple[str, ...]
) -> None:
    """List queues, the longest first.

    PATTERN chooses them by their names, as a shell does with files: "mail-*". Numbers are those of
    all nodes of the cluster together.

    \b
    Examples:
      pydisque queues
      pydisque queues "mail-*" --sort idle
      pydisque queues --min-len 1000 --json
    """  # noqa: D301
    with errors_told(), every_node(nodes) as clients, counted("looked at") as advance:
        found = _matching(_all_stats(clients, min_len), pattern, advance)
        best = heapq.nsmallest(limit + 1, found, key=_order(_KEYS[sort]))
    rows = list({stats["name"]: stats for stats in best}.values())
    if as_json:
        print_json(map(_as_dict, rows[:limit]))
    elif rows:
        _print_queues(rows[:limit])
    else:
        click.echo("no queues")
    if len(rows) > limit:
        click.echo("and more: see --limit", err=True)


def _matching(
    found: Iterator[Stats], pattern: str | None, advance: Callable[[int], None]
) -> Iterator[Stats]:
    wanted = None if pattern is None else encoded(pattern)
    for stats in found:
        advance(1)
        if wanted is None or fnmatchcase(stats["name"], wanted):
            yield stats


def _order(key: str) -> Callable[[Stats], Any]:
    if key == "name":
        return lambda stats: stats["name"]
    return lambda stats: (-stats[key], stats["name"])


def _print_queues(rows: list[Stats]) -> None:
    names = ("queue", "len", "in", "out", "blocked", "age", "idle", "pause")
    table = Table(names, numbers=names[1:7], cut=("queue",))
    table.print(
        (shown(s["name"]), s["len"], s["jobs_in"], s["jobs_out"], s["blocked"],
         duration(s["age"]), duration(s["idle"]), "" if s["pause"] == "none" else s["pause"])
        for s in rows
    )  # fmt: skip


# stats


@click.command(epilog=EXIT_CODES)
@maybe_queue
@as_json
@to_ask
def stats(queue: bytes | None, as_json: bool, nodes: tuple[str, ...]) -> None:
    """Show the figures of QUEUE or, without it, of each node.

    Those of a queue are of all nodes of the cluster together. `pydisque info` has all of a node's.

    \b
    Examples:
      pydisque stats
      pydisque stats mail
      pydisque stats mail --json | jq .len
    """  # noqa: D301
    with errors_told(), every_node(nodes, sharing=queue is None) as clients:
        if queue is None:
            told = [_node_stats(client) for client in clients]
        else:
            be_known(clients, queue)
            known = (client.qstat(queue) for client in clients)
            told = [_as_dict(_together([stats for stats in known if stats is not None]))]
    if as_json:
        print_json(told)
    elif queue is not None:
        print_pairs(_queue_story(shown(queue), told[0]))
    else:
        _print_nodes(told)


def _queue_story(name: str, stats: Stats) -> Iterator[tuple[str, object]]:
    yield "queue", name
    for key in ("len", "jobs_in", "jobs_out", "blocked"):
        yield key.replace("_", " "), stats[key]
    yield "age", duration(stats["age"])
    yield "idle", duration(stats["idle"])
    yield "pause", stats["pause"]
    if stats["import_from"]:
        yield "imported", f"{stats['import_rate']} a second, from {', '.join(stats['import_from'])}"


_FIGURES = {
    "version": "disque_version", "uptime": "uptime_in_seconds", "jobs": "registered_jobs",
    "queues": "registered_queues", "clients": "connected_clients", "blocked": "blocked_clients",
    "memory": "used_memory_human", "commands_per_second": "instantaneous_ops_per_sec",
}  # fmt: skip


def _node_stats(client: Client) -> dict[str, Any]:
    info = client.info()
    return {"node": name_of(client)} | {name: info.get(key) for name, key in _FIGURES.items()}


def _print_nodes(told: list[dict[str, Any]]) -> None:
    names, *figures = ([key, *(each[key] for each in told)] for key in told[0])
    table = Table(names)
    table.print(
        (
            key.replace("_", " "),
            *(duration(v) if key == "uptime" and v is not None else v for v in values),
        )
        for key, *values in figures
    )


# pause and resume


@click.command(epilog=EXIT_CODES)
@queues
@click.option("--in", "kw_in", is_flag=True, help="Only refuse new jobs.")
@click.option("--out", "kw_out", is_flag=True, help="Only hand out no jobs.")
@as_json
@to_ask
def pause(
    queues: tuple[bytes, ...], kw_in: bool, kw_out: bool, as_json: bool, nodes: tuple[str, ...]
) -> None:
    """Pause queues on all nodes: new jobs are refused, and no jobs are handed out.

    What is said last counts: --in for a queue paused in output leaves it paused in input alone.

    \b
    Examples:
      pydisque pause mail
      pydisque pause mail images --in
    """  # noqa: D301
    words = {"kw_in": kw_in, "kw_out": kw_out} if kw_in or kw_out else {"kw_all": True}
    _set_pause(queues, nodes, words, as_json=as_json)


@click.command(epilog=EXIT_CODES)
@queues
@as_json
@to_ask
def resume(queues: tuple[bytes, ...], as_json: bool, nodes: tuple[str, ...]) -> None:
    """End the pause of queues, on all nodes.

    \b
    Examples:
      pydisque resume mail
    """  # noqa: D301
    _set_pause(queues, nodes, {"kw_none": True}, as_json=as_json)


_MEANING = {
    b"none": "not paused", b"in": "paused in input", b"out": "paused in output",
    b"all": "paused in input and output",
}  # fmt: skip


def _set_pause(
    queues: Sequence[bytes], nodes: tuple[str, ...], words: dict[str, bool], *, as_json: bool
) -> None:
    with errors_told(), every_node(nodes) as clients:
        for queue in queues:
            state, *_ = [client.pause(queue, **words) for client in clients]
            if as_json:
                print_json([text_or_base64("name", queue) | {"pause": state.decode()}])
            else:
                click.echo(f"{shown(queue)}: {_MEANING[state]}")


# purge


@click.command(epilog=EXIT_CODES)
@queue
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@to_ask
def purge(queue: bytes, yes: bool, as_json: bool, nodes: tuple[str, ...]) -> None:
    """Delete all jobs queued in QUEUE for good, on all nodes.

    Those that workers have are left to them, and so are delayed ones. Jobs queued while it goes on
    may be left. Ctrl-C ends it between two batches, and it is told how many are gone.

    \b
    Examples:
      pydisque purge mail
      pydisque purge mail --yes
    """  # noqa: D301
    with errors_told(), every_node(nodes) as clients:
        be_known(clients, queue)
        length = sum(client.qlen(queue) for client in clients)
        if length and not yes:
            question = f"delete {number(length, 'job')} of {shown(queue)} for good?"
            click.confirm(question, abort=True, err=as_json)
        deleted = 0
        try:
            with counted("deleted", "job", total=length, err=as_json) as advance:
                for client, ids in _queued(clients, queue):
                    with finishing():
                        gone = client.ack_job(*ids)
                        deleted += gone
                        advance(gone, gone)
        finally:
            if as_json:
                print_json([text_or_base64("name", queue) | {"deleted": deleted}])


def _queued(clients: list[Client], queue: bytes) -> Iterator[tuple[Client, list[bytes]]]:
    """The IDs of queued jobs, page by page, each with a client of the node that has them."""
    for client in clients:
        found = client.iter_jobs(queue, state="queued", count=PAGE)
        while ids := list(islice(found, PAGE)):
            yield client, ids
