"""`pydisque monitor`: what a node is told, as it is told."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import click

from pydisque.cli.options.nodes import (
    EXIT_CODES,
    asking,
    errors_told,
    name_of,
    number,
    shown,
    to_ask,
)
from pydisque.cli.options.parameters import as_json
from pydisque.cli.output.formatting import print_json, text_or_base64
from pydisque.client.client import Client

_LINE = re.compile(rb"(\d+\.\d+) \[(.*?)\] (\".*)", re.DOTALL)
_WORD = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)

# Commands with a password among their words; ours to hide, as a real Disque shows it.
_SECRET = {b"AUTH", b"HELLO"}
# Parameters of CONFIG SET that are one.
_PASSWORDS = {b"REQUIREPASS", b"MASTERAUTH"}
_HIDDEN = b"(hidden)"

# Seconds after which it is looked again whether there is something to read.
QUIET = 60


@click.command(epilog=EXIT_CODES)
@as_json
@to_ask
def monitor(as_json: bool, nodes: tuple[str, ...]) -> None:
    """Show each command that a node carries out, until Ctrl-C.

    It is the node that answers first. Passwords are hidden, bodies are not. A busy node is slowed
    down by being watched.

    \b
    Examples:
      pydisque monitor
      pydisque monitor --json | jq -r 'select(.words[0] == "ADDJOB") | .words[1]'
    """  # noqa: D301
    seen = 0
    try:
        with errors_told(), asking(nodes) as client:
            for line in _lines(client):
                seen += 1
                if as_json:
                    print_json([_as_dict(line)])
                else:
                    click.echo(shown(_discreet(line)))
    except KeyboardInterrupt:
        click.echo(f"seen: {number(seen, 'command')}", err=True)


def _lines(client: Client) -> Iterator[bytes]:
    """What the node in use says to MONITOR, on a connection of its own."""
    client.connect()
    link: Any = client.get_connection().connection_pool.make_connection()
    try:
        link.connect()
        link.send_command("MONITOR")
        link.read_response()
        click.echo(f"watching {name_of(client)} (Ctrl-C stops)", err=True)
        while True:
            while not link.can_read(timeout=QUIET):
                pass  # nobody says anything to the node
            yield link.read_response()
    finally:
        link.disconnect()


def _discreet(line: bytes) -> bytes:
    """The line without a password."""
    found = list(_WORD.finditer(line))
    words = [each[0][1:-1].upper() for each in found]
    shown_words = 1 if words and words[0] in _SECRET else len(words)
    if words[:2] == [b"CONFIG", b"SET"] and len(words) > 2 and words[2] in _PASSWORDS:
        shown_words = 3
    if shown_words >= len(words):
        return line
    return line[: found[shown_words - 1].end()] + b" " + _HIDDEN


def _as_dict(line: bytes) -> dict[str, Any]:
    found = _LINE.fullmatch(_discreet(line))
    if found is None:
        return text_or_base64("line", line)
    time, client, words = found.groups()
    read = [_read(word) for word in _WORD.findall(words)]
    if words.endswith(_HIDDEN):
        read.append(_HIDDEN)
    told = [word.decode(errors="backslashreplace") for word in read]
    return {"time": float(time), "client": client.decode(errors="replace"), "words": told}


def _read(word: bytes) -> bytes:
    """A word as it was sent; the node writes it as Python would."""
    return bytes(ast.literal_eval(f"b{word.decode('latin-1')}"))
