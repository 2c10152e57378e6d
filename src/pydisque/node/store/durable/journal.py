"""The journal: records in a SQLite database, appended by one thread, dropped once obsolete.

A commit is one transaction. What is in the records is not known here, nor when one is obsolete.
The file is kept in shape beside the commits: the log that SQLite writes first (the WAL) is copied
into the database by a second thread, so that no commit waits for it, and free pages are given back
when nothing else is to be done.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

logger = logging.getLogger("pydisque.node")

FILE = "journal.db"
APPLICATION_ID = 0x44495351
VERSION = 1

COPY_AT = 8 * 2**20
"""Bytes in the WAL after which they are copied into the database."""
IDLE = 0.05
"""Seconds without a commit after which there is time for free pages."""
SPARE = 256
"""Free pages that may stay, beside a tenth of all."""
STEP = 500
"""Pages given back in one go: some milliseconds."""


class JournalError(OSError):
    """The journal cannot be used; the text says where and why."""


HINT = "`pydisque check` tells what is damaged, `pydisque dump --skip-damaged` saves the rest"


def damaged(what: object) -> JournalError:
    """The error for a journal that is not as it was written."""
    return JournalError(f"the journal is damaged: {what}; {HINT}")


class Work(NamedTuple):
    """One commit."""

    records: Sequence[tuple[int, bytes]] = ()
    """To be appended, by their numbers, which only ever grow."""
    below: int = 0
    """Records with lower numbers are obsolete."""
    wanted: int = 0
    """A record to be read back, if not 0."""
    node_id: bytes = b""
    """The node's new ID, if not empty."""


Done = Callable[[str, bytes], None]
"""Hears how a commit went: what went wrong, or nothing; and the record that was wanted."""


PRIVATE = 0o600
"""Mode of all files with jobs or passwords, whatever the umask and their directory."""


def keep_private(path: Path) -> None:
    """Let nobody but its owner read or write a file, if it exists."""
    with contextlib.suppress(FileNotFoundError, PermissionError):  # another's, as of the group
        if path.is_file() and path.stat().st_mode & 0o077:
            path.chmod(PRIVATE)


def write_privately(path: Path, text: str) -> None:
    """Write a file that nobody but its owner can read, also while it is written."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w") as file:
        file.write(text)


def _sync_directory(path: Path) -> None:
    """See to it that what was made in it is found after power loss."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def in_use(path: Path) -> bool:
    """Whether a process holds this data directory; it need not exist."""
    try:
        Folder(path, make=False).release()
    except JournalError:
        return (path / "lock").exists()
    return False


class Folder:
    """A data directory, held against other processes."""

    def __init__(self, path: str | os.PathLike[str], *, make: bool = True) -> None:
        """Take hold of it, and make it first if it is not there, unless told not to.

        Raises:
            JournalError: it cannot be written to, or another process has it.
        """
        self.path = Path(path)
        try:
            if make and not self.path.exists():
                self.path.mkdir(mode=0o700, parents=True)
                _sync_directory(self.path.parent)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._lock = os.open(self.path / "lock", flags, PRIVATE)
        except OSError as error:
            raise JournalError(f"{path}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._lock, 20).decode().strip()
            os.close(self._lock)
            raise JournalError(f"{path}: in use by process {holder or 'unknown'}") from None
        os.truncate(self._lock, 0)
        os.pwrite(self._lock, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let others have it."""
        os.close(self._lock)


def connect(folder: Path) -> sqlite3.Connection:
    """A connection to the journal in a folder, made if it is not there.

    Raises:
        JournalError: it cannot be opened, or is none of ours.
    """
    file = folder / FILE
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE))
        for each in ("lock", FILE, f"{FILE}-wal", f"{FILE}-shm"):  # SQLite makes its own like FILE
            keep_private(folder / each)
    except OSError as error:
        raise JournalError(f"{file}: {error.strerror}") from None
    try:
        db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        try:
            _prepare(db, file)
        except BaseException:
            db.close()
            raise
    except sqlite3.OperationalError as error:
        raise JournalError(f"{file}: {error}") from None
    except sqlite3.Error as error:
        raise damaged(f"{file}: {error}") from None
    return db


def _prepare(db: sqlite3.Connection, file: Path) -> None:
    [[mark]] = db.execute("PRAGMA application_id")
    [[version]] = db.execute("PRAGMA user_version")
    [[tables]] = db.execute("SELECT count(*) FROM sqlite_master")
    new = not (mark or version or tables)
    if not new and (mark, version) != (APPLICATION_ID, VERSION):
        raise JournalError(f"{file}: not a journal of this version of pydisque")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    [[mode]] = db.execute("PRAGMA journal_mode = WAL")
    if mode != "wal":
        raise JournalError(f"{file}: SQLite cannot keep a WAL there")
    db.execute(f"PRAGMA journal_size_limit = {COPY_AT}")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute("PRAGMA fullfsync = ON")  # what makes fsync mean it on macOS
    db.execute("PRAGMA checkpoint_fullfsync = ON")
    db.execute("PRAGMA secure_delete = OFF")
    _sync_commits(db, wanted=True)
    if new:
        _create(db)
        _sync_directory(file.parent)


def _sync_commits(db: sqlite3.Connection, *, wanted: bool) -> None:
    """Sync the WAL with every commit, or only when it is copied; the file is sound either way."""
    db.execute(f"PRAGMA synchronous = {'FULL' if wanted else 'NORMAL'}")


def _create(db: sqlite3.Connection) -> None:
    db.executescript(
        f"""
        BEGIN;
        CREATE TABLE record (number INTEGER PRIMARY KEY, data BLOB NOT NULL);
        CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
        PRAGMA application_id = {APPLICATION_ID};
        PRAGMA user_version = {VERSION};
        COMMIT;
        """
    )


def records(db: sqlite3.Connection) -> Iterator[tuple[int, bytes]]:
    """All records, the oldest first, with their numbers.

    Raises:
        JournalError: the database is damaged.
    """
    try:
        yield from db.execute("SELECT number, data FROM record ORDER BY number")
    except sqlite3.Error as error:
        raise damaged(error) from None


def node_id(db: sqlite3.Connection) -> bytes:
    """The ID of the node whose journal it is; nothing in a new one.

    Raises:
        JournalError: the database is damaged.
    """
    try:
        found = db.execute("SELECT value FROM meta WHERE name = 'node-id'").fetchone()
    except sqlite3.Error as error:
        raise damaged(error) from None
    return found[0] if found else b""


class Journal:
    """The journal of a running node. All but `close` returns at once."""

    def __init__(
        self, db: sqlite3.Connection, folder: Path, report: Callable[[Callable[[], None]], object]
    ) -> None:
        """Start its threads, with the durability ``always``.

        Args:
            db: a connection from `connect`, from now on the journal's own.
            folder: where it is.
            report: calls what it is given, soon, in the thread that wants to hear.
        """
        self.commits = 0
        self.seconds = 0.0
        """That they took in all."""
        self.failures = 0
        """Commits that went wrong."""
        self.sync_failure = ""
        """Why the last sync of a second's commits failed, if it did."""
        self.durability = "always"
        self._db = db
        self._copying = connect(folder)
        self._files = [folder / FILE, folder / f"{FILE}-wal"]
        self._report = report
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._synced = 0  # how many commits were synced by the keeper
        self._uncopied = 0  # bytes in the WAL that are not in the database yet, about
        self._copied = False  # nearly all of them were copied: what came since is to follow
        self._wake = threading.Event()
        self._closing = False
        self._writer = threading.Thread(target=self._write, name="pydisque-journal", daemon=True)
        self._keeper = threading.Thread(target=self._keep, name="pydisque-keeper", daemon=True)
        self._writer.start()
        self._keeper.start()

    def commit(self, work: Work, done: Done) -> None:
        """Do this work in one transaction, and call `done` once it is as durable as was asked."""
        self._inbox.put(lambda: self._commit(work, done))

    def set_durability(self, durability: str) -> None:
        """Change the durability, from the next commit on: ``always``, ``everysec``, ``none``."""
        self._inbox.put(lambda: self._set_durability(durability))

    def size(self) -> int:
        """Bytes of its files."""
        total = 0
        for file in self._files:
            with contextlib.suppress(OSError):
                total += file.stat().st_size
        return total

    def close(self) -> None:
        """Do what was asked for, end the threads and tidy the files."""
        self._inbox.put(None)
        self._writer.join()
        self._closing = True
        self._wake.set()
        self._keeper.join()
        for db in (self._db, self._copying):
            with contextlib.suppress(sqlite3.Error):  # what was committed is safe all the same
                db.close()

    # The writer

    def _write(self) -> None:
        patience: float | None = IDLE
        while True:
            try:
                task = self._inbox.get(timeout=patience)
            except Empty:
                patience = IDLE if self._tidy() else None
                continue
            if task is None:
                return
            task()
            patience = IDLE

    def _commit(self, work: Work, done: Done) -> None:
        failure, found = "", b""
        begun = time.perf_counter()
        try:
            found = self._transact(work)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and undone
            failure = str(error)
            self.failures += 1
            if self._db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._db.rollback()
        else:
            self.commits += 1
            self.seconds += time.perf_counter() - begun
            self._grow(sum(len(data) + 4096 for _, data in work.records) + 4096)
        self._report(lambda: done(failure, found))
        if self._copied or self.commits % 256 == 0:
            self._tidy()

    def _transact(self, work: Work) -> bytes:
        db = self._db
        if len(work.records) == 1 and not any(work[1:]):  # nearly always
            db.execute("INSERT INTO record VALUES (?, ?)", work.records[0])
            return b""
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO record VALUES (?, ?)", work.records)
        if work.below:
            db.execute("DELETE FROM record WHERE number < ?", (work.below,))
        if work.node_id or not work.records:  # a commit of nothing shows that one can be made
            id_ = work.node_id or node_id(db)
            db.execute("REPLACE INTO meta VALUES ('node-id', ?)", (id_,))
        found = db.execute("SELECT data FROM record WHERE number = ?", (work.wanted,)).fetchone()
        db.execute("COMMIT")
        return found[0] if found else b""

    def _set_durability(self, durability: str) -> None:
        self.durability = durability
        _sync_commits(self._db, wanted=durability == "always")

    def _grow(self, size: int) -> None:
        self._uncopied += size
        if self._uncopied > COPY_AT:
            self._wake.set()

    def _tidy(self) -> bool:
        """Do a little for the file's shape; whether there may be more to do."""
        try:
            if self._copied:
                self._copied = False
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                self._uncopied = 0  # all is copied, so SQLite begins the WAL anew
            [[free]] = self._db.execute("PRAGMA freelist_count")
            [[pages]] = self._db.execute("PRAGMA page_count")
            if free <= SPARE + pages // 10:
                return False
            self._db.executescript(f"PRAGMA incremental_vacuum({STEP})")  # `execute` does one page
        except sqlite3.Error as error:
            logger.warning("the journal was not tidied: %s", error)
            return False
        self._grow(STEP * 200)
        return True

    # The keeper

    def _keep(self) -> None:
        """Copy the WAL when it has grown or rests, and sync it every second where that is asked."""
        copied = 0
        while not self._closing:
            self._wake.wait(1)
            self._wake.clear()
            commits = self.commits
            if self.durability == "everysec" and self._synced != commits:
                self._sync(commits)
            if self._uncopied > COPY_AT or (self._uncopied and copied == commits):
                self._copy()
            copied = commits

    def _sync(self, commits: int) -> None:
        try:
            file = os.open(self._files[1], os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            self.sync_failure = str(error.strerror)
            return
        # After a sync that failed the system may take what it could not write for written, and the
        # next sync well: what is in the WAL is safe then once it was copied.
        if not self.sync_failure or self._copy():
            self.sync_failure = ""
            self._synced = commits

    def _copy(self) -> bool:
        """Copy the WAL into the database, and sync both; whether that went well."""
        try:
            self._copying.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            logger.warning("the journal was not copied: %s", error)
            time.sleep(0.1)
            return False
        self._copied = True
        self._inbox.put(lambda: None)  # wakes the writer, should it be idle
        return True
