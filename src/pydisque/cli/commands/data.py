"""`pydisque check`, `dump` and `load`: what is in a data directory or a Valkey, without a node."""

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

from pydisque.cli.options import storage
from pydisque.cli.options.nodes import number
from pydisque.cli.options.parameters import OutputFile, as_json
from pydisque.cli.options.stdin import DASH, InputFile, size_of
from pydisque.cli.output.formatting import print_json
from pydisque.cli.output.progress import Advance, busy, counted

if TYPE_CHECKING:
    from pydisque.node.store.dump.data_directory import Findings
    from pydisque.node.store.dump.loader import Intake
    from pydisque.node.store.durable.recovery import Replay
    from pydisque.node.store.valkey.url import Place


_EXIT_CODES = (
    "Exit code: 0 when it is done and all is sound, 1 when something is damaged or could not be "
    "read or written, 2 for wrong options."
)


@click.command(epilog=_EXIT_CODES)
@storage.STORE
@as_json
def check(store: Place | str, as_json: bool) -> None:
    """Check a data directory, every page, record and job, or all jobs and queues in a Valkey.

    Nothing in it is changed, and nodes may be running on it. All that is wrong is told, a line
    each.

    \b
    Examples:
      pydisque check /var/lib/pydisque
      pydisque check valkey://localhost:6379
      pydisque check /var/lib/pydisque --json | jq -r .problems[]
    """  # noqa: D301
    if isinstance(store, str):
        _check(store, as_json=as_json)
    else:
        storage.check(store, as_json=as_json)


def _check(directory: str, *, as_json: bool) -> None:
    from pydisque.node.store.dump.line_format import moment  # noqa: PLC0415

    findings = _examine(directory)
    state, sizes = findings.state, findings.sizes
    states = Counter(job.state.decode() for job in state.jobs.values())
    paused = [(q.name, q.pause.decode()) for q in state.queues.values() if q.pause != b"none"]
    node_id = findings.node_id.decode("ascii", "replace") or None
    last_commit = moment(state.now) if state.now else None
    facts = {
        "node": node_id or "none yet",
        "last commit": last_commit or "none yet",
        "jobs": f"{len(state.jobs)}: {states['queued']} queued, {states['active']} active",
        "queues": f"{len(state.queues)}: {storage.paused_shown(paused)} paused",
        "records": str(findings.records),
        "files": ", ".join(f"{file} {size} bytes" for file, size in sizes.items()),
        "pages": f"{findings.pages}, of them {findings.free_pages} free",
    }
    told = {
        "node": node_id,
        "last_commit": last_commit,
        "jobs": dict(states),
        "queues": len(state.queues),
        "paused": storage.paused_as_dicts(paused),
        "records": findings.records,
        "files": dict(sizes),
        "pages": findings.pages,
        "free_pages": findings.free_pages,
    }
    storage.report(directory, findings.problems, facts, told, as_json=as_json)


@click.command(epilog=_EXIT_CODES)
@storage.STORE
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=OutputFile(),
    default=DASH,
    help="Write to this file instead of standard output (-); a new one can be read by you alone.",
)
@click.option(
    "--skip-damaged",
    is_flag=True,
    help="Write what can be read of a damaged journal, tell what cannot, and exit with 1.",
)
def dump(store: Place | str, output: str, skip_damaged: bool) -> None:
    """Write the jobs and queues in a data directory or a Valkey as JSON lines.

    Of a directory they are those of one moment, of a Valkey those of one moment for each shard
    that is not too large; nodes may be running. `pydisque load` reads them back, into either.

    \b
    Examples:
      pydisque dump /var/lib/pydisque --output jobs.jsonl
      pydisque dump /var/lib/pydisque | gzip > jobs.jsonl.gz
      pydisque dump valkey://localhost:6379 | pydisque load /var/lib/pydisque
    """  # noqa: D301
    if isinstance(store, str):
        _dump(store, output, skip_damaged=skip_damaged)
    elif skip_damaged:
        raise click.UsageError("--skip-damaged is for data directories")
    else:
        _write(output, storage.read(store), b"")


def _dump(directory: str, output: str, *, skip_damaged: bool) -> None:
    findings = _examine(directory)
    problems = findings.problems
    if problems and not skip_damaged:
        raise click.ClickException(
            f"{directory}: damaged: {problems[0]}; `pydisque check` tells all ({len(problems)}), "
            "--skip-damaged writes what can be read"
        )
    _write(output, findings.state, findings.node_id)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        told = number(len(problems), "problem")
        raise click.ClickException(
            f"{directory}: damaged: {told} above; jobs in what was skipped are lost, and jobs that "
            "it said were changed or gone are as they were before"
        )


def _write(output: str, state: Replay, node_id: bytes) -> None:
    from pydisque.node.store.dump.line_format import lines  # noqa: PLC0415

    try:
        typed = output == DASH and sys.stdout.isatty()  # the lines are seen themselves
        with _written(output) as file, counted("written", typed=typed) as advance:
            for line in lines(state, node_id):
                file.write(line)
                advance(1)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"cannot write the dump: {error}") from None


@click.command(epilog=_EXIT_CODES)
@storage.TARGET
@click.argument("file", type=InputFile(), default=DASH)
@click.option("-v", "--verbose", is_flag=True, help="Tell of each job that got a new ID which.")
@as_json
def load(store: Place | str, file: BinaryIO, verbose: bool, as_json: bool) -> None:
    """Add the jobs and queues of a dump to a data directory or a Valkey.

    The dump is read from FILE, or from standard input where that is - or missing. A line that is
    wrong is told, and nothing is loaded. Jobs that are there already are left as they are.

    A directory is made if it is not there, and its name has a slash: a bare name may be meant for a
    host. No node may be running on it. All of the dump is loaded or nothing. The address of a node
    is refused.

    On a Valkey nodes may be running. Should it fail meanwhile, what was loaded is told, and the
    same dump can be loaded again for the rest. Where there are several shards, jobs whose IDs lead
    to another one than their queue's get new IDs.

    \b
    Examples:
      pydisque load /var/lib/pydisque jobs.jsonl
      pydisque dump /mnt/old | pydisque load /var/lib/pydisque
      pydisque dump /var/lib/pydisque | pydisque load valkey://localhost:6379
    """  # noqa: D301
    renamed: list[tuple[bytes, bytes]] = []
    with counted("read", total=size_of(file)) as advance:
        lines = _noted(file, advance)
        if isinstance(store, str):
            intake = _load(store, lines)
            loaded, skipped = intake.loaded, intake.skipped
        else:
            done = storage.load(store, lines)
            loaded, skipped, renamed = done.loaded, done.skipped, done.renamed
    ids = {before.decode(): after.decode() for before, after in renamed}
    if as_json:
        print_json([{"loaded": vars(loaded), "skipped": vars(skipped), "renamed": ids}])
        return
    for what, count in (("loaded", loaded), ("skipped, as they were there", skipped)):
        click.echo(f"{what}: {number(count.jobs, 'job')}, {number(count.queues, 'queue')}")
    if ids:
        click.echo(f"given new IDs, as theirs lead to other shards: {number(len(ids), 'job')}")
    for before, after in ids.items() if verbose else ():
        click.echo(f"{before} is now {after}")


def _noted(file: BinaryIO, advance: Advance) -> Iterator[bytes]:
    """The lines of a file, each noted."""
    for line in file:
        yield line
        advance(1, len(line))


def _load(directory: str, lines: Iterator[bytes]) -> Intake:
    from pydisque.node.store.dump import data_directory  # noqa: PLC0415

    try:
        return data_directory.load(directory, lines, time.time_ns() // 1_000_000)
    except (OSError, data_directory.DumpError) as error:
        raise click.ClickException(f"nothing was loaded: {error}") from None


def _examine(directory: str) -> Findings:
    from pydisque.node.store.dump import data_directory  # noqa: PLC0415

    try:
        with busy(f"reading {directory}"):
            return data_directory.examine(directory)
    except OSError as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def _written(output: str) -> Iterator[BinaryIO]:
    """Where a dump goes: what a file holds is on the disk in the end."""
    if output == DASH:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(output, flags, 0o600), "wb") as file:
        yield file
        file.flush()
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            os.fsync(file.fileno())
