"""Asks the nodes of a system, look by look, and never for more than so much at a time.

A look asks every node for its INFO, some queues for their figures, and goes on a little with the
count of jobs. The queues are those somebody watches, the busiest ones, and some more in turn; so
all are seen in the end, however many there are, and what a look costs the nodes is bounded. So is
what is kept: `MAX_QUEUES` of them, those with most to do, and sums of the rest.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from redis.exceptions import RedisError

from pydisque.client.async_client import AsyncClient
from pydisque.client.nodes import AVOID
from pydisque.errors import UnreachableError
from pydisque.monitoring.figures import KEPT, NodeFigures, QueueFigures, Rest, Sample, total
from pydisque.monitoring.probe import Probe, in_short
from pydisque.monitoring.state_counts import Census
from pydisque.monitoring.text import shown, truncate
from pydisque.monitoring.unlisted_nodes import Absent
from pydisque.protocol.addresses import parse_addresses
from pydisque.protocol.replies import QueueStats

T = TypeVar("T")

FIRST = 10_000
"""Queues that the first look asks for, so that mostly all are seen at once."""

MAX_QUEUES = 10_000
"""Queues that are kept beside watched and followed ones."""

MAX_NODES = 1000
"""Nodes that are asked, of those that one tells of."""

LONGEST_ADDRESS = 300
"""Letters of the address of a node that cannot be asked there."""

NO_ADDRESS = "what other nodes tell of it is no host and port"

BUSIEST = 300
"""Queues that each look asks for as they had most to do."""

PAGE = 1000
"""Queues that are listed, or asked for, in one go."""

SCAN_SECONDS = 0.05
"""Of each look are spent on counting jobs."""


class _Head(NamedTuple):
    """The job that is next in a queue."""

    stamp: tuple[int, int] | None
    """The queue's, when it was asked for; while that is the same so is the job."""
    made: float | None
    """When it was made, in seconds since 1970; None: there is none."""


_UNKNOWN = _Head(None, None)


def _unreachable(failures: Mapping[Probe, RedisError]) -> UnreachableError:
    """What to raise when this is all that came of asking nodes."""
    met = "; ".join(f"{probe.name}: {in_short(each)}" for probe, each in failures.items())
    error = UnreachableError(f"no node answered ({met})" if met else "no node is known yet")
    first = next(iter(failures.values()), None)
    error.__cause__ = (first and first.__cause__) or first
    return error


class Survey:
    """All nodes and queues of a system, as they were at the last `look`.

    ::

        survey = Survey(["localhost:7711"])
        await survey.look()
        busiest = max(survey.queues.values(), key=lambda queue: queue.out_rate)

    For one event loop; call `look` again and again, at whatever pace, and `aclose` in the end.
    """

    def __init__(
        self,
        nodes: Sequence[str],
        *,
        budget: int = 1000,
        counting: bool = True,
        room: int = MAX_QUEUES,
    ) -> None:
        """Prepare it; nothing is asked yet.

        Args:
            nodes: where nodes are, as for a client; those they know are asked as well.
            budget: how many queues a look asks for beside watched and busy ones.
            counting: whether jobs are counted by state, see `QueueFigures.active`.
            room: how many queues are kept beside watched and followed ones.
        """
        self._given = parse_addresses(nodes)
        self._absent = Absent(self._given)
        self._budget = budget
        self._counting = counting
        self._room = room
        self.probes: list[Probe] = []
        """Each node that is known."""
        self._unusable: list[NodeFigures] = []
        """Nodes of which others tell no address that could be used."""
        self.queues: dict[bytes, QueueFigures] = {}
        """Those with most to do, the one first that was not asked for for the longest time."""
        self.watched: set[bytes] = set()
        """Names of queues that every look asks for; for whoever shows them to set."""
        self.followed: set[bytes] = set()
        """Likewise, for whoever tells of them all the time: there may be some more."""
        self.jobs_in = self.jobs_out = 0
        """Jobs queued, and handed out, of all queues, since this survey began."""
        self.others_counted: tuple[int, int] = 0, 0
        """Active and delayed jobs of queues that are not counted one by one."""
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        """All queues together, look by look."""
        self.complete = False
        """Whether every queue was asked for once."""
        self._began = time.monotonic()
        """The time from which on a queue that is new here is taken for a new one."""
        self._listing_began = self._began
        self._passed = Rest()
        """Queues that were let go of since they were last listed from the first one on."""
        self._rest = Rest()
        """Likewise in the list before, which came to its end."""
        self._heads: dict[bytes, _Head] = {}
        """Of queues of which the age of the oldest job is known."""

    @property
    def nodes(self) -> list[NodeFigures]:
        """What the nodes told last, also of those given that the others do not know."""
        probes = (*self.probes, *self._absent.probes.values())
        return [*(probe.figures for probe in probes), *self._unusable]

    @property
    def asked(self) -> list[Probe]:
        """The nodes whose queues count: those on one Valkey have the same, so one of them."""
        found = [probe for probe in self.probes if not probe.figures.error]
        if any("pydisque_version" in probe.figures.info for probe in found):
            return found[:1]
        return found

    @property
    def rest(self) -> Rest:
        """Sums of the queues that are not kept, as they were when they had their turn."""
        return self._rest if self.complete else self._passed

    @property
    def queue_count(self) -> int:
        """How many queues there are, in all."""
        count = len(self.queues) + self.rest.queues
        if not self.rest.queues:
            return count
        known: list[int | None] = [p.figures.figure("registered_queues") for p in self.asked]
        most = sum(count if number is None else number for number in known)
        return max(min(count, most), len(self.queues))

    async def look(self) -> None:
        """See how it is now.

        Raises:
            RedisError: no node could be asked; its cause is what the first one met.
        """
        failed = await self._find()
        asking = asyncio.create_task(self._absent.ask(self.probes))
        try:
            await self._look_at(failed)
            await asking
        finally:
            asking.cancel()

    async def _look_at(self, failed: list[Probe]) -> None:
        """See all but the nodes that failed just now."""
        await asyncio.gather(*(self._inform(probe) for probe in self.probes if probe not in failed))
        asked = self.asked
        if not asked:
            raise self._unreachable()
        wanted = [*self.watched, *self.followed, *self._busiest()]
        names, are_last = await self._next_names(asked)
        await self._see(asked, list(dict.fromkeys([*wanted, *names])))
        self._make_room()
        if are_last:
            self._end_list()
        if self._counting:
            await asyncio.gather(*(self._count(probe) for probe in asked))
            self._tell_counts(asked)
        self.samples.append(total(list(self.queues.values()), time.monotonic(), self.rest))

    async def everywhere(self, question: Callable[[AsyncClient], Any]) -> list[Any]:
        """What all nodes answer whose queues count; an error is in place of its answer."""
        return list((await self._all(lambda probe: question(probe.client))).values())

    async def of_each(self, question: Callable[[Probe], Awaitable[T]]) -> dict[Probe, T]:
        """What comes of asking each node whose queues count; those that fail are left out.

        Raises:
            UnreachableError: all fail; its cause is what the first one met.
        """
        told: dict[Probe, T] = {}
        failures: dict[Probe, RedisError] = {}
        for probe, answer in (await self._all(question)).items():
            if isinstance(answer, RedisError):
                failures[probe] = answer
            else:
                told[probe] = answer
        if not told:
            raise _unreachable(failures) if failures else self._unreachable()
        return told

    async def _all(self, question: Callable[[Probe], Awaitable[T]]) -> dict[Probe, T | RedisError]:
        asked = self.asked
        found = await asyncio.gather(*map(question, asked), return_exceptions=True)
        answers: dict[Probe, T | RedisError] = {}
        for probe, answer in zip(asked, found, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, RedisError):
                raise answer
            answers[probe] = answer
        return answers

    def _unreachable(self) -> UnreachableError:
        """What to raise when no node is left to be asked."""
        return _unreachable({probe: probe.failure for probe in self.probes if probe.failure})

    def own(self, probe: Probe) -> bytes:
        """What IDs of a node's own jobs begin with, where it has copies of others' beside them."""
        return b"" if len(self.asked) == 1 else f"D-{probe.figures.id[:8]}-".encode()

    async def aclose(self) -> None:
        """Hang up."""
        await asyncio.gather(*(probe.client.close() for probe in self.probes))
        await self._absent.aclose()

    # Nodes

    async def _find(self) -> list[Probe]:
        """Have a probe for each node that those given, or found so far, know of.

        Returns:
            Those that did not answer now.
        """
        known = {probe.name: probe for probe in self.probes}
        # Those that answered last come first, as one that is silent takes long each time.
        probes = sorted(self.probes, key=lambda probe: bool(probe.figures.error))
        failed: list[Probe] = []
        for address in dict.fromkeys([*(probe.address for probe in probes), *self._given]):
            probe = known.get(str(address)) or Probe(address)
            try:
                hello = await probe.client.hello()
            except RedisError as error:
                probe.note(error)
                known.setdefault(probe.name, probe)
                failed.append(probe)
                continue
            await self._take_over(probe, hello, known)
            return failed
        self.probes = list(known.values())
        return failed

    async def _take_over(self, told: Probe, hello: list[Any], known: dict[str, Probe]) -> None:
        found: dict[str, Probe] = {}
        by_id = {probe.figures.id: probe for probe in known.values() if probe.figures.id}
        entries = hello[2 : 2 + MAX_NODES]
        self._unusable = []
        for node_id, host, port, priority in (map(bytes.decode, entry) for entry in entries):
            address = told.address.elsewhere(host, int(port))
            if node_id == hello[1].decode():
                probe = told
            elif address.is_usable:
                probe = by_id.get(node_id) or known.get(str(address)) or Probe(address)
            else:
                where = shown(truncate(str(address), LONGEST_ADDRESS))
                self._unusable.append(NodeFigures(node_id, where, int(priority), NO_ADDRESS))
                continue
            probe.figures.id, probe.figures.priority = node_id, int(priority)
            found[node_id] = probe
        kept = list(found.values())
        gone = [probe for probe in {*known.values(), told} if probe not in kept]
        self.probes = kept
        await asyncio.gather(*(probe.client.close() for probe in gone))

    async def _inform(self, probe: Probe) -> None:
        if probe.figures.error and probe.figures.priority >= AVOID:
            return  # its fellows say that it is not back
        try:
            probe.figures.info = await probe.client.info()
            probe.note(None)
        except RedisError as error:
            probe.note(error)

    # Queues

    def _busiest(self) -> list[bytes]:
        best = heapq.nlargest(
            BUSIEST,
            self.queues.values(),
            key=lambda queue: (queue.in_rate + queue.out_rate, queue.len),
        )
        return [queue.name for queue in best]

    async def _next_names(self, asked: list[Probe]) -> tuple[list[bytes], bool]:
        """Some queues, so that all have their turn, and whether all have had it with these.

        They are those that are listed and not known, and those known that were not asked for for
        the longest time: one that is gone is forgotten then.
        """
        turns = self._budget if self.samples else FIRST
        kept = turns // 10 if self.samples else 0  # turns for those known, however many are new
        room = (turns - kept) // len(asked)
        listed: list[bytes] = []
        try:
            for probe in asked:
                listed += await self._names_of(probe, room)
        except RedisError:
            self._list_anew()
        new = [name for name in dict.fromkeys(listed) if name not in self.queues]
        known = islice(self.queues, max(turns - len(new), 0))
        return [*new, *known], all(probe.listed for probe in asked)

    def _list_anew(self) -> None:
        self._passed = Rest()
        self._listing_began = time.monotonic()
        for probe in self.probes:
            probe.list_anew()

    def _end_list(self) -> None:
        self._rest, self.complete = self._passed, True
        self._list_anew()

    async def _names_of(self, probe: Probe, room: int) -> list[bytes]:
        found: list[bytes] = []
        step = min(PAGE, room)
        while len(found) < room and not probe.listed:
            found += await probe.list_some(step)
        return found

    def _make_room(self) -> None:
        """Keep no more queues than are to be kept: those with most to do, and of equals the old."""
        wanted = self.watched | self.followed
        others = [queue for queue in self.queues.values() if queue.name not in wanted]
        excess = len(others) - self._room
        if excess <= 0:
            return
        for queue in heapq.nsmallest(excess, others, key=_worth):
            del self.queues[queue.name]
            self._passed = self._passed.plus(queue)
        # What comes again may have been here before, and its jobs were counted then.
        self._began = self._listing_began

    async def _see(self, asked: list[Probe], names: list[bytes]) -> None:
        for at in range(0, len(names), PAGE):
            page = names[at : at + PAGE]
            answers = await asyncio.gather(
                *(_stats(probe, page) for probe in asked), return_exceptions=True
            )
            now = time.monotonic()
            told = {
                _teller(probe): answer
                for probe, answer in zip(asked, answers, strict=True)
                if isinstance(answer, list)
            }
            for i, name in enumerate(page if told else ()):
                found = {node: stats for node, each in told.items() if (stats := each[i])}
                if found:
                    self._take(name, found, now)
                else:
                    self.queues.pop(name, None)

    def _take(self, name: bytes, found: dict[str, QueueStats], now: float) -> None:
        queue = self.queues.pop(name, None) or QueueFigures(name, self._began)
        self.queues[name] = queue  # behind all that were not asked for now
        queue.see(found, now)
        self.jobs_in += queue.new_in
        self.jobs_out += queue.new_out

    async def ask_oldest(self, names: Iterable[bytes]) -> None:
        """Learn how old the job is that is next in some queues.

        Brings its body where the queue changed since, so ask for few. What was learnt of other
        queues is forgotten, as it would not be true for long.

        Raises:
            UnreachableError: no node could be asked; what was learnt before is kept.
        """
        wanted = [self.queues[name] for name in dict.fromkeys(names) if name in self.queues]
        heads = {queue.name: self._heads.get(queue.name, _UNKNOWN) for queue in wanted}
        changed = [queue for queue in wanted if heads[queue.name].stamp != queue.stamp]
        if changed:
            heads |= await self._first_of(changed)
        for name in self._heads.keys() & self.queues.keys():
            self.queues[name].oldest = None
        self._heads, now = heads, time.time()
        for queue in wanted:
            made = heads[queue.name].made
            queue.oldest = None if made is None else max(0.0, now - made)

    async def _first_of(self, queues: list[QueueFigures]) -> dict[bytes, _Head]:
        stamps = {queue.name: queue.stamp for queue in queues}
        filled = [queue.name for queue in queues if queue.len]
        asked = len(self.asked)
        answers = await self.of_each(lambda probe: _made(probe, filled)) if filled else {}
        first: dict[bytes, float] = {}
        for told in answers.values():
            for name, made in told.items():
                first[name] = min(made, first.get(name, made))
        whole = len(answers) == asked  # else it is asked for again
        return {
            name: _Head(stamp if whole else None, first.get(name)) for name, stamp in stamps.items()
        }

    # Jobs

    async def _count(self, probe: Probe) -> None:
        """Go on with the count for a moment."""
        census = probe.census
        own = self.own(probe)
        until = time.monotonic() + SCAN_SECONDS
        while time.monotonic() < until:
            try:
                cursor, jobs = await probe.client.jscan(
                    census.cursor, census.step, state="active", reply="all"
                )
            except RedisError:
                probe.census = Census()
                return
            if census.take(cursor, jobs, own, time.time(), self.queues):
                return

    def _tell_counts(self, asked: list[Probe]) -> None:
        if not all(probe.census.done for probe in asked):
            return
        censuses = [probe.census for probe in asked]
        self.others_counted = (
            sum(census.others_active for census in censuses),
            sum(census.others_delayed for census in censuses),
        )
        for name, queue in self.queues.items():
            queue.active = sum(probe.census.active[name] for probe in asked)
            queue.delayed = sum(probe.census.delayed[name] for probe in asked)


def _worth(queue: QueueFigures) -> tuple[float, float]:
    return queue.load, -queue.samples[0].time


def _teller(probe: Probe) -> str:
    """Whose counters a node tells: those on one Valkey all tell the same."""
    return "" if "pydisque_version" in probe.figures.info else probe.name


async def _stats(probe: Probe, names: list[bytes]) -> list[QueueStats | None]:
    pipeline = probe.client.pipeline()
    for name in names:
        pipeline.qstat(name)
    return await pipeline.execute()


async def _made(probe: Probe, queues: list[bytes]) -> dict[bytes, float]:
    """When the job was made that is next in each of these queues where there is one."""
    peeks = probe.client.pipeline()
    for name in queues:
        peeks.qpeek(name, 1)
    peeked = zip(queues, await peeks.execute(), strict=True)
    first = {name: jobs[0].id for name, jobs in peeked if jobs}
    shows = probe.client.pipeline()
    for id_ in first.values():
        shows.show(id_)
    told = zip(first, await shows.execute(), strict=True)
    return {name: job.ctime / 1e9 for name, job in told if job is not None}
