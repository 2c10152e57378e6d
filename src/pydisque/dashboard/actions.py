"""What is done to queues and jobs at somebody's wish. Each says in one line what came of it.

What takes long is done for a while, in batches each of which is whole; the line then says what is
left, and the same wish goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Generic, TypeVar

from pydisque import dead_letters
from pydisque.client.client import Client
from pydisque.errors import LetterTakenError
from pydisque.monitoring.text import number, shown

T = TypeVar("T")

BATCH = 1000
"""Jobs deleted in one go."""

ENOUGH = 15.0
"""Seconds after which a wish has had its time; browsers and proxies do not wait for ever."""


def _number(count: int, what: str) -> str:
    return number(count, what, ",")


# A queue

PAUSES = {"in": "kw_in", "out": "kw_out", "all": "kw_all", "none": "kw_none"}

_MEANING = {
    b"none": "not paused",
    b"in": "paused: new jobs are refused",
    b"out": "paused: no jobs are handed out",
    b"all": "paused: jobs are neither taken nor handed out",
}


def pause(clients: Sequence[Client], queue: bytes, state: str) -> str:
    """Pause a queue on all nodes, or end its pause."""
    now, *_ = [client.pause(queue, **{PAUSES[state]: True}) for client in clients]
    return f"{shown(queue)} is {_MEANING[now]}."


def purge(clients: Sequence[Client], queue: bytes) -> str:
    """Delete what is queued, for good."""
    gone = 0
    for client, ids in _Unhurried(_queued(clients, queue)):
        gone += client.ack_job(*ids)
    return f"{_number(gone, 'job')} of {shown(queue)} deleted{_left(clients, queue)}."


def _left(clients: Sequence[Client], queue: bytes) -> str:
    """What of a queue there still is, if anything."""
    left = sum(client.qlen(queue) for client in clients)
    return f"; {_number(left, 'job')} queued now, do it again for those" if left else ""


Page = tuple[Client, list[bytes]]


def _queued(clients: Sequence[Client], queue: bytes) -> Iterator[Page]:
    for client in clients:
        found = client.iter_jobs(queue, state="queued", count=BATCH)
        while ids := list(islice(found, BATCH)):
            yield client, ids


class _Unhurried(Generic[T]):
    """Pages until the time is up, one at least."""

    def __init__(self, pages: Iterable[T]) -> None:
        self._pages = pages
        self.ended_early = False

    def __iter__(self) -> Iterator[T]:
        until = time.monotonic() + ENOUGH
        for page in self._pages:
            yield page
            if time.monotonic() > until:
                self.ended_early = True
                return


# A job


def enqueue(clients: Sequence[Client], job_id: str) -> str:
    """Queue a job that is not queued."""
    copies = _copies(clients, job_id)
    done = not _queued_at(copies) and any(client.enqueue(job_id) for client, _ in copies)
    return "The job is queued." if done else "It is queued already, or no node knows it."


def dequeue(clients: Sequence[Client], job_id: str) -> str:
    """Take a job out of its queue."""
    done = [client.dequeue(job_id) for client in _queued_at(_copies(clients, job_id))]
    return "The job is taken out of its queue." if any(done) else "It is not queued, or not known."


def nack(clients: Sequence[Client], job_id: str) -> str:
    """Say that a job failed: it is queued again, and that is counted."""
    copies = _copies(clients, job_id)
    done = not _queued_at(copies) and any(client.nack_job(job_id) for client, _ in copies)
    return "The job is given back." if done else "Nobody has taken it, or no node knows it."


def delete(clients: Sequence[Client], job_id: str) -> str:
    """Delete a job from all nodes."""
    done = [client.del_job(job_id) for client in clients]
    return "The job is deleted." if any(done) else "No node knows it."


ON_JOBS: dict[str, Callable[[Sequence[Client], str], str]] = {
    "enqueue": enqueue,
    "dequeue": dequeue,
    "nack": nack,
    "delete": delete,
}


def _copies(clients: Sequence[Client], job_id: str) -> list[tuple[Client, bytes]]:
    """The nodes that have a job, and in which state; one without it would answer for another."""
    asked = ((client, client.show(job_id)) for client in clients)
    return [(client, info.state) for client, info in asked if info is not None]


def _queued_at(copies: list[tuple[Client, bytes]]) -> list[Client]:
    """Where a job is queued: mostly one node has it so, and others a copy, which is active."""
    return [client for client, state in copies if state == b"queued"]


# Dead letters

Letters = Iterator[tuple[Client, list[dead_letters.Filed]]]


def replay(clients: Sequence[Client], dead_queue: bytes, ids: Sequence[str]) -> str:
    """Put jobs back into their queues, those with these IDs or, without any, all."""
    back = 0
    refused: list[Exception] = []
    pages = _Unhurried(_letters(clients, dead_queue, ids))
    for client, letters in pages:
        results = dead_letters.replay(client, letters)
        if not ids:  # of a queue those are meant that are in it
            results = [result for result in results if not isinstance(result, LetterTakenError)]
        refused += [result for result in results if isinstance(result, Exception)]
        back += sum(not isinstance(result, Exception) for result in results)
    rest = _left(clients, dead_queue) if pages.ended_early else ""
    words = f"{_number(back, 'job')} put back{rest}"
    if refused:
        words += f"; {_number(len(refused), 'letter')} left, as for one of them: {refused[0]}"
    return f"{words}."


def discard(clients: Sequence[Client], dead_queue: bytes, ids: Sequence[str]) -> str:
    """Acknowledge dead letters for good, those with these IDs or, without any, all."""
    gone = 0
    pages = _Unhurried(_letters(clients, dead_queue, ids))
    for client, letters in pages:
        gone += dead_letters.purge(client, [filed.id for filed in letters])
    rest = _left(clients, dead_queue) if pages.ended_early else ""
    return f"{_number(gone, 'dead letter')} deleted{rest}."


def _letters(clients: Sequence[Client], dead_queue: bytes, ids: Sequence[str]) -> Letters:
    """The letters that are meant, some at a time, each once; what is no letter is left alone."""
    name = dead_letters.name_of(dead_queue)
    seen: set[str] = set()
    for client, batches in _batches(clients, name, ids):
        for batch in batches:
            letters = [filed for filed in batch if filed.letter and filed.id not in seen]
            seen.update(filed.id for filed in letters)
            if letters:
                yield client, letters


def _batches(
    clients: Sequence[Client], dead_queue: str, ids: Sequence[str]
) -> Iterator[tuple[Client, Iterator[list[dead_letters.Filed]]]]:
    if not ids:
        for client in clients:
            yield client, dead_letters.select(client, dead_queue)
        return
    for queued in (True, False):  # a copy at another node, or taken by a consumer, comes last
        for client in clients:
            yield client, iter([_found(client, dead_queue, ids, queued=queued)])


def _found(
    client: Client, dead_queue: str, ids: Sequence[str], *, queued: bool
) -> list[dead_letters.Filed]:
    found = dead_letters.find(client, ids, queued=queued)
    return [filed for filed in found if filed is not None and filed.dead_queue == dead_queue]
