"""`pydisque ack`, `nack`, `working`, `enqueue`, `dequeue` and `delete`: what is said of jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
from redis.exceptions import ConnectionError  # noqa: A004

from pydisque.cli.options.nodes import EXIT_CODES, errors_told, every_node, to_ask
from pydisque.cli.options.parameters import as_json, batches_of_ids, ids, whole_seconds
from pydisque.cli.options.stdin import Value
from pydisque.cli.output.formatting import print_json
from pydisque.cli.output.progress import Complaints, counted, finishing
from pydisque.cli.output.streams import standard_input
from pydisque.client.client import Client
from pydisque.errors import BadIDError
from pydisque.protocol import commands
from pydisque.protocol.command import Command

F = TypeVar("F", bound=Callable[..., Any])
Make = Callable[[str], Command[int]]


def _answer(function: F) -> F:
    """What all of these take."""
    return ids(as_json(to_ask(function)))


# The commands


@click.command(epilog=EXIT_CODES)
@_answer
def ack(ids: tuple[Value, ...], as_json: bool, nodes: tuple[str, ...]) -> None:
    """Acknowledge jobs: they are done, and no node delivers them again.

    An ID that is - reads IDs from standard input, a line each.

    \b
    Examples:
      pydisque ack D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1
      pydisque get mail --count 100 --json | jq -r .id | pydisque ack -
    """  # noqa: D301
    _Answers("acknowledged", "not known, or acknowledged before").tell(
        ids, nodes, commands.ack_job, as_json=as_json
    )


@click.command(epilog=EXIT_CODES)
@click.option(
    "--delay", metavar="S", type=whole_seconds(),
    help="Seconds until they come again; a real Disque knows no such thing.",
)  # fmt: skip
@_answer
def nack(ids: tuple[Value, ...], delay: int | None, as_json: bool, nodes: tuple[str, ...]) -> None:
    """Give jobs back: they failed, and are queued again.

    An ID that is - reads IDs from standard input, a line each.

    \b
    Examples:
      pydisque nack D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1
      pydisque nack D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1 --delay 60
    """  # noqa: D301
    _Answers("given back", "not known, or not taken").tell(
        ids, nodes, lambda job_id: commands.nack_job(job_id, delay=delay), as_json=as_json
    )


@click.command(epilog=EXIT_CODES)
@_answer
def working(ids: tuple[Value, ...], as_json: bool, nodes: tuple[str, ...]) -> None:
    """Say that jobs are still being worked on: their next delivery is put off by their RETRY.

    Once half of a job's TTL is gone this is refused. An ID that is - reads IDs from standard
    input, a line each.

    \b
    Examples:
      pydisque working D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1
    """  # noqa: D301
    _Answers("put off", "not known").tell(
        ids, nodes, commands.working, as_json=as_json, zero_is_fine=True
    )


@click.command(epilog=EXIT_CODES)
@_answer
def enqueue(ids: tuple[Value, ...], as_json: bool, nodes: tuple[str, ...]) -> None:
    """Queue jobs that are not queued: delivered or delayed ones.

    An ID that is - reads IDs from standard input, a line each.

    \b
    Examples:
      pydisque enqueue D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1
      pydisque jobs mail --state active --ids --limit 0 | pydisque enqueue -
    """  # noqa: D301
    _Answers("queued", "not known, or queued already").tell(
        ids, nodes, commands.enqueue, as_json=as_json
    )


@click.command(epilog=EXIT_CODES)
@_answer
def dequeue(ids: tuple[Value, ...], as_json: bool, nodes: tuple[str, ...]) -> None:
    """Take jobs out of their queue without delivering them; their RETRY queues them again.

    An ID that is - reads IDs from standard input, a line each.

    \b
    Examples:
      pydisque dequeue D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1
    """  # noqa: D301
    _Answers("taken out", "not known, or not queued").tell(
        ids, nodes, commands.dequeue, as_json=as_json
    )


@click.command(epilog=EXIT_CODES)
@_answer
def delete(ids: tuple[Value, ...], as_json: bool, nodes: tuple[str, ...]) -> None:
    """Delete jobs, whoever has them, from all nodes of the cluster.

    A node that cannot be reached meanwhile keeps its copy and delivers it; `pydisque ack` tells
    that one too. An ID that is - reads IDs from standard input, a line each.

    \b
    Examples:
      pydisque delete D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1
      pydisque purge mail
    """  # noqa: D301
    _Answers("deleted", "not known").tell(
        ids, nodes, commands.del_job, as_json=as_json, everywhere=True
    )


# What they have in common


class _Answers:
    """One thing said of many jobs."""

    def __init__(self, done: str, in_vain: str) -> None:
        """Say in words what is done, and why not when a node changed nothing."""
        self._done = done
        self._in_vain = in_vain
        self._complaints = Complaints()

    def tell(
        self,
        ids: tuple[Value, ...],
        nodes: tuple[str, ...],
        make: Make,
        *,
        as_json: bool,
        everywhere: bool = False,
        zero_is_fine: bool = False,
    ) -> None:
        """Tell nodes, batch by batch, and people what came of it."""
        typed = None in ids and standard_input().isatty()
        with errors_told(), every_node(nodes, whole=everywhere) as clients:
            with counted(self._done, "job", err=as_json, typed=typed) as advance:
                for batch in batches_of_ids(ids):
                    with finishing():
                        results = _results(clients, batch, make, everywhere=everywhere)
                        fine = [_is_fine(r, zero_is_fine) for r in results.values()]
                        advance(sum(fine))
                    self._print(results, fine, as_json=as_json)
            self._complaints.end()

    def _print(self, results: dict[str, Any], fine: list[bool], *, as_json: bool) -> None:
        if as_json:
            print_json(_as_dict(job_id, result) for job_id, result in results.items())
        for (job_id, result), is_fine in zip(results.items(), fine, strict=True):
            if not is_fine:
                self._complaints.tell(f"{job_id}: {self._reason(result)}")

    def _reason(self, result: Any) -> str:
        if isinstance(result, BadIDError):  # they are IDs, so it was the option
            return "the node knows no NACK with a delay"
        return str(result) if isinstance(result, Exception) else self._in_vain


def _is_fine(result: int | Exception | None, zero_is_fine: bool) -> bool:
    return isinstance(result, int) and (zero_is_fine or result > 0)


def _as_dict(job_id: str, result: int | Exception | None) -> dict[str, Any]:
    if isinstance(result, Exception):
        return {"id": job_id, "error": str(result)}
    return {"id": job_id, "result": result or 0}


def _results(
    clients: list[Client], ids: Sequence[str], make: Make, *, everywhere: bool
) -> dict[str, Any]:
    """What came of each: asked of node after node until one does it, or of all of them."""
    results: dict[str, Any] = dict.fromkeys(ids)
    for client in clients:
        wanted = [i for i, result in results.items() if everywhere or not result]
        if len(clients) > 1:
            wanted = _known(client, wanted)
        for job_id, result in zip(wanted, _sent(client, map(make, wanted)), strict=True):
            results[job_id] = results[job_id] or result
    return results


def _known(client: Client, ids: list[str]) -> list[str]:
    """Those a node has; one that it does not have it would answer for in vain, or in advance."""
    infos = _sent(client, (commands.show(job_id) for job_id in ids))
    return [job_id for job_id, info in zip(ids, infos, strict=True) if info]


def _sent(client: Client, batch: Iterable[Command[Any]]) -> list[Any]:
    """Results with errors in place, but for those of the connection."""
    pipeline = client.pipeline()
    for command in batch:
        pipeline.queue(command)
    results = pipeline.execute(raise_on_error=False) if len(pipeline) else []
    lost = (result for result in results if isinstance(result, ConnectionError))
    if (error := next(lost, None)) is not None:
        raise error
    return results
