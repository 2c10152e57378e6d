"""`pydisque check`, `dump` and `load`: a node's data directory, without a node."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import click

from pydisque.cli.common import shown

if TYPE_CHECKING:
    from pydisque.node.data_directory import Findings

DIR = click.Path(file_okay=False)


@click.command()
@click.argument("directory", metavar="DIR", type=DIR)
def check(directory: str) -> None:
    """Check the data directory DIR: every page, every record, every job.

    Nothing in it is changed, and a node may be running on it. All that is wrong is told, a line
    each, and then the exit code is 1.

    \b
    Examples:
      pydisque check /var/lib/pydisque
    """  # noqa: D301
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from pydisque.node.dump import moment  # noqa: PLC0415

    findings = _examine(directory)
    state, sizes = findings.state, findings.sizes
    states = Counter(job.state.decode() for job in state.jobs.values())
    paused = [
        f"{shown(q.name)} ({q.pause.decode()})" for q in state.queues.values() if q.pause != b"none"
    ]
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("node", findings.node_id.decode("ascii", "replace") or "none yet"),
        ("last commit", moment(state.now) if state.now else "none yet"),
        ("jobs", f"{len(state.jobs)}: {states['queued']} queued, {states['active']} active"),
        ("queues", f"{len(state.queues)}: {', '.join(paused) or 'none'} paused"),
        ("records", str(findings.records)),
        ("files", ", ".join(f"{file} {size} bytes" for file, size in sizes.items())),
        ("pages", f"{findings.pages}, of them {findings.free_pages} free"),
    ):
        table.add_row(name, Text(value))
    for problem in findings.problems:
        click.echo(problem)
    Console(highlight=False).print(table)
    if findings.problems:
        raise click.ClickException(f"{directory}: damaged: {_number(findings.problems)} above")


@click.command()
@click.argument("directory", metavar="DIR", type=DIR)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Write to this file instead of standard output; a new one can be read by you alone.",
)
@click.option(
    "--skip-damaged",
    is_flag=True,
    help="Write what can be read of a damaged journal, tell what cannot, and exit with 1.",
)
def dump(directory: str, output: str | None, skip_damaged: bool) -> None:
    """Write the jobs and queues in the data directory DIR as JSON lines.

    They are those of one moment, while a node runs on it as well. `pydisque load` reads them back.

    \b
    Examples:
      pydisque dump /var/lib/pydisque --output jobs.jsonl
      pydisque dump /var/lib/pydisque | gzip > jobs.jsonl.gz
    """  # noqa: D301
    from pydisque.node.dump import lines  # noqa: PLC0415

    findings = _examine(directory)
    problems = findings.problems
    if problems and not skip_damaged:
        raise click.ClickException(
            f"{directory}: damaged: {problems[0]}; `pydisque check` tells all ({len(problems)}), "
            "--skip-damaged writes what can be read"
        )
    try:
        with _written(output) as file:
            file.writelines(lines(findings.state, findings.node_id))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"cannot write the dump: {error}") from None
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise click.ClickException(
            f"{directory}: damaged: {_number(problems)} above; jobs in what was skipped are lost, "
            "and jobs that it said were changed or gone are as they were before"
        )


@click.command()
@click.argument("directory", metavar="DIR", type=DIR)
@click.argument("file", type=click.File("rb"), default="-")
def load(directory: str, file: BinaryIO) -> None:
    """Add the jobs and queues of a dump to the data directory DIR.

    The dump is read from FILE or standard input. All of it is loaded or, if a line is wrong,
    nothing. Jobs that are there already are left as they are. DIR is made if it is not there; no
    node may be running on it.

    \b
    Examples:
      pydisque load /var/lib/pydisque jobs.jsonl
      pydisque dump /mnt/old | pydisque load /var/lib/pydisque
    """  # noqa: D301
    from pydisque.node import data_directory  # noqa: PLC0415

    try:
        intake = data_directory.load(directory, file, time.time_ns() // 1_000_000)
    except (OSError, data_directory.DumpError) as error:
        raise click.ClickException(f"nothing was loaded: {error}") from None
    loaded, skipped = intake.loaded, intake.skipped
    click.echo(f"loaded: {loaded.jobs} jobs, {loaded.queues} queues")
    click.echo(f"skipped, as they were there: {skipped.jobs} jobs, {skipped.queues} queues")


def _examine(directory: str) -> Findings:
    from pydisque.node import data_directory  # noqa: PLC0415

    try:
        return data_directory.examine(directory)
    except OSError as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def _written(output: str | None) -> Iterator[BinaryIO]:
    """Where a dump goes: what a file holds is on the disk in the end."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(output, flags, 0o600), "wb") as file:
        yield file
        file.flush()
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            os.fsync(file.fileno())


def _number(problems: list[str]) -> str:
    return "one problem" if len(problems) == 1 else f"{len(problems)} problems"
