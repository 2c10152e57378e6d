"""Standard input and output: what is said to be written was written whole, or it is told."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import IO, Any

import click


class _AtOnce(io.BufferedWriter):
    """Writes all of what it is given, and keeps none of it back."""

    def write(self, data: Any, /) -> int:
        """Write it, however often that takes."""
        written = super().write(data)
        self.flush()
        return written


def settle() -> None:
    """Make both outputs fit for what commands write.

    Raises:
        click.ClickException: there is no standard output.
    """
    if sys.stdout is None:  # what is written then is gone without a word
        raise click.ClickException("standard output is closed; > /dev/null throws it away")
    if isinstance(sys.stdout, io.TextIOWrapper) and isinstance(sys.stdout.buffer, io.RawIOBase):
        # As with PYTHONUNBUFFERED. Nothing then looks whether all of a text was taken.
        whole: Any = _AtOnce(sys.stdout.buffer)
        sys.stdout = io.TextIOWrapper(whole, sys.stdout.encoding, write_through=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal cannot show


def standard_input() -> IO[bytes]:
    """The bytes of standard input.

    Raises:
        click.UsageError: there is none.
    """
    if sys.stdin is None:
        raise click.UsageError("standard input is closed; < /dev/null is an empty one")
    return sys.stdin.buffer


@contextlib.contextmanager
def failures_told() -> Iterator[None]:
    """Tell in one plain line what could not be written or read, and end with exit code 1."""
    try:
        yield
    except BrokenPipeError:  # whoever read has had enough
        raise
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        with contextlib.suppress(OSError):
            click.echo(f"Error: {what}{error.strerror or error}", err=True)
        _abandon_output()
        sys.exit(1)


def _abandon_output() -> None:
    """Throw away what could not be written, or the interpreter would try again at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
