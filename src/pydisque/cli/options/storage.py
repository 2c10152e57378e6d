"""Where `check`, `dump` and `load` find jobs: in a data directory, or in the Valkey of nodes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from pydisque.cli.options.nodes import number, shown
from pydisque.cli.output.formatting import print_json, text_or_base64
from pydisque.cli.output.progress import busy
from pydisque.cli.output.tables import print_pairs
from pydisque.service.paths import is_address

if TYPE_CHECKING:
    from pydisque.node.store.durable.recovery import Replay
    from pydisque.node.store.valkey.dump import Loaded
    from pydisque.node.store.valkey.url import Place


_ALLOWED = "allowed is a directory, or a Valkey as in valkey://host:6379"


def _store(context: click.Context, parameter: click.Parameter, value: str) -> Place | str:
    """A directory as it is written, or a `Place`. No error shows the value: a URL has passwords."""
    scheme, is_url, _ = value.partition("://")
    if is_url and scheme.lower() not in ("disque", "disques"):
        return _place(value)
    if is_address(value):
        raise click.BadParameter(
            f"this looks like the address of a node; {_ALLOWED}. A directory with a colon in its "
            "name is written ./NAME"
        )
    click.Path(file_okay=False).convert(value, parameter, context)
    return value


def _place(value: str) -> Place:
    from pydisque.node.store.valkey.url import parse  # noqa: PLC0415

    try:
        return parse(value)
    except ValueError as error:
        raise click.BadParameter(
            f"this is not allowed; allowed is a directory, or {error}"
        ) from None


def _target(context: click.Context, parameter: click.Parameter, value: str) -> Place | str:
    """Likewise; a bare name that is no directory yet may be a host, and none is made for it."""
    store = _store(context, parameter, value)
    if isinstance(store, str) and os.sep not in store and not os.path.isdir(store):  # noqa: PTH112
        raise click.BadParameter(
            f"there is no directory {shown(store)} here; {_ALLOWED}. A directory to be made is "
            "written with a slash, as in ./NAME"
        )
    return store


STORE = click.argument("store", metavar="DIR|URL", callback=_store)
TARGET = click.argument("store", metavar="DIR|URL", callback=_target)


def report(
    store: object,
    problems: Iterable[str],
    facts: dict[str, str],
    told: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    """Tell what is in a store, to people as facts or to a program, and all that is wrong."""
    problems = list(problems)
    if as_json:
        print_json([told | {"problems": problems}])
    else:
        for problem in problems:
            click.echo(problem)
        print_pairs(facts.items())
    if problems:
        raise click.ClickException(f"{store}: damaged: {number(len(problems), 'problem')} above")


Paused = list[tuple[bytes, str]]


def paused_shown(paused: Paused) -> str:
    """Which queues are paused, for people."""
    return ", ".join(f"{shown(name)} ({how})" for name, how in paused) or "none"


def paused_as_dicts(paused: Paused) -> list[dict[str, str]]:
    """Likewise for programs."""
    return [text_or_base64("name", name) | {"pause": how} for name, how in paused]


# Valkey


@contextmanager
def _told(before: str = "") -> Iterator[None]:
    """Tell what went wrong in one plain line."""
    from pydisque.node.store.valkey.admin import VisitError  # noqa: PLC0415

    logging.getLogger("pydisque").addHandler(logging.NullHandler())  # errors are told once
    try:
        yield
    except VisitError as error:
        raise click.ClickException(shown(f"{before}{error}")) from None


def read(place: Place) -> Replay:
    """All jobs and queues of a system."""
    from pydisque.node.store.valkey import dump  # noqa: PLC0415

    with _told(), busy(f"reading {place}"):
        return dump.read(place)


def load(place: Place, lines: Iterable[bytes]) -> Loaded:
    """Add what a dump holds to a system."""
    from pydisque.node.store.dump.loader import DumpError  # noqa: PLC0415
    from pydisque.node.store.valkey import dump  # noqa: PLC0415

    try:
        with _told("nothing was loaded: "):
            try:
                return dump.load(place, lines)
            except dump.IncompleteError as error:
                raise click.ClickException(shown(str(error))) from None
    except (OSError, DumpError) as error:
        raise click.ClickException(f"nothing was loaded: {error}") from None


def check(place: Place, *, as_json: bool) -> None:
    """Tell what is in a system, and all that is wrong."""
    from pydisque.node.store.valkey import check  # noqa: PLC0415

    with _told(), busy(f"checking {place}"):
        findings = check.check(place)
    states, paused = findings.states, sorted(findings.paused)
    facts = {
        "valkey": f"{findings.mode}: {', '.join(findings.servers)}",
        "shards": str(findings.shards),
        "jobs": f"{states.total()}: {states['queued']} queued, {states['active']} active",
        "queues": f"{findings.queues}: {paused_shown(paused)} paused",
    }
    told = {
        "mode": findings.mode,
        "servers": list(findings.servers),
        "shards": findings.shards,
        "jobs": dict(states),
        "queues": findings.queues,
        "paused": paused_as_dicts(paused),
    }
    report(place, findings.problems, facts, told, as_json=as_json)
