"""Work that takes its time: counted while it goes on, and interrupted without harm."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

import click

from pydisque.monitoring.text import number, shown

# Complaints told one by one; of more only the number is.
MOST_TOLD = 20


class Advance(Protocol):
    """Notes what was done: so many things, and so much of the whole."""

    def __call__(self, count: int, part: int = 0, /) -> None: ...


@contextmanager
def counted(
    what: str,
    noun: str = "",
    *,
    total: int | None = None,
    err: bool = False,
    typed: bool = False,
) -> Iterator[Advance]:
    """Count what is done: on a terminal meanwhile, and with a noun in the end, however it ends.

    Args:
        what: What is done with them.
        noun: What they are. Without it nothing is told in the end.
        total: The whole, if it is known; then there is a bar.
        err: Tell it on standard error in the end, as lines are written meanwhile.
        typed: Show nothing meanwhile, as somebody types there.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    console = Console(stderr=True)
    lines = err and sys.stdout.isatty()  # are written where it would be shown
    hidden = not console.is_terminal or lines or typed
    progress = Progress(
        *_columns(total), console=console, transient=True, disable=hidden, redirect_stdout=False
    )
    done = 0
    task = progress.add_task(what, total=total, count=0)

    def advance(count: int, part: int = 0) -> None:
        nonlocal done
        done += count
        progress.update(task, advance=part, count=done)

    try:
        with progress:
            yield advance
    finally:
        if noun:
            click.echo(f"{what}: {number(done, noun)}", err=err)


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Say on a terminal what goes on, of which nobody can say how far it is."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        progress.add_task(what)
        yield


def _columns(total: int | None) -> list[Any]:
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    bar = [] if total is None else [BarColumn()]
    return [TextColumn("{task.description}: {task.fields[count]}"), *bar, TimeElapsedColumn()]


@contextmanager
def finishing() -> Iterator[None]:
    """Put off Ctrl-C until this is done, so that it is known what was; a second one ends it."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield  # none comes
        return
    came = False

    def later(_: int, __: FrameType | None) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    before = signal.signal(signal.SIGINT, later)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


class Complaints:
    """What went wrong with single jobs, told on standard error, and not without end."""

    def __init__(self) -> None:
        self.count = 0

    def tell(self, text: str) -> None:
        """Tell of one more."""
        self.count += 1
        if self.count <= MOST_TOLD:
            click.echo(shown(text), err=True)

    def end(self) -> None:
        """Tell how many were not told, and end with exit code 1 if there were any."""
        if self.count > MOST_TOLD:
            click.echo(f"and {self.count - MOST_TOLD} more", err=True)
        if self.count:
            raise click.exceptions.Exit(1)
