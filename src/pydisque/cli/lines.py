"""Lines of standard input, some at a time: what is there is not kept waiting for what may come."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

# Bytes read at once, and the most lines in a batch.
CHUNK = 1 << 18
BATCH = 1000


class Batch(NamedTuple):
    """Some lines, without their ends."""

    first: int
    """The number of the first one, from 1."""
    lines: Sequence[bytes]
    size: int
    """Bytes read for them."""


def batches(stream: IO[bytes]) -> Iterator[Batch]:
    """All lines, and a last one without an end if there is any."""
    first = 1
    for lines in _read(stream):
        for start in range(0, len(lines), BATCH):
            batch = lines[start : start + BATCH]
            yield Batch(first, batch, sum(map(len, batch)) + len(batch))
            first += len(batch)


def _read(stream: IO[bytes]) -> Iterator[list[bytes]]:
    """Lines as they come."""
    rest: list[bytes] = []
    while chunk := stream.read1(CHUNK):  # type: ignore[attr-defined]
        *lines, end = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join((*rest, lines[0]))
            rest = []
            yield lines
        rest.append(end)
    if last := b"".join(rest):
        yield [last]


def size_of(stream: IO[bytes]) -> int | None:
    """How many bytes there are, if that can be known."""
    try:
        status = os.fstat(stream.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
