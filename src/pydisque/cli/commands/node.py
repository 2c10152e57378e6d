"""`pydisque hello`, `info` and `ping`: the nodes themselves."""

from __future__ import annotations

import time
from typing import Any

import click
from redis.exceptions import RedisError

from pydisque.cli.options.nodes import (
    EXIT_CODES,
    FailedError,
    asking,
    errors_told,
    shown,
    shown_lines,
    to_ask,
    told,
)
from pydisque.cli.options.parameters import as_json
from pydisque.cli.output.formatting import print_json
from pydisque.cli.output.tables import Table
from pydisque.protocol.addresses import Address, parse_addresses
from pydisque.protocol.command import raw
from pydisque.protocol.replies import parse_info

# hello


@click.command(epilog=EXIT_CODES)
@as_json
@to_ask
def hello(as_json: bool, nodes: tuple[str, ...]) -> None:
    """Ask a node who it is, and which others it knows.

    \b
    Examples:
      pydisque hello
      pydisque hello --nodes node1:7711 --json
    """  # noqa: D301
    with errors_told(), asking(nodes) as client:
        _, own_id, *known = client.hello()
        here = client.connected_node
        host = here.host if here and "/" not in here.host else ""  # of a Unix socket it is the path
    told = [_fellow(*entry, own=entry[0] == own_id, host_here=host) for entry in known]
    if as_json:
        print_json(told)
        return
    rows = [
        (n["id"], n["host"], n["port"], _state(n), "this one" if n["own"] else "") for n in told
    ]
    Table(("id", "host", "port", "state", ""), numbers=("port",)).print(rows)


def _fellow(
    node_id: bytes, host: bytes, port: bytes, priority: bytes, *, own: bool, host_here: str
) -> dict[str, Any]:
    """One that is known; a node that never met another does not know its own host."""
    return {
        "id": node_id.decode(),
        "host": host.decode() or (host_here if own else ""),
        "port": int(port),
        "priority": int(priority),
        "own": own,
    }


def _state(node: dict[str, Any]) -> str:
    words = {1: "fine", 5: "not connected", 10: "perhaps down"}
    return words.get(node["priority"], "down or leaving")


# info


@click.command(epilog=EXIT_CODES)
@click.argument("section", required=False)
@as_json
@to_ask
def info(section: str | None, as_json: bool, nodes: tuple[str, ...]) -> None:
    """Show a node's figures, all or those of a SECTION.

    Sections are server, clients, memory, jobs, queues, persistence, stats, cpu and commandstats;
    "all" has the last as well.

    \b
    Examples:
      pydisque info
      pydisque info memory
      pydisque info --json | jq .registered_jobs
    """  # noqa: D301
    words = ("INFO",) if section is None else ("INFO", section)
    with errors_told(), asking(nodes) as client:
        [text] = client.pipeline().queue(raw(words, bytes)).execute()
    if not text:
        raise click.ClickException(f"there is no section {shown(section or '')}")
    if as_json:
        print_json([parse_info(text)])
    else:
        lines = text.decode(errors="backslashreplace").replace("\r\n", "\n")
        click.echo(shown_lines(lines.rstrip()))


# ping


@click.command(epilog=EXIT_CODES)
@as_json
@to_ask
def ping(as_json: bool, nodes: tuple[str, ...]) -> None:
    """Ask each of the nodes that are named for an answer, and tell how long it took.

    The exit code is 3 if one of them does not answer.

    \b
    Examples:
      pydisque ping
      pydisque ping --nodes node1:7711,node2:7711 || echo "somebody is down"
    """  # noqa: D301
    silent = 0
    for address in parse_addresses(nodes):
        answer = _pinged(address)
        silent += isinstance(answer, Exception)
        if as_json:
            print_json([_as_dict(address, answer)])
        elif isinstance(answer, Exception):
            click.echo(told(answer, f"{address}: ").message, err=True)
        else:
            click.echo(f"{address}: PONG after {answer:.2f} ms")
    if silent:
        raise click.exceptions.Exit(FailedError.exit_code)


def _as_dict(address: Address, answer: float | Exception) -> dict[str, Any]:
    if isinstance(answer, Exception):
        return {"node": str(address), "error": shown(str(answer))}
    return {"node": str(address), "milliseconds": round(answer, 3)}


def _pinged(address: Address) -> float | Exception:
    """Milliseconds to an answer, or what came instead."""
    with asking((address.url,)) as client:
        try:
            client.connect()
            started = time.perf_counter()
            client.ping()
        except RedisError as error:
            cause = error.__cause__
            return cause if isinstance(cause, Exception) else error
        return (time.perf_counter() - started) * 1000
