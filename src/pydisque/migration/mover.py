"""Moves the jobs of a running Disque, a node or a cluster of them, to another one.

A queued job is taken out of its queue with DEQUEUE, so that no worker gets it meanwhile, added to
the target, and only then acknowledged at the source. If anything ends this in between, it is at the
source and comes back there, or at both. What becomes of which job is decided in `migration_plan`,
what is on its way stands in a `Journal`; here it is asked and sent.

::

    with Source(parse_addresses("old:7711")) as source, Client("new:7711", resend_add=False) as new:
        move = Move(source, new, Journal("moving.journal"))
        move.run()
        print(move.moved, move.in_doubt)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Event
from time import monotonic
from typing import Any, NamedTuple

from pydisque.client.client import Client
from pydisque.client.requeue import at_most_once
from pydisque.errors import ConnectionLostError, PausedError
from pydisque.migration.journal import Journal
from pydisque.migration.plan import (
    Judged,
    Next,
    Pause,
    Queue,
    Standing,
    Survey,
    adding,
    comes_back_soon,
    decide,
    is_doubtful,
    judge,
    next_count,
)
from pydisque.migration.source import Source, SourceNode
from pydisque.protocol import commands

# IDs and names asked for in one go.
PAGE = 1000

# How often to look again for what is about to be queued, and after how many seconds. In all it is
# longer than the margin of `migration_plan`.
TRIES = 10
PAUSE = 1.0

# With how many jobs a batch begins, before it is known how large they are.
FEW = 16


class Found(NamedTuple):
    """A job, and the nodes that have it, the one that answers for it first."""

    job: Judged
    holders: list[SourceNode]

    @property
    def id(self) -> bytes:
        """Its ID at the source."""
        return self.job.info.id


class Move:
    """Moves jobs, as far as it gets; what it came to can be read at any time."""

    def __init__(
        self,
        source: Source,
        target: Client,
        journal: Journal,
        *,
        queues: Iterable[bytes] = (),
        active: str = "wait",
        replicate: int | None = None,
        pauses: bool = True,
    ) -> None:
        """Prepare a move.

        Args:
            source: Where the jobs are.
            target: Where they are to be; made with ``resend_add=False``.
            journal: What stands in it from an earlier run is finished first.
            queues: Only the jobs of these, if there are any.
            active: What to do about jobs that somebody works on: ``wait`` until they are
                acknowledged or come back, ``move`` or ``skip`` them.
            replicate: Nodes of the target that must hold a job. Default: the target's.
            pauses: Whether to pause queues at the target that are paused at the source.
        """
        self.stop = Event()
        """Set it to end `run` after what is under way."""
        self.moved: Counter[Standing] = Counter()
        self.waiting = 0
        """How many jobs there were last to look at again."""
        self.closed: set[bytes] = set()
        """Queues into which the target takes no jobs."""
        self.paused: dict[bytes, Pause] = {}
        """Queues that were paused at the target."""
        self.in_doubt: dict[bytes, None] = {}
        """The IDs of jobs that may be at both."""
        self.overtaken = 0
        """How many jobs were finished at the source while they were added to the target."""
        self.progress: Callable[[], None] = lambda: None
        """Called when one of these has changed."""
        self._nodes = list(source.nodes.values())
        self._by_id = source.nodes
        self._target = target
        self._journal = journal
        self._wanted = frozenset(queues)
        self._active = active
        self._replicate = replicate
        self._pauses = pauses
        self._count = FEW
        self._target_is_cluster = len(target.hello()) > 3

    def run(self) -> None:
        """Move until there is nothing left to be moved, or `stop` is set.

        Raises:
            redis.exceptions.RedisError: A node failed, or refused what it was asked. Jobs that were
                taken out of a queue and are not at the target come back.
            JournalError: The journal cannot be written.
        """
        self.finish_earlier()
        tries = 0
        while not self.stop.is_set():
            before, started = self.moved.total(), monotonic()
            self.waiting = self._pass()
            self.progress()
            if self.moved.total() > before:
                tries = 0
                continue
            if not self.waiting or (self._active != "wait" and tries == TRIES):
                break
            tries += 1
            self.stop.wait(max(PAUSE, monotonic() - started))
        self._pause_into()

    def finish_earlier(self) -> None:
        """Acknowledge what an earlier run had added; what it had only touched is dropped."""
        added = list(self._journal.added)
        for start in range(0, len(added), PAGE):
            ids = added[start : start + PAGE]
            for node in self._nodes:
                known = node.ask(*map(commands.show, ids))
                self._acknowledge_at(node, [info.id for info in known if info])
            self._journal.done(ids)
        self._journal.done(list(self._journal.touched))

    def _pass(self) -> int:
        """Move what can be moved now; how many jobs are to be looked at again."""
        queues = self.queues()
        self._look_at_target(queues)
        for name, queue in queues.items():
            if queue.length:
                self._move_queued(name)
        return self._move_others()

    # Looking

    def queues(self) -> dict[bytes, Queue]:
        """All queues that are wanted, as all nodes tell of them."""
        found: dict[bytes, Queue] = {}
        for node in self._nodes:
            for page in node.scan(partial(commands.qscan, count=PAGE)):
                names = [name for name in page if not self._wanted or name in self._wanted]
                for name, stats in zip(names, node.ask(*map(commands.qstat, names)), strict=True):
                    if stats is not None:
                        here = found.get(name, Queue())
                        found[name] = here.and_on(stats.len, stats.pause)
        return found

    def survey(self) -> Survey:
        """How many jobs there are, by queue and standing; nothing is changed."""
        queues = self.queues()
        jobs = {
            name: Counter({Standing.QUEUED: queue.length})
            for name, queue in queues.items()
            if queue.length
        }
        for batch in self._jobs("active", "wait-repl"):
            for found in batch:
                if found.job.standing is not Standing.QUEUED:
                    jobs.setdefault(found.job.info.queue, Counter())[found.job.standing] += 1
        return Survey(queues, jobs)

    def _jobs(self, *states: str) -> Iterator[list[Found]]:
        """The jobs that some node has in one of these states, each once, some at a time."""
        for node in self._nodes:
            for name in self._wanted or (None,):
                scan = partial(commands.jscan, count=PAGE, queue=name, state=states)
                for page in node.scan(scan):
                    while page:
                        ids, page[:] = page[: self._count], page[self._count :]
                        yield self._looked_at(node, ids)

    def _looked_at(self, node: SourceNode, ids: list[bytes]) -> list[Found]:
        """Jobs as all nodes know them, of which this node is the first."""
        shows = [commands.show(job_id) for job_id in ids]
        views = list(zip(*(each.ask(*shows) for each in self._nodes), strict=True))
        self._fit([len(view.body) for row in views for view in row if view and view.body])
        found = []
        for row in views:
            holders = [n for n, view in zip(self._nodes, row, strict=True) if view is not None]
            job = judge(row)
            if job and job.standing is not Standing.GONE and holders[0] is node:
                found.append(Found(job, holders))
        return found

    def _fit(self, sizes: list[int]) -> None:
        if sizes:
            self._count = next_count(self._count, sizes)

    # Moving

    def _move_queued(self, queue: bytes) -> None:
        """Move the jobs of a queue, oldest first, until none is left or it is closed."""
        self._count = FEW
        while queue not in self.closed and not self.stop.is_set():
            taken: dict[bytes, Found] = {}
            seen = 0
            for node in self._nodes:
                [jobs] = node.ask(commands.qpeek(queue, self._count))
                self._take(node, [job.id for job in jobs], taken)
                seen += len(jobs)
                self._fit([len(job.body) for job in jobs])
            if not seen:
                return
            self._move(sorted(taken.values(), key=lambda found: found.job.info.ctime))

    def _take(self, node: SourceNode, ids: list[bytes], taken: dict[bytes, Found]) -> None:
        """Take jobs out of their queue; those that were still in it are ours for their RETRY.

        Two nodes may have queued the same job; it is taken from both, and counts once.
        """
        new = [job_id for job_id in ids if job_id not in taken]
        self._journal.taking(new)
        steps = [step(job_id) for job_id in new for step in (commands.dequeue, commands.show)]
        results = node.ask(*steps, *(commands.dequeue(job_id) for job_id in ids if job_id in taken))
        pairs = zip(results[: len(steps) : 2], results[1 : len(steps) : 2], strict=True)
        shown = [info for was_queued, info in pairs if was_queued and info]
        self._journal.done(set(new) - {info.id for info in shown})
        # Not of the others: on a real Disque it would take them out of another node's queue.
        node.run([commands.working(info.id) for info in shown if comes_back_soon(info)])
        for info in shown:
            job = Judged(Standing.QUEUED, info)
            taken[info.id] = Found(job, self._holders(node, info))

    def _holders(self, first: SourceNode, info: Any) -> list[SourceNode]:
        """Those who may have a copy of a job."""
        nodes = (self._by_id.get(node_id) for node_id in info.nodes_delivered)
        return [first, *(node for node in nodes if node is not None and node is not first)]

    def _move_others(self) -> int:
        """Move jobs that are delayed or active, as far as they are to be; how many to wait for.

        Jobs that were queued meanwhile are looked for as well, or they would be overlooked.
        """
        waiting = 0
        for batch in self._jobs("active", "queued", "wait-repl"):
            if self.stop.is_set():
                break
            wanted = [found for found in batch if found.job.info.queue not in self.closed]
            what = [decide(found.job, self._active) for found in wanted]
            waiting += what.count(Next.WAIT)
            moving = [f for f, each in zip(wanted, what, strict=True) if each is Next.MOVE]
            self._journal.taking(found.id for found in moving)
            self._move(moving)
        return waiting

    def _move(self, batch: list[Found]) -> None:
        """Add jobs to the target, then acknowledge them where they were."""
        lasting = [found for found in batch if found.job.info.ttl > 0]
        self._journal.done(found.id for found in batch if found.job.info.ttl == 0)  # they expire
        if not lasting:
            return
        results = self._add(lasting)
        added = [f for f, result in zip(lasting, results, strict=True) if _is_id(result)]
        self._journal.add(found.id for found in added)
        self._acknowledge(added)
        self.moved.update(found.job.standing for found in added)
        self.progress()
        self._give_up([(f, r) for f, r in zip(lasting, results, strict=True) if not _is_id(r)])

    def _add(self, batch: list[Found]) -> list[bytes | Exception]:
        """Their new IDs, or the errors that came instead."""
        self.in_doubt.update((found.id, None) for found in batch)
        pipeline = self._target.pipeline()
        for found in batch:
            pipeline.queue(adding(found.job, self._replicate))
        results = pipeline.execute(raise_on_error=False)
        if self._target_is_cluster:
            self._check_single_copies(results)
        return results

    def _check_single_copies(self, results: list[bytes | Exception]) -> None:
        """Doubt jobs that are not there: a node of a cluster that has no room loses such silently.

        Or somebody has fetched and acknowledged them already.
        """
        pipeline = self._target.pipeline()
        single = [n for n, result in enumerate(results) if _is_single(result)]
        for n in single:
            pipeline.show(results[n])  # type: ignore[arg-type]
        for n, info in zip(single, pipeline.execute(raise_on_error=False), strict=True):
            if not isinstance(info, list):
                results[n] = ConnectionLostError("the target does not know a job that it has added")

    def _acknowledge(self, added: list[Found]) -> None:
        """Make them disappear, on the node that answers for them first."""
        for first in (True, False):
            there: dict[SourceNode, list[bytes]] = {}
            for found in added:
                for node in found.holders[:1] if first else found.holders[1:]:
                    there.setdefault(node, []).append(found.id)
            for node, ids in there.items():
                known = self._acknowledge_at(node, ids)
                if first:
                    self.overtaken += len(ids) - known
                    self._settle(ids)

    def _acknowledge_at(self, node: SourceNode, ids: list[bytes]) -> int:
        return node.ask(commands.ack_job(*ids))[0] if ids else 0

    def _settle(self, ids: Iterable[bytes]) -> None:
        """These are at one place only."""
        settled = list(ids)
        for job_id in settled:
            self.in_doubt.pop(job_id, None)
        self._journal.done(settled)

    def _give_up(self, failed: list[tuple[Found, Any]]) -> None:
        """Put jobs back that could not be added, and raise the error unless it is their queue's."""
        certain = [(found, error) for found, error in failed if not is_doubtful(error)]
        back: dict[SourceNode, list[bytes]] = {}
        for found, error in certain:
            if isinstance(error, PausedError):
                self.closed.add(found.job.info.queue)
            if found.job.standing is Standing.QUEUED:
                back.setdefault(found.holders[0], []).append(found.id)
        for node, ids in back.items():
            node.put_back(ids)
        self._settle(found.id for found, _ in certain)
        for _, error in failed:
            if not isinstance(error, PausedError):
                raise error

    # Pauses

    def _look_at_target(self, queues: dict[bytes, Queue]) -> None:
        """See which queues are closed there; pause those in output whose jobs nobody may get."""
        pipeline = self._target.pipeline()
        for name in queues:
            pipeline.pause(name, kw_state=True)
        there = dict(zip(queues, map(Pause.of, pipeline.execute()), strict=True))
        self.closed = {name for name, pause in there.items() if pause.into}
        if self._pauses:
            for name, queue in queues.items():
                if queue.pause.out and not there[name].out:
                    self._pause(name, there[name] | Pause(out=True))

    def _pause_into(self) -> None:
        """Pause queues in input, as the last thing, and only those of which nothing is left."""
        if not self._pauses or self.stop.is_set():
            return
        paused = {name for name, queue in self.queues().items() if queue.pause.into}
        paused -= self.closed
        if not paused:
            return
        left = self.survey().jobs
        for name in paused - left.keys():
            [word] = self._target.pipeline().pause(name, kw_state=True).execute()
            self._pause(name, Pause.of(word) | Pause(into=True))

    def _pause(self, name: bytes, pause: Pause) -> None:
        self._target.pause(name, kw_in=pause.into, kw_out=pause.out, kw_bcast=True)
        self.paused[name] = pause


def _is_id(result: bytes | Exception) -> bool:
    return not isinstance(result, Exception)


def _is_single(result: bytes | Exception) -> bool:
    return not isinstance(result, Exception) and at_most_once(result)
