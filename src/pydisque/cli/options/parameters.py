"""Arguments and options of several commands: job IDs, queues, what ADDJOB takes, how to show."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import click

from pydisque.cli.options import stdin
from pydisque.cli.options.completion import names_of_queues
from pydisque.cli.options.nodes import shown
from pydisque.dead_letters import encoded
from pydisque.protocol import commands
from pydisque.protocol.validation import LARGEST, is_job_id
from pydisque.service.paths import PATH, is_address

F = TypeVar("F", bound=Callable[..., Any])

# Jobs


# Letters of a line that is no job ID, in the error.
LONGEST_QUOTED = 80


def job_ids(
    context: click.Context, _: click.Parameter, given: tuple[str, ...]
) -> tuple[stdin.Value, ...]:
    """Check the job IDs among the arguments; `-` is those of standard input."""
    return tuple(_id_or_input(context, text) for text in given)


def _id_or_input(context: click.Context, text: str) -> stdin.Value:
    if text == stdin.DASH:
        stdin.claim_input(context)
        return None
    if not is_job_id(text):
        raise click.BadParameter(f"{_quoted(text)} is no job ID")
    return text.encode()


ids = click.argument("ids", metavar="ID...", nargs=-1, required=True, callback=job_ids)
maybe_ids = click.argument("ids", metavar="[ID]...", nargs=-1, callback=job_ids)


def batches_of_ids(given: Iterable[stdin.Value]) -> Iterator[list[str]]:
    """All job IDs, some at a time.

    Raises:
        click.BadParameter: a line of standard input is none; nothing of its batch is returned.
    """
    for batch in stdin.batches(given):
        texts = [line.strip().decode(errors="backslashreplace") for line in batch.lines]
        for number, text in enumerate(texts, batch.first):
            if text and not is_job_id(text):
                raise click.BadParameter(f"{batch.noun} {number}: {_quoted(text)} is no job ID")
        yield [text for text in texts if text]


def _quoted(text: str) -> str:
    return shown(text) if len(text) <= LONGEST_QUOTED else f"{shown(text[:LONGEST_QUOTED])}…"


MOST_SECONDS = 2**31 - 1
"""The longest time that can be given: 68 years."""


class Seconds(click.FloatRange):
    """A time in seconds."""

    def __init__(self, least: float = 0) -> None:
        """Of so many at least."""
        super().__init__(least)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Take it if it is a time."""
        seconds = super().convert(value, param, ctx)
        if not seconds <= MOST_SECONDS:  # nor if it is no number
            self.fail(f"{value} is not in the range x<={MOST_SECONDS}.", param, ctx)
        return float(seconds)


def milliseconds(seconds: float) -> int:
    """The same as nodes want it; what is not 0 is one at least, as 0 may mean for ever."""
    return round(seconds * 1000) or int(seconds > 0)


class AtLeast(click.IntRange):
    """A whole number; the help says what is the least, and the most is beyond anybody's need."""

    def __init__(self, least: int, most: int = LARGEST) -> None:
        """Of so many at least."""
        super().__init__(least)
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Take it if it is such a number."""
        number = super().convert(value, param, ctx)
        if number > self._most:
            self.fail(f"{value} is not in the range x<={self._most}.", param, ctx)
        return int(number)


def whole_seconds(least: int = 0) -> AtLeast:
    """A time in whole seconds, as Disque wants most of them."""
    return AtLeast(least, MOST_SECONDS)


def passable(**options: Any) -> None:
    """Refuse options that no node would take for ADDJOB."""
    try:
        commands.add_job("", "", **options)
    except ValueError as wrong:
        raise click.UsageError(str(wrong)) from None


# Any bytes a shell can give


def as_bytes(_: click.Context, __: click.Parameter, given: Any) -> Any:
    """The bytes that were given, which need be no text."""
    if isinstance(given, tuple):
        return tuple(map(encoded, given))
    return None if given is None else encoded(given)


class OutputFile(click.Path):
    """A file to be written; standard output if it is `-` and may be."""

    def __init__(self, *, dash: bool = True) -> None:
        super().__init__(dir_okay=False, allow_dash=True)
        self._dash = dash

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take it if it is a path."""
        if is_address(value):
            self.fail(f"this looks like an address; allowed is {PATH}", param, ctx)
        if value == stdin.DASH and not self._dash:
            self.fail("- is no file, and this must be one; ./- is one", param, ctx)
        return str(super().convert(value, param, ctx))


def bodies_or_input(
    context: click.Context, _: click.Parameter, given: tuple[str, ...]
) -> tuple[stdin.Value, ...]:
    """The bytes of bodies; `-` is those of standard input."""
    for _dash in filter(stdin.DASH.__eq__, given):
        stdin.claim_input(context)
    return tuple(None if text == stdin.DASH else encoded(text) for text in given)


def queue_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Names of queues that begin so, if a node says soon what it has."""
    asked = ctx.params.get("nodes") or ctx.params.get("source")
    given = asked or os.environ.get("DISQUE_NODES") or "localhost:7711"
    return names_of_queues(given, incomplete)


def _queue(name: str, **settings: Any) -> Callable[[F], F]:
    return click.argument(name, callback=as_bytes, shell_complete=queue_names, **settings)


queue = _queue("queue")
queues = _queue("queues", metavar="QUEUE...", nargs=-1, required=True)
maybe_queue = _queue("queue", required=False)


# How to show


as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
raw = click.option("--raw", is_flag=True, help="Only the bodies, byte for byte.")


def at_most_one(**flags: bool) -> None:
    """Refuse flags that do not go together."""
    given = [f"--{name}" for name, flag in flags.items() if flag]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} do not go together")
