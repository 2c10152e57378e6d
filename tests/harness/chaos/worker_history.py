"""What befell jobs and workers in a run: read from what handlers and the harness wrote down.

Times are of the one monotonic clock that all processes of a machine share. Knows neither sockets
nor processes, nor what was promised.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from pydisque.dead_letters import DeadLetter

RETRY = 2
"""Seconds of every job's lease."""

DEADLY_LIMIT = 2
"""The max_additional_deliveries of jobs that end their workers; their max_attempts is one more."""


class Task(NamedTuple):
    """What a job is to do; its body."""

    name: str
    sleep: float = 0.0
    """Seconds it takes."""
    fails: int = 0
    """How often it fails before it succeeds."""
    deed: str = ""
    """What it does to its process (segv, oom), or to what runs it (exit)."""
    deaths: int = 0
    """How often it does that."""

    def body(self) -> bytes:
        """As it is sent."""
        return json.dumps(self._asdict()).encode()


class Add(NamedTuple):
    """A job that a producer sent; the ID is empty when none was told."""

    task: Task
    id: str
    sent: float


@dataclass(slots=True)
class Run:
    """One time that a handler was called."""

    id: str
    name: str
    nacks: int
    additional: int
    pid: int
    worker: int
    """The worker's process, which is another than that of the handler with processes."""
    begun: float
    outcome: str = ""
    """done, failed, cancelled, or nothing."""
    ended: float = math.inf

    @property
    def attempt(self) -> int:
        """Which delivery this was; deliveries that began nothing count too."""
        return 1 + self.nacks + self.additional


@dataclass(slots=True)
class Life:
    """One worker process."""

    pid: int
    slot: int
    started: float
    ended: float = math.inf
    """When it was seen dead."""
    how: str = ""
    """kill, segv, oom, term, executor, or crash: nobody made it end."""
    code: int | None = None
    told_to_end: float = math.inf
    """When it was sent SIGTERM."""
    killed: bool = False
    broken: float = math.inf
    """When its executor was broken."""
    stops: list[tuple[float, float]] = field(default_factory=list)
    """From SIGSTOP to SIGCONT."""


class Trouble(NamedTuple):
    """Something that befell the network or a node."""

    kind: str
    began: float
    over: float
    affected: frozenset[int]
    """The worker processes that used this node then."""


@dataclass(slots=True)
class Story:
    """A whole run."""

    executor: str
    grace: float
    deliveries: int = 5
    """The max_additional_deliveries of jobs that end no workers."""
    adds: list[Add] = field(default_factory=list)
    runs: defaultdict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    """By job ID."""
    lives: dict[int, Life] = field(default_factory=dict)
    """By process."""
    troubles: list[Trouble] = field(default_factory=list)
    calm: float = math.inf
    """When the last of these was over, and all workers had gone on."""
    letters: list[DeadLetter] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What was left at a node in the end, each in a line."""
    orphans: list[str] = field(default_factory=list)
    """Processes that outlived their worker."""
    counts: Counter[str] = field(default_factory=Counter)
    _open: dict[str, Run] = field(default_factory=dict)
    begins: defaultdict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When each worker's jobs began."""

    def read(self, lines: Iterable[str]) -> None:
        """Take in lines that handlers wrote."""
        for line in lines:
            kind, token, *words = line.split()
            if kind == "B":
                name, id_, nacks, additional, pid, worker, begun = words
                run = Run(
                    id_, name, int(nacks), int(additional), int(pid), int(worker), float(begun)
                )
                self._open[token] = run
                self.runs[id_].append(run)
                self.begins[run.worker].append(run.begun)
            else:
                run = self._open.pop(token)
                run.outcome, run.ended = words[0], float(words[1])

    def resume_times(self) -> dict[str, list[float]]:
        """By kind of trouble, in how many seconds each worker that met it began jobs again."""
        found: defaultdict[str, list[float]] = defaultdict(list)
        ends = [*(trouble.began for trouble in self.troubles), self.calm][1:]
        for trouble, until in zip(self.troubles, ends, strict=True):
            for pid in trouble.affected:
                if self.lives[pid].ended >= until:
                    found[trouble.kind].append(_seconds(self.begins[pid], trouble, until))
        return dict(found)


FROM_BEGINNING = ("blackhole-2", "failover")
"""Troubles with another node to go to: it is the time from their beginning that matters."""


def _seconds(begins: list[float], trouble: Trouble, until: float) -> float:
    """From the trouble's end, or beginning, to the end of the longest pause it made.

    Jobs that were there already are begun while the node is gone, so the first is not what counts;
    and after it pauses come from elsewhere.
    """
    times = [time for time in begins if trouble.began - 1 < time < until]
    if not times or times[-1] < trouble.over:
        return math.inf
    from_beginning = trouble.kind in FROM_BEGINNING
    latest = trouble.began + 1 if from_beginning else trouble.over + 0.3
    pauses = [
        (after - max(before, trouble.began), after)
        for before, after in pairwise(times)
        if after > trouble.began and before < latest
    ]
    _, again = max(pauses, default=(0.0, 0.0))
    return max(0.0, again - (trouble.began if from_beginning else trouble.over))
