"""Values from arguments and from standard input, in batches.

One rule for every command that takes bodies, job IDs or files: `-` is standard input. Of bodies and
IDs each line is one. Standard input can be read once: a second `-` is refused before anything runs.
A batch holds the lines that are there, so that no line waits for later ones.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import IO, Any, NamedTuple

import click

from pydisque.cli.output.streams import standard_input

DASH = "-"

# Bytes read at once, and the most lines in a batch.
CHUNK = 1 << 18
BATCH = 1000

# In the context: a parameter reads standard input.
_CLAIMED = "pydisque.standard-input"


# Arguments


def claim_input(context: click.Context) -> IO[bytes]:
    """Standard input, for the one parameter that reads it.

    Raises:
        click.UsageError: it is closed, or another parameter reads it.
    """
    if context.meta.get(_CLAIMED):
        raise click.UsageError("- is given twice; expected once, as standard input is read once")
    context.meta[_CLAIMED] = True
    return standard_input()


class InputFile(click.File):
    """A file that is read as bytes, or standard input."""

    def __init__(self) -> None:
        super().__init__("rb")

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> IO[bytes]:
        """Open it."""
        if value == DASH and ctx is not None:
            return claim_input(ctx)
        opened: IO[bytes] = super().convert(value, param, ctx)
        return opened


Value = bytes | None
"""One body or ID; None: those of standard input."""


class Batch(NamedTuple):
    """Some values, lines without their ends."""

    noun: str
    """What the number counts: lines of standard input, or jobs among the arguments."""
    first: int
    """The number of the first one, from 1."""
    lines: Sequence[bytes]
    size: int
    """Bytes read for them."""


def batches(values: Iterable[Value]) -> Iterator[Batch]:
    """All values in their order, with the lines of standard input in place of None."""
    first = 1
    for is_input, group in groupby(values, lambda value: value is None):
        given = [value for value in group if value is not None]
        if is_input:
            yield from _of_input(standard_input())
        for start in range(0, len(given), BATCH):
            yield Batch("job", first, given[start : start + BATCH], 0)
            first += len(given[start : start + BATCH])


# Standard input


def _of_input(stream: IO[bytes]) -> Iterator[Batch]:
    """All lines, and a last one without an end if there is any."""
    first = 1
    for lines in _read(stream):
        for start in range(0, len(lines), BATCH):
            batch = lines[start : start + BATCH]
            yield Batch("line", first, batch, sum(map(len, batch)) + len(batch))
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
