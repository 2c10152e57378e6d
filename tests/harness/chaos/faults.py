"""A bad disk for a node: faults.c built and handed to it, switched from here while it runs."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Self

SOURCE = Path(__file__).with_name("faults.c")

_CONTROL = struct.Struct("=iiqiiqq")


def lacking() -> str | None:
    """Why there can be no bad disk here, if so."""
    if not sys.platform.startswith("linux"):
        return "a library can be preloaded under SQLite on Linux only"
    if shutil.which("cc") is None:
        return "there is no C compiler named cc"
    return None


class Faults:
    """What is wrong with the disk of one journal; nothing at first."""

    def __init__(self, folder: Path, data: Path) -> None:
        """Build the library in `folder`, for the journal in `data`."""
        library = folder / "faults.so"
        command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library)]
        subprocess.run([*command, str(SOURCE), "-ldl", "-lpthread"], check=True, timeout=60)
        control = folder / "control"
        control.write_bytes(bytes(_CONTROL.size))
        with control.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _CONTROL.size)
        self.environment = {
            "LD_PRELOAD": str(library),
            "CHAOS_CONTROL": str(control),
            "CHAOS_JOURNAL": str(data.resolve() / "journal.db"),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._map.close()

    def set(
        self,
        *,
        write: int = 0,
        sync: int = 0,
        budget: int = 0,
        shorten: bool = False,
        sync_delay: int = 0,
    ) -> None:
        """Let the disk be like this from now on.

        Args:
            write: what writes fail with, once the budget is spent; 0: they do not.
            sync: what syncs fail with; 0: they do not.
            budget: bytes that may still be written.
            shorten: whether writes write a half and say so.
            sync_delay: milliseconds that a sync takes longer.
        """
        _CONTROL.pack_into(self._map, 0, write, sync, budget, shorten, sync_delay, 0, 0)

    def clear(self) -> None:
        """Let the disk be good."""
        self.set()

    @property
    def failures(self) -> int:
        """Calls that failed since the disk was last set."""
        return _CONTROL.unpack_from(self._map)[5]

    @property
    def shortened(self) -> int:
        """Writes that did less than was asked since then."""
        return _CONTROL.unpack_from(self._map)[6]


def bad_writes(faults: Faults) -> None:
    """Every write fails."""
    faults.set(write=errno.EIO)


def bad_syncs(faults: Faults) -> None:
    """Every sync fails."""
    faults.set(sync=errno.EIO)


def full(faults: Faults, left: int = 20_000) -> None:
    """There is room for so many bytes, then for none."""
    faults.set(write=errno.ENOSPC, budget=left)


def short_writes(faults: Faults) -> None:
    """Every write has to be gone on with."""
    faults.set(shorten=True)


def slow_syncs(faults: Faults, milliseconds: int = 300) -> None:
    """Every sync takes that much longer."""
    faults.set(sync_delay=milliseconds)


KINDS = {
    "bad writes": bad_writes,
    "bad syncs": bad_syncs,
    "full": full,
    "short writes": short_writes,
    "slow syncs": slow_syncs,
}


def environment(faults: Faults | None, log: Path | None) -> dict[str, str]:
    """The environment of a node on this disk, which tells a log what is done to the files."""
    extra = faults.environment if faults else {}
    return os.environ | extra | ({"CHAOS_LOG": str(log)} if log else {})
