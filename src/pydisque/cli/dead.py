"""`pydisque dead`: look at dead letters, put their jobs back, purge them.

What is done with a letter stands in `pydisque.dead_letters`, and which ones are meant in `letters`;
here is what is told of them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from pydisque.cli.common import errors_told, every_node, number, shown, shown_lines, to_ask
from pydisque.cli.letters import Choice, Wanted, be_known, choosing, chosen, counted, job_ids

if TYPE_CHECKING:
    from pydisque.client import Client
    from pydisque.dead_letters import Filed

# Bytes of a body that is no text to show.
LONGEST_HEX = 4096


@click.group()
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


@dead.command("list")
@click.argument("queue", required=False)
@click.option("--dead-queue", metavar="NAME", help="The letters lie in this queue.")
@click.option("--error", metavar="TEXT", help="Only letters whose error has this text.")
@click.option(
    "--count", default=100, show_default=True, type=click.IntRange(1), help="At most so many."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the body.")
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
        for filed in letters:
            click.echo(json.dumps(_as_dict(filed)))
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
        be_known(clients, wanted.dead_queue)
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
            queued += client.qlen(dead_letters.encoded(wanted.dead_queue))
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
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("id", "queue", "died", "nacks", "redelivered", "error"):
        table.add_column(name, justify="right" if name in ("nacks", "redelivered") else "left")
    for filed in letters:
        table.add_row(*(Text(shown(text)) for text in _row(filed)))
    # Nothing is folded or cut: IDs are copied, and programs read lines.
    width = Console(width=1_000_000).measure(table).maximum
    Console(width=width, highlight=False).print(table)


def _row(filed: Filed) -> tuple[str, ...]:
    letter = filed.letter
    if letter is None:
        return filed.id, "", "", "", "", f"no dead letter, but a job of {filed.dead_queue}"
    counters = str(letter.nacks), str(letter.additional_deliveries)
    return filed.id, letter.queue, letter.at.replace("+00:00", "Z"), *counters, letter.error


# show


@dead.command()
@click.argument("job_id", metavar="ID", callback=job_ids)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@to_ask
def show(job_id: str, as_json: bool, nodes: tuple[str, ...]) -> None:
    """Show all of one dead letter.

    What died, where and why, with the traceback, the headers and the body.

    \b
    Examples:
      pydisque dead show D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1
      pydisque dead show D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1 --json | jq -r .body
    """  # noqa: D301
    with errors_told(), every_node(nodes) as clients:
        choice = Choice(clients, (job_id,), None)
        letters = [filed for _, batch in choice.batches() for filed in batch]
    if not letters:
        raise click.exceptions.Exit(1)
    if as_json:
        click.echo(json.dumps(_as_dict(letters[0])))
    else:
        _print_story(letters[0])


def _as_dict(filed: Filed) -> dict[str, Any]:
    """All of a letter as JSON knows it; a body that is no text goes by another name."""
    letter = filed.letter
    told: dict[str, Any] = {"id": filed.id, "dead_queue": filed.dead_queue}
    if letter is not None:
        told |= letter._asdict()
        del told["body"]
        told |= {"id": filed.id, "job_id": letter.id, "headers": dict(letter.headers)}
    body = filed.body if letter is None else letter.body
    try:
        told["body"] = body.decode()
    except UnicodeDecodeError:
        told["body_base64"] = base64.b64encode(body).decode()
    return told


def _print_story(filed: Filed) -> None:
    letter = filed.letter
    assert letter is not None  # noqa: S101
    for name, value in (
        ("id", filed.id),
        ("dead queue", filed.dead_queue),
        ("queue", letter.queue),
        ("job", letter.id),
        ("died", letter.at),
        ("nacks", str(letter.nacks)),
        ("redelivered", str(letter.additional_deliveries)),
        ("error", letter.error),
    ):
        click.echo(f"{name:12} {shown(value)}")
    kind, body = _readable(letter.body)
    headers = json.dumps(letter.headers, indent=2, ensure_ascii=False) if letter.headers else ""
    for title, text in (
        ("traceback", letter.traceback),
        ("headers", headers),
        (f"body, {number(len(letter.body), 'byte')}{kind}", body),
    ):
        if text:
            click.echo(f"\n{title}:\n{shown_lines(text.rstrip())}")


def _readable(body: bytes) -> tuple[str, str]:
    """A body for people, and what it is."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return "", _hex(body)
    try:
        return " of JSON", json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "", text


def _hex(body: bytes) -> str:
    lines = []
    for start in range(0, min(len(body), LONGEST_HEX), 16):
        row = body[start : start + 16]
        plain = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:08x}  {row.hex(' '):47}  {plain}")
    if len(body) > LONGEST_HEX:
        lines.append(f"and {len(body) - LONGEST_HEX} bytes more, which --json has")
    return "\n".join(lines)


# replay


@dead.command()
@choosing
@click.option("--count", metavar="N", type=click.IntRange(1), help="At most so many.")
@click.option("--to", metavar="QUEUE", help="Put the jobs into this queue instead of their own.")
@click.option("--delay", metavar="S", type=click.IntRange(0), help="Seconds until they are queued.")
@click.option("--ttl", metavar="S", type=click.IntRange(1), help="Their TTL.  [default: a day]")
@click.option(
    "--retry", metavar="S", type=click.IntRange(0), help="Their RETRY.  [default: that of ADDJOB]"
)
@to_ask
def replay(
    ids: tuple[str, ...],
    queue: str | None,
    dead_queue: str | None,
    error: str | None,
    count: int | None,
    to: str | None,
    nodes: tuple[str, ...],
    **options: Any,
) -> None:
    """Put jobs back into their queues.

    They have all their attempts before them. A job is added before its dead letter is
    acknowledged, so that none is lost whenever this is interrupted; at worst one is there as well
    as its letter. Letters that do not match are not touched, nor are jobs in a dead queue that are
    no dead letters.

    \b
    Examples:
      pydisque dead replay D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1
      pydisque dead replay --queue charges --error timeout --count 10
      pydisque dead replay --queue charges --to charges-again --delay 60
    """  # noqa: D301
    from pydisque import commands, dead_letters  # noqa: PLC0415

    wanted = chosen(ids, queue, dead_queue, error=error, count=count)
    try:
        commands.add_job("", "", **options)
    except ValueError as wrong:
        raise click.UsageError(str(wrong)) from None
    failed = 0
    with errors_told(), every_node(nodes) as clients, counted("put back", "job") as done:
        choice = Choice(clients, ids, wanted)
        for client, batch in choice.batches(count):
            results = dead_letters.replay(client, batch, to=to, **options)
            errors = _tell_errors(batch, results)
            done(len(batch) - errors)
            failed += errors
    if failed or choice.failed:
        raise click.exceptions.Exit(1)


def _tell_errors(batch: list[Filed], results: list[bytes | Exception]) -> int:
    errors = [(f.id, r) for f, r in zip(batch, results, strict=True) if isinstance(r, Exception)]
    for letter_id, error in errors:
        click.echo(f"{letter_id}: left where it is: {shown(str(error))}", err=True)
    return len(errors)


# purge


@dead.command()
@choosing
@click.option("--yes", is_flag=True, help="Do not ask.")
@to_ask
def purge(
    ids: tuple[str, ...],
    queue: str | None,
    dead_queue: str | None,
    error: str | None,
    yes: bool,
    nodes: tuple[str, ...],
) -> None:
    """Acknowledge dead letters for good.

    They are gone then, and their jobs with them. Jobs in a dead queue that are no dead letters are
    left alone.

    \b
    Examples:
      pydisque dead purge D-5f1a0c3e-C0ssHkZmZ3v1pQv0Vd7nW9tK-05a1
      pydisque dead purge --queue charges --error "no card" --yes
    """  # noqa: D301
    from pydisque import dead_letters  # noqa: PLC0415

    wanted = chosen(ids, queue, dead_queue, error=error)
    with errors_told(), every_node(nodes) as clients:
        choice = Choice(clients, ids, wanted)
        found: list[tuple[Client, list[str]]] = []
        with counted("found") as advance:
            for client, batch in choice.batches():
                found.append((client, [filed.id for filed in batch]))
                advance(len(batch))
        total = sum(len(letter_ids) for _, letter_ids in found)
        if total and not yes:
            click.confirm(f"purge {number(total, 'dead letter')} for good?", abort=True)
        with counted("purged", "dead letter") as advance:
            for client, letter_ids in found:
                advance(dead_letters.purge(client, letter_ids))
    if choice.failed:
        raise click.exceptions.Exit(1)
