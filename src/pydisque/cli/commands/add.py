"""`pydisque add`: jobs from arguments, from files, or from standard input, a line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import IO, Any

import click
from redis.exceptions import AuthenticationError

from pydisque.cli.options.nodes import EXIT_CODES, asking, errors_told, number, to_ask, told
from pydisque.cli.options.parameters import (
    AtLeast,
    Seconds,
    as_json,
    bodies_or_input,
    milliseconds,
    passable,
    queue,
    whole_seconds,
)
from pydisque.cli.options.stdin import InputFile, Value, batches, claim_input, size_of
from pydisque.cli.output.formatting import print_json, text_or_base64
from pydisque.cli.output.progress import counted, finishing
from pydisque.cli.output.streams import standard_input
from pydisque.client.client import Client
from pydisque.errors import DisqueError


def _milliseconds(_: click.Context, __: click.Parameter, seconds: float) -> int:
    return milliseconds(seconds)


@click.command(epilog=EXIT_CODES)
@queue
@click.argument("bodies", metavar="[BODY]...", nargs=-1, callback=bodies_or_input)
@click.option(
    "-f", "--file", "files", metavar="FILE", multiple=True, type=InputFile(),
    help="All of a file is the body of one job; - is standard input.  [may be given often]",
)  # fmt: skip
@click.option("--delay", metavar="S", type=whole_seconds(), help="Seconds until it is queued.")
@click.option(
    "--retry", metavar="S", type=whole_seconds(),
    help="Seconds until it is queued again unless acknowledged; 0: never, at most once.",
)  # fmt: skip
@click.option("--ttl", metavar="S", type=whole_seconds(1), help="Its time to live.  [a day]")
@click.option(
    "--replicate", metavar="N", type=click.IntRange(1, 65535), help="How many nodes must have it."
)
@click.option("--maxlen", metavar="N", type=AtLeast(1), help="Only if fewer are queued.")
@click.option(
    "--timeout", metavar="S", type=Seconds(), default=0.2, show_default=True,
    callback=_milliseconds, help="Seconds a node may take to copy it to others; 0: no limit.",
)  # fmt: skip
@click.option("--async", "asynchronous", is_flag=True, help="Do not wait for the copies.")
@as_json
@to_ask
def add(
    queue: bytes,
    bodies: tuple[Value, ...],
    files: tuple[IO[bytes], ...],
    as_json: bool,
    nodes: tuple[str, ...],
    **options: Any,
) -> None:
    """Add jobs to QUEUE.

    Each BODY is a job, and each --file. Where BODY is -, and without any, each line of standard
    input is one, an empty line too; they are added in batches, as they come. A line ends in LF; a
    CR before it belongs to the body. A body that is - itself goes in by standard input.

    The IDs are told, a line each; of standard input how many were added, and with --json the IDs
    as well. The first that is refused ends it; then it is told which were not added. Ctrl-C ends it
    after a batch.

    \b
    Examples:
      pydisque add mail '{"to": "ada@example.org"}'
      pydisque add mail "at most once, in a minute" --retry 0 --replicate 1 --delay 60
      pydisque add images --file cat.png --file dog.png
      pydisque add urls --ttl 3600 < urls.txt
      seq 1 5000 | pydisque add numbers -
      tail -F access.log | pydisque add lines --maxlen 100000
      echo - | pydisque add dashes
    """  # noqa: D301
    passable(**options)
    values = [*bodies, *map(_content, files)]
    if not values:
        claim_input(click.get_current_context())
        values = [None]
    with errors_told(), asking(nodes) as client:
        adding = _Adding(client, queue, options, as_json=as_json)
        if None in values:
            adding.counted(values, standard_input())
        else:
            adding.listed(values)


def _content(file: IO[bytes]) -> bytes:
    try:
        return file.read()
    except OSError as error:
        raise click.FileError(file.name, error.strerror) from None


class _Adding:
    """Jobs that are added to one queue, some at a time."""

    def __init__(
        self, client: Client, queue: bytes, options: dict[str, Any], *, as_json: bool
    ) -> None:
        self._client = client
        self._queue = queue
        self._options = options
        self._as_json = as_json

    def listed(self, values: Iterable[Value]) -> None:
        """Add these, and print their IDs."""
        for noun, first, bodies, _ in batches(values):
            results = self._client.add_jobs(self._queue, bodies, **self._options)
            ids = _added(results)
            if self._as_json:
                self._print(ids)
            elif ids:
                click.echo("\n".join(ids))
            _refuse_errors(noun, first, results)

    def counted(self, values: Iterable[Value], stream: IO[bytes]) -> None:
        """Add these, the lines of standard input among them, and print their number."""
        typed = stream.isatty()
        if typed:
            click.echo("a job a line; Ctrl-D ends", err=True)
        with counted(
            "added", "job", total=size_of(stream), err=self._as_json, typed=typed
        ) as advance:
            for noun, first, bodies, size in batches(values):
                with finishing():
                    results = self._client.add_jobs(self._queue, bodies, **self._options)
                    ids = _added(results)
                    advance(len(ids), size)
                if self._as_json:
                    self._print(ids)
                _refuse_errors(noun, first, results)

    def _print(self, ids: list[str]) -> None:
        queue = text_or_base64("queue", self._queue)
        print_json({"id": job_id} | queue for job_id in ids)


def _added(results: Sequence[bytes | Exception]) -> list[str]:
    return [result.decode() for result in results if isinstance(result, bytes)]


def _refuse_errors(noun: str, first: int, results: Sequence[bytes | Exception]) -> None:
    """End it if one of a batch was refused, and tell which."""
    failed = [(n, r) for n, r in enumerate(results, first) if isinstance(r, Exception)]
    if not failed:
        return
    at, error = failed[0]
    others = ""
    if len(failed) > 1:
        others = f" and {number(len(failed) - 1, 'other')} up to {noun} {failed[-1][0]}"
    refused = isinstance(error, (DisqueError, AuthenticationError))
    what = "not known to be added" if getattr(error, "sent", not refused) else "not added"
    raise told(error, f"{what}: {noun} {at}{others}: ")
