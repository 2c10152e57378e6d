"""What commands have in common: how they find nodes, tell errors, and show what others wrote."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import click
from redis.exceptions import RedisError

from pydisque.addresses import Address, parse_addresses

if TYPE_CHECKING:
    from pydisque.client import Client

F = TypeVar("F", bound=Callable[..., Any])

# Seconds after which a command that no node answers is given up.
DEADLINE = 3.0

# What a supervisor says to a worker process over the socket they share; its end says `STOP` too.
STOP, NOW = b"s", b"n"

# From this priority on a node is failed or leaving.
_FAILED = 100


# Nodes


def _addresses(_: click.Context, __: click.Parameter, nodes: tuple[str, ...]) -> tuple[str, ...]:
    try:
        if nodes:
            parse_addresses(nodes)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return nodes


def nodes_option(text: str, **settings: Any) -> Callable[[F], F]:
    """The option --nodes, whose value is checked."""
    return click.option(
        "--nodes",
        metavar="HOST:PORT,...",
        multiple=True,
        callback=_addresses,
        help=text,
        **settings,
    )


# For commands that ask nodes something.
to_ask = nodes_option(
    "The nodes to ask; a URL can hold a password.  "
    "[env var: DISQUE_NODES; default: localhost:7711]",
    envvar="DISQUE_NODES",
    default=["localhost:7711"],
)


@contextmanager
def every_node(nodes: tuple[str, ...]) -> Iterator[list[Client]]:
    """A client for each node of the cluster these nodes are of; mostly it has one.

    When a node fails meanwhile its client moves to another, and so may see what a second one sees.
    """
    from pydisque.client import Client  # noqa: PLC0415

    logging.getLogger("pydisque").addHandler(logging.NullHandler())  # errors are told once
    with ExitStack() as stack:
        first = stack.enter_context(Client(nodes, deadline=DEADLINE))
        _, own_id, *known = first.hello()
        like = parse_addresses(nodes)[0]
        others = [
            _url(like.elsewhere(host.decode(), int(port)))
            for node_id, host, port, priority in known
            if node_id != own_id and int(priority) < _FAILED
        ]
        yield [first, *(stack.enter_context(Client(o, deadline=DEADLINE)) for o in others)]


def _url(address: Address) -> str:
    """An address as text, with its password."""
    login = ""
    if address.password is not None:
        login = f"{quote(address.username or '', '')}:{quote(address.password, '')}@"
    return f"disque{'s' * address.tls}://{login}{address}"


# Errors


class FailedError(click.ClickException):
    """A command that works on could not begin, or did not end as it should."""

    exit_code = 3


@contextmanager
def errors_told() -> Iterator[None]:
    """Tell what a node refused, or that none answers, in one plain line."""
    try:
        yield
    except RedisError as error:
        raise click.ClickException(shown(str(error))) from None


# Text


def shown(text: str | bytes) -> str:
    """Somebody's text in one line on a terminal, which it must not command."""
    if isinstance(text, bytes):
        text = text.decode(errors="backslashreplace")
    return text if text.isprintable() else "".join(_harmless(c) for c in text)


def shown_lines(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join(shown(line.expandtabs()) for line in text.split("\n"))


def _harmless(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def number(count: int, what: str) -> str:
    """So many of something, in words."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
