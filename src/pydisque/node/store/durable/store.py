"""The store whose jobs outlive the process: the engine, and a journal of what it changed.

Changes are made in memory at once and committed together; whoever holds replies back until a
commit is over promises nothing that is not kept. A commit that fails is undone in memory, with all
that was changed since, and until one succeeds again nothing may be changed: `failure` says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from typing import NamedTuple

from pydisque.node.engine.change_log import Jobs, Queues
from pydisque.node.engine.job import GONE, Job
from pydisque.node.engine.queue import Queue
from pydisque.node.store.base import LocalStore
from pydisque.node.store.durable import journal, records
from pydisque.node.store.durable.journal import Folder, Journal, Work
from pydisque.node.store.durable.recovery import replay

logger = logging.getLogger("pydisque.node")

MAY_LOSE = {
    "always": "nothing that was answered",
    "everysec": "nothing when the node ends; about the last second when the machine does",
    "none": "nothing when the node ends; what the system had not written when the machine does",
}
"""What each durability may lose."""


class _Commit(NamedTuple):
    """One that is under way, and what follows from its success."""

    jobs: Jobs
    queues: Queues
    settled: list[tuple[int, int, list[Job], list[Queue]]]
    """Records by number and size, and what is at home there then."""
    gone: list[Job | Queue]
    node_id: bytes
    wanted: int
    """The record that is read back, for what is at home there to move on; 0 for none."""


class DurableStore(LocalStore):
    """A store in a data directory, which it holds until it is closed."""

    durable = True

    def __init__(
        self,
        path: str,
        report: Callable[[Callable[[], None]], object],
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Read the journal there and go on from it.

        Time goes on by the clock, but never back: when that was set back, it stands where the
        journal ends and runs on from there.

        Args:
            path: the data directory, made if it is not there.
            report: calls what it is given, soon, in the thread that uses the store.
            clock: Unix time in seconds, if not this machine's.

        Raises:
            JournalError: it cannot be used, another process uses it, or it is damaged.
        """
        self._folder = Folder(path)
        with ExitStack() as undo:
            undo.callback(self._folder.release)
            db = undo.enter_context(closing(journal.connect(self._folder.path)))
            kept = replay(db)
            known = journal.node_id(db)
            super().__init__(known, not_before=kept.now, clock=clock)
            self.restore(kept.queues.values(), kept.jobs.values())
            self.journal = Journal(db, self._folder.path, report)
            undo.pop_all()
        self.recording = True
        self._kept_id = known
        self._new_id = b"" if known else self.node_id
        self._failure = ""
        self._homes = kept.homes
        self._last = kept.last
        self._moving: list[Job | Queue] = []  # to stand in full in the next record
        self._compacting = 0  # up to which record all is moved on

    def set_durability(self, durability: str) -> None:
        """From the next commit on: ``always``, as at first, ``everysec`` or ``none``."""
        if durability != self.journal.durability:
            self.journal.set_durability(durability)

    async def aclose(self) -> None:
        """End the journal and let go of the directory."""
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def close(self) -> None:
        """The same for who has no loop; blocks."""
        self.journal.close()
        self._folder.release()

    @property
    def failure(self) -> str:
        """Why nothing may be changed now, or nothing."""
        return self._failure or self.journal.sync_failure

    def set_node_id(self, node_id: bytes) -> None:
        """Put this node's mark on the IDs of the jobs to come, and keep it."""
        super().set_node_id(node_id)
        self._new_id = node_id

    def tick(self) -> None:
        """Take the time from the clock and do what is due, if that can be kept."""
        if not self._failure:
            super().tick()

    def catch_up(self) -> None:
        """Take the time from the clock and do all that is due, if that can be kept."""
        if not self._failure:
            super().catch_up()

    def drop_idle(self, seconds: int, waited_for: Callable[[bytes], bool]) -> None:
        """Drop idle queues, if that can be kept."""
        if not self._failure:
            super().drop_idle(seconds, waited_for)

    def make_room(self, limit: int) -> bool:
        """Drop unused queues, if that can be kept."""
        return self.memory <= limit if self._failure else super().make_room(limit)

    def every_second(self) -> None:
        """Try again after a failure; else give back what the journal does not need."""
        if self._failure:
            self.journal.commit(Work(), self._tried)
        elif below := self._homes.obsolete():
            self.journal.commit(Work(below=below), lambda _failure, _found: None)

    def _tried(self, failure: str, _: bytes) -> None:
        if not failure and self._failure:
            logger.warning("the journal can be written again")
        self._failure = failure

    def compact(self) -> None:
        """Begin to move all that is kept into new records, a little with each commit."""
        self._compacting = self._last

    def persistence(self) -> dict[str, object]:
        """What INFO tells of the journal."""
        made = self.journal
        return {
            "aof_rewrite_in_progress": int(self._compacting > 0),
            "aof_current_size": made.size(),
            "aof_base_size": self._homes.needed,
            "journal": str(self._folder.path),
            "durability": made.durability,
            "may_lose": MAY_LOSE[made.durability],
            "journal_commits": made.commits,
            "journal_records_size": self._homes.size,
            "journal_failure": self.failure,
        }

    # Commits

    def uncommitted(self) -> bool:
        """Whether something changed, or has to be moved, since the last commit began."""
        if self.changed_jobs or self.changed_queues or self._moving:
            return True
        return bool(self._new_id or self._compacting) and not self._failure

    def commit(self, done: Callable[[str], None]) -> None:
        """Begin to keep what changed; the commit before must be over.

        `done` hears what went wrong, or nothing. If something did, all is as it was at the end of
        the commit before, whatever was changed meanwhile.
        """
        jobs, queues = self.take_changes()
        moved, self._moving = self._moving, []
        new_id, self._new_id = self._new_id, b""
        full = [job for job in jobs if not job.home and job.state is not GONE]
        full += [it for it in moved if isinstance(it, Job) and it.state is not GONE]
        there = {queue for queue in queues if self._has(queue)}
        there |= {it for it in moved if isinstance(it, Queue) and self._has(it)}
        gone = [job for job in jobs if job.home and job.state is GONE]
        changed = [job for job in jobs if job.home and job.state is not GONE]
        dropped = [queue for queue in queues if queue.home and queue not in there]
        rows, settled = [], []
        if full or gone or changed or there or dropped:
            rest = changed, [j.ctime for j in gone], list(there), [q.name for q in dropped]
            for part in _parts(full):
                self._last += 1
                data = records.pack(self.now, part, *rest)
                rows.append((self._last, data))
                settled.append((self._last, len(data), part, rest[2]))
                rest = [], [], [], []
        wanted = 0 if moved else self._to_move()
        commit = _Commit(jobs, queues, settled, [*gone, *dropped], new_id, wanted)
        work = Work(rows, self._homes.obsolete(), wanted, new_id)
        if any(work):
            self.journal.commit(work, lambda *outcome: self._committed(commit, done, *outcome))
        else:
            done("")

    def _has(self, queue: Queue) -> bool:
        return self.queues.get(queue.name) is queue

    def _committed(
        self, commit: _Commit, done: Callable[[str], None], failure: str, found: bytes
    ) -> None:
        if failure:
            self._take_back(commit, failure)
        else:
            self._settle(commit)
            if commit.wanted and found:
                self._move_on(commit.wanted, found)
        done(failure)

    def _settle(self, commit: _Commit) -> None:
        homes = self._homes
        self._kept_id = commit.node_id or self._kept_id
        for number, size, jobs, queues in commit.settled:
            inhabitants: list[Job | Queue] = [*jobs, *queues]
            homes.add(number, size, len(inhabitants))
            for inhabitant in inhabitants:
                if inhabitant.home:
                    homes.leave(inhabitant.home)
                inhabitant.home = number
        for gone in commit.gone:
            homes.leave(gone.home)

    def _take_back(self, commit: _Commit, failure: str) -> None:
        logger.error("the journal cannot be written: %s", failure)
        self._failure = failure
        self._moving = []
        if self._kept_id:
            super().set_node_id(self._kept_id)
        self._new_id = b"" if self._kept_id else self.node_id
        self.undo(*self.take_changes())
        self.undo(commit.jobs, commit.queues)

    def _to_move(self) -> int:
        """The record that what is at home there should leave now, or 0."""
        oldest = self._homes.oldest()
        if oldest and oldest <= self._compacting:
            return oldest
        self._compacting = 0
        return self._homes.crowded()

    def _move_on(self, number: int, data: bytes) -> None:
        """Let what is at home in this record stand in full in the next one."""
        ids, names = records.contents(data)
        found: Iterable[Job | Queue | None] = (*map(self._find, ids), *map(self.queues.get, names))
        self._moving = [it for it in found if it is not None and it.home == number]


def _parts(jobs: list[Job]) -> Iterator[list[Job]]:
    """The jobs in parts whose bodies are not much more than `records.LARGE`; one part at least."""
    part: list[Job] = []
    size = 0
    for job in jobs:
        part.append(job)
        size += len(job.body)
        if size > records.LARGE:
            yield part
            part, size = [], 0
    if part or not jobs:
        yield part
