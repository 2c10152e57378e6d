"""`pydisque migrate`: move the jobs of a running Disque to another one.

How they are moved stands in `pydisque.migration.mover`; here is what is chosen and what is told.
"""

from __future__ import annotations

import logging
import signal
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from pydisque.cli.options.nodes import DEADLINE, errors_told, number, shown
from pydisque.cli.options.parameters import OutputFile, as_json, queue_names
from pydisque.cli.output.formatting import print_json, text_or_base64
from pydisque.cli.output.tables import Table

if TYPE_CHECKING:
    from pydisque.client.client import Client
    from pydisque.migration.journal import Journal
    from pydisque.migration.mover import Move
    from pydisque.migration.plan import Standing, Survey
    from pydisque.migration.source import Source


def _nodes(_: click.Context, __: click.Parameter, given: str) -> str:
    from pydisque.protocol.addresses import parse_addresses  # noqa: PLC0415

    try:
        parse_addresses(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return given


@click.command(
    epilog="Exit code: 0 when all that was to be moved is, 1 when something is left or may be at "
    "both, 2 for wrong options, 3 when no node could be asked."
)
@click.argument("source", callback=_nodes)
@click.option(
    "--to", "target", metavar="TARGET", required=True, callback=_nodes, help="Where to move them."
)
@click.option(
    "--queue", "queues", metavar="NAME", multiple=True, shell_complete=queue_names,
    help="Only the jobs of this.",
)  # fmt: skip
@click.option(
    "--active",
    type=click.Choice(["wait", "move", "skip"]),
    default="wait",
    show_default=True,
    help="What to do about jobs that somebody works on.",
)
@click.option(
    "--journal",
    "journal_path",
    metavar="FILE",
    type=OutputFile(dash=False),
    help="Write down what is on its way, so that a run that was killed can be gone on with.",
)
@click.option(
    "--replicate",
    metavar="N",
    type=click.IntRange(1, 65535),
    help="Nodes of the target that must hold a job.  [default: as many as it sees fit]",
)
@click.option("--no-pauses", is_flag=True, help="Leave the queues of the target as they are.")
@click.option("--dry-run", is_flag=True, help="Tell what there is to be moved; change nothing.")
@as_json
def migrate(
    source: str,
    target: str,
    journal_path: str | None,
    queues: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Move the jobs of a running Disque to another node or cluster.

    SOURCE and TARGET are nodes as everywhere, HOST:PORT,... or disque://user:password@HOST:PORT,...
    Either may be a real Disque or pydisque's node. All nodes of the source's cluster are asked.
    Workers and producers may go on meanwhile.

    A job keeps its queue, body, RETRY, what is left of its TTL and of its delay. It gets a new ID,
    its counters of deliveries and NACKs start at 0, and it queues behind what is there already. A
    queue that is paused is paused at the target as well.

    A queued job is taken out of its queue, added to the target, and then acknowledged: none is lost
    whenever this ends. What was under way when it was killed may be at both. With --journal the
    next run, with the same FILE, adds nothing again that was added, and names what may have been.

    Jobs that somebody works on are, with --active

    \b
      wait  moved when they come back. Goes on until the source has no more jobs,
            those that are still added to it included.
      move  moved at once, to be delivered when their lease would have ended.
            What a worker finishes meanwhile is done a second time.
      skip  left.

    Those to be delivered at most once that were handed out are always left.

    Ctrl-C ends it after the jobs that are under way.

    \b
    Examples:
      pydisque migrate old:7711 --to new:7711 --dry-run
      pydisque migrate old1:7711,old2:7711 --to new:7711 --journal moving.journal
      pydisque migrate disque://:secret@old:7711 --to disques://app:secret@new:7711
      pydisque migrate old:7711 --to new:7711 --queue mails --queue thumbnails --active skip
    """  # noqa: D301
    names = [name.encode("utf-8", "surrogateescape") for name in queues]
    options["pauses"] = not options.pop("no_pauses")
    with errors_told(), ExitStack() as stack:
        old, new = _connect(stack, source, target)
        complete = _all_asked(old)
        if dry_run:
            from pydisque.migration.journal import Journal  # noqa: PLC0415
            from pydisque.migration.mover import Move  # noqa: PLC0415

            survey = Move(old, new, Journal(), queues=names, **options).survey()
            (_print_as_json if as_json else _print_survey)(survey)
        else:
            journal = stack.enter_context(_opened(journal_path))
            complete &= _run(old, new, journal, names, options, as_json=as_json)
    if not complete:
        raise click.exceptions.Exit(1)


def _connect(stack: ExitStack, source: str, target: str) -> tuple[Source, Client]:
    from pydisque.client.client import Client  # noqa: PLC0415
    from pydisque.migration.source import Source  # noqa: PLC0415
    from pydisque.protocol.addresses import parse_addresses  # noqa: PLC0415

    logging.getLogger("pydisque").addHandler(logging.NullHandler())  # errors are told once
    old = stack.enter_context(Source(parse_addresses(source)))
    new = stack.enter_context(Client(target, deadline=DEADLINE, resend_add=False))
    if old.nodes.keys() & {known[0] for known in new.hello()[2:]}:
        raise click.UsageError("the source and the target are the same cluster")
    return old, new


def _all_asked(source: Source) -> bool:
    for text in source.silent:
        click.echo(f"not asked, and its jobs are not moved: {shown(text)}", err=True)
    return not source.silent


@contextmanager
def _opened(path: str | None) -> Iterator[Journal]:
    from pydisque.migration.journal import Journal, JournalError  # noqa: PLC0415

    try:
        with Journal(path) as journal:
            yield journal
    except JournalError as error:
        raise click.ClickException(shown(str(error))) from None


# What is done


def _run(
    source: Source,
    target: Client,
    journal: Journal,
    names: list[bytes],
    options: dict[str, Any],
    *,
    as_json: bool,
) -> bool:
    """Move, and tell what came of it; whether all was moved that was to be."""
    from pydisque.migration.mover import Move  # noqa: PLC0415

    move = Move(source, target, journal, queues=names, **options)
    _tell_of_earlier(journal)
    try:
        with _on_signals(move), _shown_progress(move):
            move.run()
    finally:
        _tell_of_move(move, journal, err=as_json)
    left = move.survey()
    _tell_of_left(left, move.closed, err=as_json)
    if as_json:
        print_json([_as_dict(move, left)])
    sound = not (move.in_doubt or move.overtaken)
    return sound and not _amiss(left, options["active"])


@contextmanager
def _on_signals(move: Move) -> Iterator[None]:
    """Let the first signal end it in order, and a second one at once."""

    def stop(signum: int, frame: FrameType | None) -> None:
        if move.stop.is_set():
            signal.default_int_handler(signum, frame)
        move.stop.set()

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def _shown_progress(move: Move) -> Iterator[None]:
    """Show on a terminal how far it is; elsewhere say once when it waits."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    console = Console(stderr=True)
    counted = TextColumn("moved: {task.completed:.0f} of {task.total:.0f}")
    waited = TextColumn("{task.fields[waiting]}")
    bar = Progress(
        counted, BarColumn(), TimeElapsedColumn(), waited,
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    total = sum(queue.length for queue in move.queues().values())
    task = bar.add_task("", total=total, waiting="")
    said = False

    def show() -> None:
        nonlocal said
        done = move.moved.total()
        waits = f"waiting for {number(move.waiting, 'job')} (Ctrl-C stops)" if move.waiting else ""
        if waits and bar.disable and not said:
            click.echo(waits, err=True)
            said = True
        bar.update(task, completed=done, total=max(total, done + move.waiting), waiting=waits)

    move.progress = show
    with bar:
        yield


# What is told


def _standings() -> dict[Standing, str]:
    """How a job that is to be moved may stand, and in which words."""
    from pydisque.migration.plan import Standing  # noqa: PLC0415

    return {standing: standing.value for standing in Standing if standing is not Standing.GONE}


def _by_queue(survey: Survey) -> Iterator[tuple[bytes, list[int], str]]:
    """Each queue that has something to be moved: its name, its jobs by standing, its pause."""
    from pydisque.migration.plan import Queue  # noqa: PLC0415

    paused = {name for name, queue in survey.queues.items() if any(queue.pause)}
    for name in sorted(survey.jobs.keys() | paused):
        counts = survey.jobs.get(name, Counter())
        pause = survey.queues.get(name, Queue()).pause
        yield name, [counts[each] for each in _standings()], str(pause)


def _print_survey(survey: Survey) -> None:
    words = list(_standings().values())
    rows = [(shown(name), *counts, pause) for name, counts, pause in _by_queue(survey)]
    if rows:
        Table(("queue", *words, "paused"), numbers=words, cut=("queue",)).print(rows)
    else:
        click.echo("no jobs")


def _print_as_json(survey: Survey) -> None:
    words = [word.replace(" ", "_") for word in _standings().values()]
    print_json(
        text_or_base64("name", name) | dict(zip(words, counts, strict=True)) | {"pause": pause}
        for name, counts, pause in _by_queue(survey)
    )


def _as_dict(move: Move, left: Survey) -> dict[str, Any]:
    words = {each: word.replace(" ", "_") for each, word in _standings().items()}
    return {
        "moved": {word: move.moved[each] for each, word in words.items()},
        "left": {word: left.count(each) for each, word in words.items()},
        "overtaken": move.overtaken,
        "in_doubt": sorted(job_id.decode() for job_id in move.in_doubt),
    }


def _tell_of_earlier(journal: Journal) -> None:
    if journal.added:
        text = (
            f"added by a run that was cut off, and not again: {number(len(journal.added), 'job')}"
        )
        click.echo(text, err=True)
    _tell_of_doubt(journal.touched, journal.touched, " since a run that was cut off")


def _tell_of_doubt(both: Collection[bytes], touched: Collection[bytes], since: str = "") -> None:
    """Tell of jobs that may be at both, and of those that may be in no queue at all."""
    from pydisque.client.requeue import at_most_once  # noqa: PLC0415

    for job_id in sorted(both):
        click.echo(f"may be at both{since}: {shown(job_id)}", err=True)
    for job_id in sorted(touched):
        if at_most_once(job_id):
            click.echo(f"at most once, and may be in no queue{since}: {shown(job_id)}", err=True)


def _tell_of_move(move: Move, journal: Journal, *, err: bool) -> None:
    from pydisque.migration.plan import Standing  # noqa: PLC0415

    moved = move.moved
    kinds = [f"{moved[each]} {each.value}" for each in Standing if moved[each]]
    what = f" ({', '.join(kinds)})" if kinds else ""
    click.echo(f"moved: {number(moved.total(), 'job')}{what}", err=err)
    for name, pause in sorted(move.paused.items()):
        click.echo(f"paused at the target ({pause}): {shown(name)}", err=err)
    if move.overtaken:
        text = f"at the target, and finished at the source meanwhile: {move.overtaken}"
        click.echo(text, err=True)
    _tell_of_doubt(move.in_doubt, journal.touched)


def _tell_of_left(left: Survey, closed: set[bytes], *, err: bool) -> None:
    from pydisque.migration.plan import Standing  # noqa: PLC0415

    for standing, what in {
        Standing.QUEUED: "queued",
        Standing.DELAYED: "delayed",
        Standing.ARRIVING: "just being added",
        Standing.ACTIVE: "that somebody works on",
        Standing.SPENT: "handed out, and delivered at most once",
        Standing.ENDING: "that expire before they would come back",
    }.items():
        if count := left.count(standing):
            click.echo(f"left: {number(count, 'job')} {what}", err=err)
    for name in sorted(closed & left.jobs.keys()):
        text = f"left: the jobs of {shown(name)}, which is paused in input at the target"
        click.echo(text, err=True)


def _amiss(left: Survey, active: str) -> bool:
    """Whether jobs are left that were to be moved."""
    from pydisque.migration.plan import Standing  # noqa: PLC0415

    wanted = [Standing.QUEUED, Standing.DELAYED, Standing.ARRIVING]
    if active != "skip":
        wanted.append(Standing.ACTIVE)
    return left.count(*wanted) > 0
