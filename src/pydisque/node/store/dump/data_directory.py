"""Data directories from outside: read without changing a byte, whatever is damaged; or added to.

Reading goes on past all damage, notes it, and keeps what makes sense. It sees one state of the
journal, while a node runs on it as well. Adding is for a directory that no node uses.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from pydisque.node.engine.job import QUEUED
from pydisque.node.store.dump.loader import DumpError, Intake
from pydisque.node.store.dump.validation import job_nonsense, queue_nonsense
from pydisque.node.store.durable import journal, records
from pydisque.node.store.durable.journal import APPLICATION_ID, FILE, VERSION, Folder, JournalError
from pydisque.node.store.durable.records import DamagedError, Record
from pydisque.node.store.durable.recovery import Replay, replay

_MOST_ROWS = 100
"""Of records in one page: how far to look for them when the last one cannot be found."""


@dataclass
class Findings:
    """What is in a data directory."""

    state: Replay = field(default_factory=Replay)
    """Jobs and queues, without those that cannot be."""
    node_id: bytes = b""
    records: int = 0
    problems: list[str] = field(default_factory=list)
    """All that is wrong, each in a line."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of its files by their names."""
    pages: int = 0
    free_pages: int = 0


# Reading


def examine(path: str | Path) -> Findings:
    """Look at everything in a data directory.

    Raises:
        JournalError: there is no journal that could be looked into.
    """
    file = Path(path) / FILE
    wal = file.with_name(f"{FILE}-wal")
    if not file.is_file():
        remark = f", though {wal.name} is there" if wal.exists() else ""
        raise JournalError(f"{path}: not a data directory: there is no {FILE}{remark}")
    if not wal.exists():
        # Nobody has it open. SQLite would leave a WAL of its own behind, so it is told that the
        # file does not change; had it done so nonetheless, what was read would be worth nothing.
        before = _stamp(file)
        try:
            findings = _examine(file, "immutable=1")
        except JournalError:
            if _stamp(file) == before:
                raise
        else:
            if _stamp(file) == before:
                return findings
    return _examine(file, "mode=ro")


def _stamp(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _examine(file: Path, how: str) -> Findings:
    try:
        uri = f"{file.absolute().as_uri()}?{how}"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as db:
            db.execute("BEGIN")  # from here on it is one state that is seen
            [[mark]] = db.execute("PRAGMA application_id")
            [[version]] = db.execute("PRAGMA user_version")
            if (mark, version) != (APPLICATION_ID, VERSION):
                raise JournalError(f"{file}: not a journal of this version of pydisque")
            return _Examination(db, file).findings
    except sqlite3.Error as error:
        raise JournalError(f"{file}: {error}") from None


class _Examination:
    """One look at a journal."""

    def __init__(self, db: sqlite3.Connection, file: Path) -> None:
        self.findings = Findings()
        self._db = db
        self._problems = self.findings.problems
        self._unknown: dict[int, int] = {}  # ctimes of changed jobs not met yet; in which record
        self._gone: set[int] = set()
        self._figures(file)
        self._check_database()
        for number, data in self._rows():
            self._record(number, data)
        self._conclude()

    def _figures(self, file: Path) -> None:
        for path in sorted(file.parent.glob(f"{FILE}*")):
            self.findings.sizes[path.name] = path.stat().st_size
        [[self.findings.pages]] = self._db.execute("PRAGMA page_count")
        [[self.findings.free_pages]] = self._db.execute("PRAGMA freelist_count")

    def _check_database(self) -> None:
        try:
            found = [row[0] for row in self._db.execute("PRAGMA integrity_check(1000)")]
        except sqlite3.Error as error:
            found = [str(error)]
        told = [line for text in found if text != "ok" for line in str(text).splitlines()]
        self._problems += [f"database: {line}" for line in told if not line.startswith("***")]
        try:
            self.findings.node_id = journal.node_id(self._db)
        except JournalError:
            self._problems.append("node ID: cannot be read")

    # Records

    def _rows(self) -> Iterator[tuple[int, object]]:
        last = 0
        try:
            for last, data in self._db.execute("SELECT number, data FROM record ORDER BY number"):
                yield last, data
        except sqlite3.Error:
            yield from self._one_by_one(last + 1)

    def _one_by_one(self, first: int) -> Iterator[tuple[int, object]]:
        """The records from this one on, past those that cannot be read."""
        known, end = True, 0
        try:
            [[end]] = self._db.execute("SELECT max(number) FROM record")
        except sqlite3.Error:
            known, end = False, first + self.findings.pages * _MOST_ROWS
        lost: list[int] = []
        for number in range(first, end + 1):
            query = "SELECT data FROM record WHERE number = ?"
            try:
                found = self._db.execute(query, (number,)).fetchone()
            except sqlite3.Error:
                lost.append(number)
            else:
                self._tell_lost(lost)
                if found:
                    yield number, found[0]
        self._tell_lost(lost, to_the_end=not known)

    def _tell_lost(self, lost: list[int], *, to_the_end: bool = False) -> None:
        if lost:
            which = f"record {lost[0]}" if len(lost) == 1 else f"records {lost[0]} to {lost[-1]}"
            which = f"records from {lost[0]} on" if to_the_end else which
            self._problems.append(f"{which}: cannot be read")
            lost.clear()

    def _record(self, number: int, data: object) -> None:
        self.findings.records += 1
        if not isinstance(data, bytes):
            self._problems.append(f"record {number}: it is no blob")
            return
        try:
            record = records.unpack(data)
        except DamagedError as error:
            self._problems.append(f"record {number}: {error}")
        except (struct.error, IndexError, MemoryError, OverflowError):  # written so
            self._problems.append(f"record {number}: its fields do not fit together")
        else:
            self._look_at(number, record)
            self.findings.state.take(number, len(data), record)

    def _look_at(self, number: int, record: Record) -> None:
        """Compare a record with those before it."""
        full = {job.ctime for job in record.jobs}
        self._gone -= full
        for ctime in full & self._unknown.keys():
            del self._unknown[ctime]
        known = self.findings.state.jobs
        for change in record.changes:
            if change.ctime not in known and change.ctime not in full:
                self._unknown.setdefault(change.ctime, number)
        for ctime in record.gone:
            self._unknown.pop(ctime, None)
            if ctime in self._gone:
                self._problems.append(f"record {number}: ends a job again (ctime {ctime})")
            self._gone.add(ctime)

    # The whole

    def _conclude(self) -> None:
        for ctime, number in self._unknown.items():
            told = f"changes a job that stands in no record (ctime {ctime})"
            self._problems.append(f"record {number}: {told}")
        self._sift_queues()
        self._sift_jobs()

    def _sift_queues(self) -> None:
        queues = self.findings.state.queues
        serials: set[int] = set()
        for queue in list(queues.values()):
            wrong = queue_nonsense(queue)
            if queue.serial in serials:
                wrong = f"its serial {queue.serial} is another's as well"
            serials.add(queue.serial)
            if wrong:
                self._problems.append(f"record {queue.home}: queue {queue.name!r}: {wrong}")
                del queues[queue.name]

    def _sift_jobs(self) -> None:
        state = self.findings.state
        ids: set[bytes] = set()
        queueless: dict[bytes, int] = {}
        for job in list(state.jobs.values()):
            wrong = job_nonsense(job)
            if job.id in ids:
                wrong = "its ID is another's as well"
            ids.add(job.id)
            if wrong:
                id_ = job.id.decode("ascii", "backslashreplace")
                self._problems.append(f"record {job.home}: job {id_}: {wrong}")
                del state.jobs[job.ctime]
            elif job.state is QUEUED and job.queue not in state.queues:
                queueless.setdefault(job.queue, job.home)
        for name, home in queueless.items():
            told = f"queue {name!r}: it has jobs, but stands in no record"
            self._problems.append(f"record {home}: {told}")


# Adding


def load(path: str | Path, lines: Iterable[bytes], now: int) -> Intake:
    """Add what a dump holds, or nothing of it; the directory is made if it is not there.

    Args:
        path: the data directory.
        lines: the dump.
        now: the time in milliseconds.

    Raises:
        DumpError: the dump cannot be loaded.
        JournalError: the directory cannot be used, a node uses it, or it is damaged.
    """
    with ExitStack() as stack:
        if (Path(path) / FILE).exists():
            db = _hold(path, stack)
            intake = Intake(replay(db), now)
            intake.take(lines)
        else:  # not to be made for a dump that turns out to be none
            intake = Intake(Replay(), now)
            intake.take(lines)
            db = _hold(path, stack)
            if next(journal.records(db), None):
                raise JournalError(f"{path}: somebody else has put jobs there meanwhile")
        try:
            _append(db, intake)
        except sqlite3.Error as error:
            raise JournalError(f"{path}: {error}") from None
    return intake


def _hold(path: str | Path, stack: ExitStack) -> sqlite3.Connection:
    folder = Folder(path)
    stack.callback(folder.release)
    return stack.enter_context(closing(journal.connect(folder.path)))


def _append(db: sqlite3.Connection, intake: Intake) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO record VALUES (?, ?)", intake.records)
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


__all__ = ["DumpError", "Findings", "JournalError", "examine", "load"]
