"""Where `check`, `dump` and `load` find jobs: in a data directory, or in the Valkey of nodes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import click

from pydisque.cli.common import number, shown
from pydisque.cli.tables import print_pairs

if TYPE_CHECKING:
    from pydisque.node.replay import Replay
    from pydisque.node.valkey.moving import Loaded
    from pydisque.node.valkey.place import Place


def _store(context: click.Context, parameter: click.Parameter, value: str) -> Place | str:
    """A directory as it is written, or a `Place`."""
    if "://" not in value:
        click.Path(file_okay=False).convert(value, parameter, context)
        return value
    from pydisque.node.valkey.place import parse  # noqa: PLC0415

    try:
        return parse(value)
    except ValueError as error:
        raise click.BadParameter(
            f"this is not allowed; allowed is a directory, or {error}"
        ) from None


STORE = click.argument("store", metavar="DIR|URL", callback=_store)


# Valkey


@contextmanager
def _told(before: str = "") -> Iterator[None]:
    """Tell what went wrong in one plain line."""
    from pydisque.node.valkey.visit import VisitError  # noqa: PLC0415

    logging.getLogger("pydisque").addHandler(logging.NullHandler())  # errors are told once
    try:
        yield
    except VisitError as error:
        raise click.ClickException(shown(f"{before}{error}")) from None


def read(place: Place) -> Replay:
    """All jobs and queues of a system."""
    from pydisque.node.valkey import moving  # noqa: PLC0415

    with _told():
        return moving.read(place)


def load(place: Place, file: BinaryIO) -> Loaded:
    """Add what a dump holds to a system."""
    from pydisque.node.intake import DumpError  # noqa: PLC0415
    from pydisque.node.valkey import moving  # noqa: PLC0415

    try:
        with _told("nothing was loaded: "):
            try:
                return moving.load(place, file)
            except moving.IncompleteError as error:
                raise click.ClickException(shown(str(error))) from None
    except (OSError, DumpError) as error:
        raise click.ClickException(f"nothing was loaded: {error}") from None


def check(place: Place) -> None:
    """Tell what is in a system, and all that is wrong."""
    from pydisque.node.valkey import checking  # noqa: PLC0415

    with _told():
        findings = checking.check(place)
    states = findings.states
    paused = ", ".join(f"{shown(name)} ({how})" for name, how in sorted(findings.paused))
    for problem in findings.problems:
        click.echo(problem)
    print_pairs(
        [
            ("valkey", f"{findings.mode}: {', '.join(findings.servers)}"),
            ("shards", str(findings.shards)),
            (
                "jobs",
                f"{states.total()}: {states['queued']} queued, {states['active']} active",
            ),
            ("queues", f"{findings.queues}: {paused or 'none'} paused"),
        ]
    )
    if findings.problems:
        told = number(len(findings.problems), "problem")
        raise click.ClickException(f"{place}: damaged: {told} above")
