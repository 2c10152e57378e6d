"""Which jobs are on their way to another cluster, in a file that outlives whoever moves them.

A job is written down before it is touched, and again once it is at the target; when it is gone from
the source it is crossed out. The file is as long as what is on its way. What a run that was cut
off had written down is read by the next: jobs that were added need not be added again, and of those
that were touched it is not known.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Self

HEAD = b"pydisque-migrate 1\n"


class JournalError(Exception):
    """The file is no journal, cannot be used, or another process has it."""


class Journal:
    """The jobs on their way; without a file nothing outlives the process."""

    def __init__(self, path: str | None = None) -> None:
        """Open a journal, or make one.

        Raises:
            JournalError: It is none, in use, or cannot be read or written.
        """
        self.added: set[bytes] = set()
        """The IDs of jobs that are at the target, and perhaps at the source."""
        self.touched: set[bytes] = set()
        """The IDs of jobs of which it is not known whether they are at the target."""
        self._file = None if path is None else _opened(path)
        if self._file is not None and path is not None:
            try:
                self._read(self._file, path)
            except BaseException:
                self._file.close()
                raise

    def _read(self, file: IO[bytes], path: str) -> None:
        text = file.read(len(HEAD))
        if not (text.startswith(HEAD) or HEAD.startswith(text)):
            raise JournalError(f"{path} is no journal of `pydisque migrate`")
        text += file.read()
        whole = text[: text.rfind(b"\n") + 1]
        for line in whole.splitlines()[1:]:
            word, *ids = line.split()
            self._note(word, ids)
        file.seek(len(whole))
        file.truncate()  # a last line that was cut off was not acted upon
        if not whole:
            self._write(HEAD)

    def taking(self, ids: Iterable[bytes]) -> None:
        """These are going to be taken from the source and added to the target."""
        self._put(b"taking", ids)

    def add(self, ids: Iterable[bytes]) -> None:
        """These are at the target."""
        self._put(b"added", ids)

    def done(self, ids: Iterable[bytes]) -> None:
        """These are at one place only."""
        found = list(ids)
        self._note(b"done", found)
        if self._file is None or not found:
            return
        if self.added or self.touched:
            self._write(b" ".join((b"done", *found)) + b"\n")
            return
        with _told():
            self._file.seek(len(HEAD))
            self._file.truncate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            with suppress(OSError):  # what could not be written was told
                self._file.close()

    def _put(self, word: bytes, ids: Iterable[bytes]) -> None:
        found = list(ids)
        if found:
            self._write(b" ".join((word, *found)) + b"\n")
            self._note(word, found)

    def _note(self, word: bytes, ids: Iterable[bytes]) -> None:
        self.touched.difference_update(ids)
        self.added.difference_update(ids)
        if word == b"taking":
            self.touched.update(ids)
        elif word == b"added":
            self.added.update(ids)

    def _write(self, line: bytes) -> None:
        if self._file is not None:
            with _told():
                self._file.write(line)
                self._file.flush()
                os.fsync(self._file.fileno())


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise JournalError(f"cannot write the journal: {error}") from error


def _opened(path: str) -> IO[bytes]:
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    except OSError as error:
        raise JournalError(f"cannot open the journal: {error}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise JournalError(f"{path} is in use by another `pydisque migrate`") from None
    return file
