"""How jobs that nobody will work on come back into their queues.

ENQUEUE does it, on the node that handed them out. It refuses jobs to be delivered at most once, of
which the node takes it that they were delivered; such a job is added anew and the old one
acknowledged, so that it is neither lost nor doubled. What is sent is decided here, step by step;
sending it is for whoever drives the steps, sync or async. Nothing here knows a connection.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Sequence
from typing import Any

from pydisque.client.nodes import Node
from pydisque.errors import BadIDError
from pydisque.protocol import commands
from pydisque.protocol.command import Command
from pydisque.protocol.replies import Job

logger = logging.getLogger("pydisque")


class HandedOut(Job):
    """A job that knows which node handed it out."""

    origin: Node | None = None


Steps = Generator[list[Command[Any]], list[Any], None]


def putting_back(jobs: Sequence[Job]) -> Steps:
    """Yield what to send to the node the jobs came from; takes the results, errors in place."""
    once = [job for job in jobs if at_most_once(job.id)]
    again = [job.id for job in jobs if not at_most_once(job.id)]
    if again:
        yield from requeue(again)
    if once:
        yield from _adding_anew(once)


def requeue(ids: Sequence[bytes | str]) -> Steps:
    """As if they had not been delivered; a real Disque, which knows no such thing, counts it."""
    results = yield [commands.enqueue(*ids, uncounted=True)]
    if isinstance(results[0], BadIDError):
        results = yield [commands.enqueue(*ids)]
    _tell_of_errors(results)


def _adding_anew(jobs: list[Job]) -> Steps:
    shown = yield [commands.show(job.id) for job in jobs]
    known = [(job, info) for job, info in zip(jobs, shown, strict=True) if isinstance(info, list)]
    _tell_of_errors(shown)
    if not known:
        return
    added = yield [_anew(info) for _, info in known]
    _tell_of_errors(added)
    done = [
        job.id for (job, _), result in zip(known, added, strict=True)
        if not isinstance(result, Exception)
    ]  # fmt: skip
    if done:
        _tell_of_errors((yield [commands.ack_job(*done)]))


def _anew(info: Any) -> Command[bytes]:
    ttl = max(1, info.ttl)  # 0 in its last second
    return commands.add_job(info.queue, info.body, replicate=1, retry=0, ttl=ttl)


def at_most_once(job_id: bytes | str) -> bool:
    """Whether a job is delivered once or never: its ID says so in its last bit."""
    return job_id[-1:] in _EVEN_DIGITS


_EVEN_DIGITS = frozenset({*"02468ace", *(b"%x" % digit for digit in range(0, 16, 2))})


def tell_of_failure(node: Node, count: int, error: Exception) -> None:
    """Log that jobs could not be put back; most come back by themselves after their RETRY."""
    logger.warning("could not put back %d job(s) on node %s: %s", count, node.address, error)


def _tell_of_errors(results: list[Any]) -> None:
    for result in results:
        if isinstance(result, Exception):
            logger.warning("could not put back a job: %s", result)


def by_origin(jobs: Iterable[HandedOut]) -> list[tuple[Node, list[HandedOut]]]:
    """Jobs by the node that handed them out; those of which it is not known are left out."""
    found: dict[Node, list[HandedOut]] = {}
    for job in jobs:
        if job.origin is not None:
            found.setdefault(job.origin, []).append(job)
    return list(found.items())
