"""What is known of one queue in a whole cluster, and of one node, with the rates of late.

Numbers come in as nodes tell them; sums and rates are made here. Pure: the time is given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

from pydisque.client.nodes import AVOID
from pydisque.protocol.replies import InfoValue, QueueStats
from pydisque.service.top_queues import load

KEPT = 150
"""Samples of a queue, or of all together, that are kept at most."""

MAX_GONE_NODES = 32
"""Nodes that do not answer for a queue any more, and whose counters are kept in case they do."""

KEPT_SECONDS = 300.0
"""And for so long. Queues that have their turn now and then keep few, so that very many of them
take no more memory than those that are looked at all the time."""

_PAUSES = (b"none", b"in", b"out", b"all")


class Sample(NamedTuple):
    """How it was at one time."""

    time: float
    """By the clock of the survey, in seconds."""
    len: int
    """Jobs queued."""
    in_rate: float
    """Jobs queued a second, since the sample before."""
    out_rate: float
    """Jobs handed out a second."""


class _Counted(NamedTuple):
    """A node's counters of a queue at one time; they only grow while the queue lives."""

    time: float
    jobs_in: int
    jobs_out: int


class QueueFigures:
    """One queue, in all nodes together; a job given on from node to node counts on each."""

    def __init__(self, name: bytes, since: float = float("inf")) -> None:
        """Know its name, and since when it is looked for: what is older did not happen now."""
        self.name = name
        self._since = since
        self.len = 0
        """Jobs queued now."""
        self.jobs_in = self.jobs_out = 0
        """Jobs queued, and handed out, since the nodes made the queue."""
        self.total_in = self.total_out = 0
        """The same, but never less than before, though a node may go, or forget the queue."""
        self.new_in = self.new_out = 0
        """How many of these happened between the last two looks, or since it was looked for."""
        self.in_rate = self.out_rate = 0.0
        """The same a second, of late."""
        self.blocked = 0
        """Clients that wait for its jobs."""
        self.age = self.idle = 0
        """Seconds since it was made, and since it was last used."""
        self.pause = b"none"
        """``none``, ``in``, ``out`` or ``all``; what any node pauses counts."""
        self.import_from: list[str] = []
        """IDs of nodes that send jobs for it."""
        self.import_rate = 0
        """Jobs a second that arrive from other nodes."""
        self.active: int | None = None
        """Jobs that were handed out and are not acknowledged; None until they were counted."""
        self.delayed: int | None = None
        """Jobs that are yet to be queued for the first time; likewise."""
        self.oldest: float | None = None
        """Seconds since the job was made that is next to be handed out, where it was asked for."""
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        self._counted: dict[str, _Counted] = {}

    @property
    def stamp(self) -> tuple[int, int]:
        """Another one whenever a job came into it or left it: what came in is counted for good."""
        return self.jobs_in, self.len

    def see(self, found: Mapping[str, QueueStats], now: float) -> None:
        """Take in what nodes know of it, by the node's name; each one's counters count alone."""
        told = list(found.values())
        self.len = sum(stats.len for stats in told)
        self.jobs_in = sum(stats.jobs_in for stats in told)
        self.jobs_out = sum(stats.jobs_out for stats in told)
        self.blocked = sum(stats.blocked for stats in told)
        self.age = max(stats.age for stats in told)
        self.idle = min(stats.idle for stats in told)
        self.pause = _together(stats.pause for stats in told)
        self.import_from = sorted({node.decode() for stats in told for node in stats.import_from})
        self.import_rate = sum(stats.import_rate for stats in told)
        self._grow(found, now)
        told_now = {node: _Counted(now, s.jobs_in, s.jobs_out) for node, s in found.items()}
        gone = [item for item in self._counted.items() if item[0] not in found]
        counted = dict(gone[-MAX_GONE_NODES:]) | told_now
        both = [
            (self._counted[node], new) for node, new in counted.items() if node in self._counted
        ]
        self.in_rate = sum(_rate(old, new, old.jobs_in, new.jobs_in) for old, new in both)
        self.out_rate = sum(_rate(old, new, old.jobs_out, new.jobs_out) for old, new in both)
        self._counted = counted
        while self.samples and self.samples[0].time < now - KEPT_SECONDS:
            self.samples.popleft()
        self.samples.append(Sample(now, self.len, self.in_rate, self.out_rate))

    @property
    def load(self) -> float:
        """How much there is to do in it; also of a queue that was seen only once."""
        return max(
            load(self.len, self.jobs_in, self.age), self.len + 60 * (self.in_rate + self.out_rate)
        )

    def _grow(self, found: Mapping[str, QueueStats], now: float) -> None:
        before = [(self._before(node, stats, now), stats) for node, stats in found.items()]
        self.new_in = sum(_grown(old.jobs_in, stats.jobs_in) for old, stats in before)
        self.new_out = sum(_grown(old.jobs_out, stats.jobs_out) for old, stats in before)
        self.total_in += self.new_in if self._counted else self.jobs_in
        self.total_out += self.new_out if self._counted else self.jobs_out

    def _before(self, node: str, stats: QueueStats, now: float) -> _Counted:
        """What a node had counted before: nothing, where the queue has been made meanwhile."""
        if node in self._counted:
            return self._counted[node]
        made_meanwhile = stats.age + 1 <= now - self._since  # its age is in whole seconds
        done = (0, 0) if made_meanwhile else (stats.jobs_in, stats.jobs_out)
        return _Counted(now, *done)


def _grown(before: int, after: int) -> int:
    """By how much; of a counter that began anew only what it says now."""
    return after - before if after >= before else after


def _rate(old: _Counted, new: _Counted, before: int, after: int) -> float:
    """How much a second."""
    seconds = new.time - old.time
    return _grown(before, after) / seconds if seconds > 0 else 0.0


def _together(pauses: Iterable[bytes]) -> bytes:
    return _PAUSES[reduce(or_, map(_PAUSES.index, pauses))]


@dataclass(slots=True)
class NodeFigures:
    """One node, as it told last."""

    id: str
    address: str
    priority: int = 1
    """What clients go by: the lower the better, from 100 on it is failed or leaving."""
    error: str = ""
    """Why it could not be asked, if it could not."""
    info: Mapping[str, InfoValue] = field(default_factory=dict)
    """All it told of itself: what INFO says."""

    @property
    def state(self) -> str:
        """How it is, in words: ``well``, or what is the matter."""
        if self.error:
            return "cannot be asked"
        return "well" if self.priority < AVOID else "failed or leaving"

    @property
    def well(self) -> bool:
        """Whether it can be asked, and is to be used."""
        return not self.error and self.priority < AVOID

    def figure(self, name: str) -> Any:
        """One of them, or None."""
        return self.info.get(name)


class Rest(NamedTuple):
    """Queues of which nothing but these sums is kept."""

    queues: int = 0
    len: int = 0
    blocked: int = 0

    def plus(self, queue: QueueFigures) -> Rest:
        """With one more."""
        return Rest(self.queues + 1, self.len + queue.len, self.blocked + queue.blocked)


def total(samples: Sequence[QueueFigures], now: float, rest: Rest = Rest()) -> Sample:  # noqa: B008
    """All queues together; of the rest the lengths count."""
    return Sample(
        now,
        rest.len + sum(queue.len for queue in samples),
        sum(queue.in_rate for queue in samples),
        sum(queue.out_rate for queue in samples),
    )
