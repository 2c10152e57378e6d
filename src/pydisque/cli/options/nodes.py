"""What commands have in common: how they find nodes, tell errors, and show what others wrote."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import click
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004
    RedisError,
    TimeoutError,  # noqa: A004
)

from pydisque import errors
from pydisque.client.client import Client
from pydisque.monitoring import text as words
from pydisque.protocol.addresses import Address, parse_addresses

F = TypeVar("F", bound=Callable[..., Any])

# Seconds after which a command that no node answers is given up.
DEADLINE = 3.0

# Letters of an address that is none.
LONGEST_ADDRESS = 300

# Errors are told once, by us.
SILENT = logging.NullHandler()

# What a supervisor says to a worker process over the socket they share; its end says `STOP` too.
STOP, NOW = b"s", b"n"

# In the context: not all nodes of a cluster could be asked that should have been.
INCOMPLETE = "pydisque.incomplete"

# Below the help of each command that asks nodes.
EXIT_CODES = (
    "Exit code: 0 when it is done, 1 when a node refused or what was asked for is not there, 2 for "
    "wrong options, 3 when no node could be asked."
)


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


def asking(nodes: tuple[str, ...], **options: Any) -> Client:
    """A client of one of these nodes, whichever answers; it connects with its first command."""
    logging.getLogger("pydisque").addHandler(SILENT)
    return Client(nodes, deadline=DEADLINE, **options)


@contextmanager
def every_node(
    nodes: tuple[str, ...], *, sharing: bool = False, whole: bool = True
) -> Iterator[list[Client]]:
    """A client for each node of the cluster these nodes are of; mostly it has one.

    Those that do not answer are told of and left out; if it takes all of them for what is done to
    be `whole`, the exit code is 1 then. Nodes on one Valkey all have the same jobs: there is one of
    them unless `sharing`.
    """
    with ExitStack() as stack:
        first = stack.enter_context(asking(nodes))
        _, own_id, *known = first.hello()
        like = parse_addresses(nodes)[0]
        others = [
            like.elsewhere(host.decode(), int(port))
            for node_id, host, port, _priority in known
            if node_id != own_id  # those that are failed too, so that they are told of
        ]
        if others and not sharing and "pydisque_version" in first.info():
            others = []  # ours have fellows only on a Valkey
        clients = {
            str(other): stack.enter_context(asking((other.url,), discover=False))
            for other in others
            if other.is_usable
        }
        _tell_unusable(others)
        reached = _reached(clients)
        if whole and len(reached) < len(others):
            click.get_current_context().meta[INCOMPLETE] = True
        yield [first, *reached]


def _tell_unusable(others: list[Address]) -> None:
    for other in others:
        if not other.is_usable:
            click.echo(f"not asked: {in_short(other)}: no host and port", err=True)


def in_short(address: Address) -> str:
    """An address that a node told of, which may be anything."""
    return shown(words.truncate(str(address), LONGEST_ADDRESS))


def _reached(clients: dict[str, Client]) -> list[Client]:
    """Those whose nodes answer; of the others it is told why not."""
    if not clients:
        return []
    with ThreadPoolExecutor(min(len(clients), 16)) as threads:
        errors = list(threads.map(_trouble, clients.values()))
    for name, error in zip(clients, errors, strict=True):
        if error is not None:
            click.echo(f"not asked: {name}: {shown(str(error.__cause__ or error))}", err=True)
    return [client for client, error in zip(clients.values(), errors, strict=True) if error is None]


def _trouble(client: Client) -> RedisError | None:
    try:
        client.connect()
    except RedisError as error:
        return error
    return None


def name_of(client: Client) -> str:
    """The node a client uses, as its address is written."""
    node = client.connected_node
    if node is None:
        return ""
    return str(Address(node.host, node.port, path=node.host if "/" in node.host else None))


def be_known(clients: list[Client], queue: bytes) -> None:
    """Refuse a queue that no node has."""
    if all(client.qstat(queue) is None for client in clients):
        raise click.ClickException(f"there is no queue {shown(queue)}")


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
        raise told(error) from None


def told(error: Exception, where: str = "") -> click.ClickException:
    """An error in one plain line, with what can be done about it."""
    met = (error.__cause__, error)
    hint = next((hint for kind, hint in _HINTS if any(isinstance(e, kind) for e in met)), "")
    if hint == _PASSWORD and any(text in str(error) for text in _NO_PASSWORD):
        hint = "; leave the password out of the address"
    unasked = isinstance(error, (ConnectionError, TimeoutError, errors.NoAuthError))
    kind = FailedError if unasked else click.ClickException
    return kind(f"{where}{shown(str(error))}{hint}")


_PASSWORD = "; a password goes into the address: --nodes disque://:PASSWORD@HOST:PORT"  # noqa: S105
_NO_PASSWORD = "no password is set", "without any password configured"
"""What nodes say that want none."""
_HINTS: tuple[tuple[type[Exception], str], ...] = (
    (errors.NoAuthError, _PASSWORD),
    (AuthenticationError, _PASSWORD),
    (errors.UnreachableError, "; --nodes or DISQUE_NODES says which nodes to ask"),
    (errors.PausedError, "; `pydisque resume QUEUE` ends the pause"),
    (errors.NoPermError, "; log in as an admin"),
)


# Text


shown = words.shown
shown_lines = words.shown_lines
number = words.number
