"""`pydisque dead`: look at dead letters, put their jobs back, purge them.

What is done with a letter stands in `pydisque.dead_letters`, and which ones are meant in `letters`;
here is what is told of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from pydisque.cli.options.dead_letters import Choice, Wanted, choosing, chosen
from pydisque.cli.options.nodes import (
    EXIT_CODES,
    be_known,
    errors_told,
    every_node,
    number,
    shown,
    to_ask,
)
from pydisque.cli.options.parameters import AtLeast, as_json, passable, queue_names, whole_seconds
from pydisque.cli.options.parameters import ids as ids_argument
from pydisque.cli.options.stdin import Value
from pydisque.cli.output.formatting import (
    LONGEST_LINE,
    print_json,
    print_sections,
    sections_of,
    text_or_base64,
)
from pydisque.cli.output.progress import counted, finishing
from pydisque.cli.output.tables import Table
from pydisque.dead_letters import encoded
from pydisque.errors import LetterTakenError
from pydisque.monitoring.text import truncate

if TYPE_CHECKING:
    from pydisque.client.client import Client
    from pydisque.dead_letters import Filed


@click.group(epilog=EXIT_CODES)
def dead() -> None:
    """Dead letters: look at them, put their jobs back, purge them.

    A job that has failed for the last time lies as a dead letter in a queue of its own: that of
    the job and ":dead", unless its handler names another. In a cluster all nodes are asked.

    \b
    Examples:
      pydisque dead list
      pydisque dead list charges --error timeout
      pydisque dead show D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1
      pydisque dead replay --queue charges --error timeout
      pydisque dead purge --queue charges
    """  # noqa: D301


# list


@dead.command("list", epilog=EXIT_CODES)
@click.argument("queue", required=False, shell_complete=queue_names)
@click.option(
    "--dead-queue", metavar="NAME", shell_complete=queue_names,
    help="The letters lie in this queue.",
)  # fmt: skip
@click.option("--error", metavar="TEXT", help="Only letters whose error has this text.")
@click.option(
    "--count",
    metavar="N",
    default=100,
    show_default=True,
    type=AtLeast(1),
    help="At most so many.",
)
@as_json
@to_ask
def list_(
    queue: str | None,
    dead_queue: str | None,
    error: str | None,
    count: int,
    as_json: bool,
    nodes: tuple[str, ...],
) -> None:
    """List dead letters, none of which is taken.

    Those of QUEUE, or of all queues whose dead letters lie in a queue that ends in ":dead". The
    oldest come first. An ID is that of the letter, which the other commands want.

    \b
    Examples:
      pydisque dead list
      pydisque dead list charges --count 1000 --json
    """  # noqa: D301
    with errors_told(), every_node(nodes) as clients:
        wanted = _wanted_in_list(clients, queue, dead_queue, error)
        letters: list[Filed] = []
        more = 0
        for each in wanted:
            found, rest = _listed(clients, each, count - len(letters))
            letters += found
            more += rest
    if as_json:
        print_json(map(_as_dict, letters))
    elif letters:
        _print_table(letters)
    else:
        click.echo("no dead letters")
    if more:
        click.echo(f"and {more} more: see --count", err=True)


def _wanted_in_list(
    clients: list[Client], queue: str | None, dead_queue: str | None, error: str | None
) -> list[Wanted]:
    from pydisque import dead_letters  # noqa: PLC0415

    wanted = Wanted.by(queue, dead_queue, error)
    if wanted is not None:
        if queue is None or all(client.qstat(encoded(queue)) is None for client in clients):
            be_known(clients, encoded(wanted.dead_queue))
        return [wanted]
    names = {name for client in clients for name in dead_letters.dead_queues(client)}
    return [Wanted(None, name, error or "") for name in sorted(names)]


def _listed(clients: list[Client], wanted: Wanted, count: int) -> tuple[list[Filed], int]:
    """The letters that are wanted, at most so many, and how many there are beside them."""
    from pydisque import dead_letters  # noqa: PLC0415

    found: dict[str, Filed] = {}
    queued = 0
    for client in clients:
        if wanted.everything:
            queued += client.qlen(encoded(wanted.dead_queue))
            batches: Iterable[list[Filed]] = [
                dead_letters.peek(client, wanted.dead_queue, count) if count else []
            ]
        else:
            batches = dead_letters.select(client, wanted.dead_queue)
        for batch in batches:
            matching = (f for f in batch if wanted.everything or wanted.match(f))
            found.update({filed.id: filed for filed in matching})
    total = max(queued, len(found))
    letters = sorted(found.values(), key=_died)[:count]
    return letters, total - len(letters)


def _died(filed: Filed) -> str:
    return filed.letter.at if filed.letter else ""


def _print_table(letters: list[Filed]) -> None:
    names = ("id", "queue", "died", "nacks", "redelivered", "error")
    Table(names, numbers=("nacks", "redelivered"), cut=("queue", "error")).print(map(_row, letters))


def _row(filed: Filed) -> tuple[str, ...]:
    letter = filed.letter
    if letter is None:
        dead_queue = shown(encoded(filed.dead_queue))
        return filed.id, "", "", "", "", f"no dead letter, but a job of {dead_queue}"
    counters = str(letter.nacks), str(letter.additional_deliveries)
    died = letter.at.replace("+00:00", "Z")
    error = truncate(letter.error, LONGEST_LINE)
    return filed.id, shown(encoded(letter.queue)), died, *counters, error


# show


@dead.command(epilog=EXIT_CODES)
@ids_argument
@as_json
@to_ask
def show(ids: tuple[Value, ...], as_json: bool, nodes: tuple[str, ...]) -> None:
    """Show all of dead letters.

    What died, where and why, with the traceback, the headers and the body. An ID that is - reads
    IDs from standard input, a line each.

    \b
    Examples:
      pydisque dead show D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1
      pydisque dead show D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1 --json | jq -r .body
    """  # noqa: D301
    with errors_told(), every_node(nodes) as clients:
        choice = Choice(clients, ids, None)
        letters = chain.from_iterable(batch for _, batch in choice.batches())
        for number, filed in enumerate(letters):
            if as_json:
                print_json([_as_dict(filed)])
            else:
                _print_story(filed, after_another=bool(number))
    if choice.failed:
        raise click.exceptions.Exit(1)


def _as_dict(filed: Filed) -> dict[str, Any]:
    """All of a letter as JSON knows it; a body that is no text goes by another name."""
    letter = filed.letter
    told: dict[str, Any] = {"id": filed.id}
    told |= text_or_base64("dead_queue", encoded(filed.dead_queue))
    if letter is not None:
        told |= letter._asdict()
        del told["body"], told["queue"]
        told |= text_or_base64("queue", encoded(letter.queue))
        told |= {"id": filed.id, "job_id": letter.id, "headers": dict(letter.headers)}
    return told | text_or_base64("body", filed.body if letter is None else letter.body)


def _print_story(filed: Filed, *, after_another: bool) -> None:
    if after_another:
        click.echo()
    letter = filed.letter
    assert letter is not None  # noqa: S101
    for name, value in (
        ("id", filed.id),
        ("dead queue", encoded(filed.dead_queue)),
        ("queue", encoded(letter.queue)),
        ("job", letter.id),
        ("died", letter.at),
        ("nacks", str(letter.nacks)),
        ("redelivered", str(letter.additional_deliveries)),
        ("error", letter.error),
    ):
        click.echo(f"{name:12} {shown(value)}")
    print_sections(("traceback", letter.traceback), *sections_of(letter.body, letter.headers))


# replay


@dead.command(epilog=EXIT_CODES)
@choosing
@click.option("--count", metavar="N", type=AtLeast(1), help="At most so many.")
@click.option(
    "--to",
    metavar="QUEUE",
    shell_complete=queue_names,
    help="Put the jobs into this queue instead of their own.",
)
@click.option("--delay", metavar="S", type=whole_seconds(), help="Seconds until they are queued.")
@click.option("--ttl", metavar="S", type=whole_seconds(1), help="Their TTL.  [default: a day]")
@click.option(
    "--retry", metavar="S", type=whole_seconds(), help="Their RETRY.  [default: that of ADDJOB]"
)
@as_json
@to_ask
def replay(
    ids: tuple[Value, ...],
    queue: str | None,
    dead_queue: str | None,
    error: str | None,
    count: int | None,
    to: str | None,
    as_json: bool,
    nodes: tuple[str, ...],
    **options: Any,
) -> None:
    """Put jobs back into their queues.

    They have all their attempts before them. A letter is taken out of its queue first, so that of
    several replays one adds its job, and acknowledged once the job is added. If this is killed no
    letter is lost: those in hand are queued again after their RETRY, at worst as well as their
    jobs. Letters that do not match are not touched, nor are jobs in a dead queue that are no dead
    letters. An ID that is - reads IDs from standard input, a line each.

    \b
    Examples:
      pydisque dead replay D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1
      pydisque dead replay --queue charges --error timeout --count 10
      pydisque dead replay --queue charges --to charges-again --delay 60
    """  # noqa: D301
    from pydisque import dead_letters  # noqa: PLC0415

    wanted = chosen(ids, queue, dead_queue, error=error, count=count)
    passable(**options)
    failed = 0
    with (
        errors_told(),
        every_node(nodes) as clients,
        counted("put back", "job", err=as_json) as done,
    ):
        choice = Choice(clients, ids, wanted)
        for client, batch in choice.batches(count):
            with finishing():  # or letters are out of their queue until their RETRY
                results = dead_letters.replay(client, batch, to=to, **options)
            pairs = list(zip(batch, results, strict=True))
            if wanted is not None:  # of a queue those are meant that are in it
                pairs = [pair for pair in pairs if not isinstance(pair[1], LetterTakenError)]
            errors = _tell_errors(pairs)
            done(len(pairs) - errors)
            failed += errors
            if as_json:
                print_json(_replayed(*pair) for pair in pairs)
    if failed or choice.failed:
        raise click.exceptions.Exit(1)


def _replayed(filed: Filed, result: bytes | Exception) -> dict[str, str]:
    if isinstance(result, Exception):
        return {"id": filed.id, "error": str(result)}
    return {"id": filed.id, "new_id": result.decode()}


def _tell_errors(pairs: list[tuple[Filed, bytes | Exception]]) -> int:
    errors = [(filed.id, result) for filed, result in pairs if isinstance(result, Exception)]
    for letter_id, error in errors:
        click.echo(f"{letter_id}: left where it is: {shown(str(error))}", err=True)
    return len(errors)


# purge


@dead.command(epilog=EXIT_CODES)
@choosing
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@to_ask
def purge(
    ids: tuple[Value, ...],
    queue: str | None,
    dead_queue: str | None,
    error: str | None,
    yes: bool,
    as_json: bool,
    nodes: tuple[str, ...],
) -> None:
    """Acknowledge dead letters for good.

    They are gone then, and their jobs with them. Jobs in a dead queue that are no dead letters are
    left alone. An ID that is - reads IDs from standard input, a line each, and goes with --yes.

    \b
    Examples:
      pydisque dead purge D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1
      pydisque dead purge --queue charges --error "no card" --yes
    """  # noqa: D301
    from pydisque import dead_letters  # noqa: PLC0415

    wanted = chosen(ids, queue, dead_queue, error=error)
    if None in ids and not yes:
        raise click.UsageError("- goes with --yes: the answer cannot come from standard input too")
    with errors_told(), every_node(nodes) as clients:
        choice = Choice(clients, ids, wanted)
        found: list[tuple[Client, list[str]]] = []
        with counted("found") as advance:
            for client, batch in choice.batches():
                found.append((client, [filed.id for filed in batch]))
                advance(len(batch))
        total = sum(len(letter_ids) for _, letter_ids in found)
        if total and not yes:
            question = f"purge {number(total, 'dead letter')} for good?"
            click.confirm(question, abort=True, err=as_json)
        purged = 0
        with counted("purged", "dead letter", err=as_json) as advance:
            for client, letter_ids in found:
                gone = dead_letters.purge(client, letter_ids)
                purged += gone
                advance(gone)
        if as_json:
            print_json([{"purged": purged}])
    if choice.failed:
        raise click.exceptions.Exit(1)
