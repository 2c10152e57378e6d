"""`pydisque add`: jobs from arguments, from files, or from standard input, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

import click
from redis.exceptions import AuthenticationError

from pydisque.cli.bodies import print_json, text_or_base64
from pydisque.cli.common import EXIT_CODES, asking, errors_told, number, to_ask, told
from pydisque.cli.lines import batches, size_of
from pydisque.cli.parameters import (
    AtLeast,
    Seconds,
    as_bytes,
    as_json,
    milliseconds,
    passable,
    queue,
    whole_seconds,
)
from pydisque.cli.progress import counted, finishing
from pydisque.cli.streams import standard_input
from pydisque.client import Client
from pydisque.errors import DisqueError


def _milliseconds(_: click.Context, __: click.Parameter, seconds: float) -> int:
    return milliseconds(seconds)


@click.command(epilog=EXIT_CODES)
@queue
@click.argument("bodies", metavar="[BODY]...", nargs=-1, callback=as_bytes)
@click.option(
    "-f", "--file", "files", metavar="FILE", multiple=True, type=click.File("rb"),
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
    bodies: tuple[bytes, ...],
    files: tuple[IO[bytes], ...],
    as_json: bool,
    nodes: tuple[str, ...],
    **options: Any,
) -> None:
    """Add jobs to QUEUE.

    Each BODY is a job, and each --file. Without any, each line of standard input is one, an empty
    line too; they are added in batches, as they come.

    The IDs are told, a line each; of standard input how many were added, and with --json the IDs
    as well. The first that is refused ends it; then it is told which were not added. Ctrl-C ends it
    after a batch.

    \b
    Examples:
      pydisque add mail '{"to": "ada@example.org"}'
      pydisque add mail "at most once, in a minute" --retry 0 --replicate 1 --delay 60
      pydisque add images --file cat.png --file dog.png
      pydisque add urls --ttl 3600 < urls.txt
      tail -F access.log | pydisque add lines --maxlen 100000
    """  # noqa: D301
    passable(**options)
    given = [*bodies, *map(_content, files)]
    with errors_told(), asking(nodes) as client:
        adding = _Adding(client, queue, options, as_json=as_json)
        if given:
            adding.given(given)
        else:
            adding.lines(standard_input())


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

    def given(self, bodies: Sequence[bytes]) -> None:
        """Add these, and tell their IDs."""
        results = self._client.add_jobs(self._queue, bodies, **self._options)
        ids = _added(results)
        if self._as_json:
            self._print(ids)
        elif ids:
            click.echo("\n".join(ids))
        _refuse_errors("job", 1, results)

    def lines(self, stream: IO[bytes]) -> None:
        """Add each line, and tell how many were."""
        typed = stream.isatty()
        if typed:
            click.echo("a job a line; Ctrl-D ends", err=True)
        with counted(
            "added", "job", total=size_of(stream), err=self._as_json, typed=typed
        ) as advance:
            for first, lines, size in batches(stream):
                with finishing():
                    results = self._client.add_jobs(self._queue, lines, **self._options)
                    ids = _added(results)
                    advance(len(ids), size)
                if self._as_json:
                    self._print(ids)
                _refuse_errors("line", first, results)

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
