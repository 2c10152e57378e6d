"""Whether all that is in a system fits together.

Each page is looked at in one call, all that belongs to one thing at one moment; so nothing is
taken for wrong only because nodes are at work meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from struct import unpack
from typing import Any

from pydisque.node.store.valkey import keys
from pydisque.node.store.valkey.admin import Visit, visiting
from pydisque.node.store.valkey.shard import Shard
from pydisque.node.store.valkey.url import Place

PAGE = 500
"""Elements that are looked at in one call."""

QUEUES = 100
"""Queues whose jobs are looked at in one call."""

_NOUNS = {"jobs": "job", "timer": "job", "counts": "job", "queues": "queue"}


@dataclass
class Findings:
    """What is in a system."""

    mode: str = ""
    servers: list[str] = field(default_factory=list)
    shards: int = 0
    states: Counter[str] = field(default_factory=Counter)
    """How many jobs are queued, and active."""
    queues: int = 0
    paused: list[tuple[bytes, str]] = field(default_factory=list)
    """Queues that are paused, and how."""
    problems: list[str] = field(default_factory=list)
    """All that is wrong, each in a line."""


def check(place: Place) -> Findings:
    """Look at everything in a system.

    Raises:
        VisitError: it cannot be reached or used.
    """
    return asyncio.run(_check(place))


async def _check(place: Place) -> Findings:
    async with visiting(place) as visit:
        findings = Findings(
            visit.system.mode,
            sorted(map(str, visit.system.lines.values())),
            len(visit.shards),
        )
        stray = await visit.keys("ready")
        for shard in visit.shards:
            names = {name for where, name in stray if where is shard}
            await _Look(visit, shard, findings, names).look()
    return findings


class _Look:
    """A look at one shard."""

    def __init__(self, visit: Visit, shard: Shard, findings: Findings, queues: set[bytes]) -> None:
        self._visit = visit
        self._shard = shard
        self._findings = findings
        self._queues = queues
        self._seen: set[object] = set()

    async def look(self) -> None:
        """Look at all that is in it."""
        for what in ("jobs", "timer", "counts", "queues"):
            async for _, (wrong, told) in self._pages(partial(_audit, what, b"")):
                self._note(_NOUNS[what], wrong)
                if what == "jobs":
                    self._jobs(told)
                elif what == "queues":
                    self._records(told)
        names = sorted(self._queues)
        for start in range(0, len(names), QUEUES):
            scans = [partial(_audit, "ready", name) for name in names[start : start + QUEUES]]
            async for _, (wrong, _told) in self._pages(*scans):
                self._note("job", wrong)

    def _pages(self, *scans: Callable[[bytes], list[Any]]) -> AsyncIterator[tuple[int, list[Any]]]:
        return self._visit.pages(self._shard, *scans)

    def _note(self, noun: str, wrong: list[bytes]) -> None:
        for name, why in zip(wrong[::2], wrong[1::2], strict=True):
            self._problem(noun, name, why.decode())

    def _problem(self, noun: str, name: bytes, why: str) -> None:
        if self._first(noun, name, why):
            told = repr(name)[1:] if noun == "queue" else name.decode("ascii", "backslashreplace")
            self._findings.problems.append(f"shard {self._shard.number}: {noun} {told}: {why}")

    def _first(self, *what: object) -> bool:
        """Whether this was not seen yet: pages may tell the same twice."""
        first = what not in self._seen
        self._seen.add(what)
        return first

    def _jobs(self, told: list[Any]) -> None:
        system = self._visit.layout
        for id_, queue, kind in zip(*[iter(told)] * 3, strict=True):
            self._queues.add(queue)
            if self._first(id_):
                if kind >= 0:
                    self._findings.states[keys.state_name(kind).decode()] += 1
                self._belongs("job", id_, "its ID leads", system.shard_of_job(id_))
                owner = system.shard_of_queue(queue)
                self._belongs("job", id_, f"its queue {queue!r} belongs", owner)

    def _belongs(self, noun: str, name: bytes, told: str, shard: int) -> None:
        if shard != self._shard.number:
            self._problem(noun, name, f"{told} to shard {shard}")

    def _records(self, told: list[bytes]) -> None:
        for name, record in zip(told[::2], told[1::2], strict=True):
            self._queues.add(name)
            if self._first("record", name):
                self._findings.queues += 1
                owner = self._visit.layout.shard_of_queue(name)
                self._belongs("queue", name, "it belongs", owner)
                if pause := unpack(">ddddB", record)[4]:
                    self._findings.paused.append((name, ("", "in", "out", "all")[pause % 4]))


def _audit(what: str, queue: bytes, cursor: bytes) -> list[Any]:
    return [b"audit", 0, what, queue, cursor, PAGE]
