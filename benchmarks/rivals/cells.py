"""When each job started, written by whichever process runs it: eight bytes of a shared file a job.

A job knows its number and writes to that cell alone, so threads and forked processes need no lock,
no job is missed, and the cost is the same for all: one reading of the clock and one store.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

clock = time.monotonic_ns
"""The same in all processes of a machine."""


def create(path: Path, count: int) -> memoryview:
    with path.open("wb") as file:
        file.truncate(count * 8)
    return load(path)


def load(path: str | Path) -> memoryview:
    with Path(path).open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")


_cells = load(os.environ["BENCH_CELLS"]) if "BENCH_CELLS" in os.environ else memoryview(b"")


def hit(number: int) -> None:
    """What every framework's job does."""
    _cells[number] = clock()
