"""What the code says better than a page could: commands, and the help of the command line.

MkDocs calls this while it builds. A page in docs/commands has the examples of one command; between
its title and them comes what `pydisque.protocol.commands` says of it, and below them the rows of
docs/differences.md that do. A command without a page, and a page without one, end a strict build.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from pydisque.cli import SECTIONS, main
from pydisque.protocol import commands

log = logging.getLogger("mkdocs.hooks.pydisque")

HERE = Path(__file__).parent

_WIRE = re.compile(r"``(([A-Z]+)\b[^`]*)``")
_ROW = re.compile(r"^\|(?! What| ?-)(.*)\|$", re.MULTILINE)
_LINK = re.compile(r"\]\((?!\w+:)")
_CLIENT = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


# Commands


def disque_commands() -> dict[str, Callable[..., Any]]:
    """The functions of `protocol.commands` by the words they send, in the order of the module."""
    found = {}
    for name, function in vars(commands).items():
        if inspect.isfunction(function) and not name.startswith("_"):
            wire = _WIRE.search(inspect.getdoc(function) or "")
            if function.__module__ == commands.__name__ and wire:
                found[wire[2]] = function
    return found


def wire_form(function: Callable[..., Any]) -> str:
    """What a command looks like on the wire."""
    wire = _WIRE.search(inspect.getdoc(function) or "")
    return wire[1] if wire else ""


def differences(word: str) -> list[str]:
    """The rows of docs/differences.md that speak of a command."""
    table = (HERE / "differences.md").read_text(encoding="utf-8")
    return [row for row in _ROW.findall(table) if re.search(rf"(?<!CLIENT )\b{word}\b", row)]


def awaited(code: str) -> str:
    """An example for `Client` as one for `AsyncClient`."""
    code = re.sub(r"\bfor (?=\w+ in client\.(?:iter_\w+|jobs)\()", "async for ", code)
    call = r"(?<!\w)(?<!\.)((?:client|job)\.(?!iter_|jobs\()\w+\()"
    return re.sub(call, r"await \1", re.sub(r"\bClient\b", "AsyncClient", code))


def _page_of(word: str, examples: str) -> str:
    """The page of a command."""
    function = disque_commands()[word]
    title, _, rest = examples.partition("\n")
    head = [title, f"::: pydisque.protocol.commands.{function.__name__}", _OPTIONS]
    return "\n".join([*head, _CLIENT.sub(_both, rest, count=1), *_end(word)])


_OPTIONS = """\
    options:
      heading_level: 2
      show_source: true
"""


def _both(example: re.Match[str]) -> str:
    """The example of the client, and below it the same for asyncio."""
    code = awaited(example[1])
    return f"{example[0]}\n\nWith [`AsyncClient`](../async.md):\n\n```python\n{code}```"


def _end(word: str) -> Iterator[str]:
    yield "\n## On pydisque's node\n"
    rows = differences(word)
    if not rows:
        yield "As on Disque 1.0-rc1."
        return
    yield "| | Disque | This node | Why |\n|---|---|---|---|"
    for row in rows:
        yield f"|{_LINK.sub('](../', row)}|"
    yield "\nAll of them: [differences from Disque](../differences.md)."


def _table() -> str:
    """All commands, each with a link to its page."""
    lines = ["| | on the wire | |", "|---|---|---|"]
    for word, function in disque_commands().items():
        first = (inspect.getdoc(function) or "").partition("\n")[0]
        wire = wire_form(function).replace("|", r"\|")
        lines.append(f"| [{word}]({word.lower()}.md) | `{wire}` | {first} |")
    return "\n".join(lines)


# The command line


def all_help() -> str:
    """What `--help` says of each command, at 80 columns."""
    settings = main.context_settings | {"terminal_width": 80, "max_content_width": 80}
    root = click.Context(main, info_name="pydisque", **settings)
    return "\n".join(
        f"## {title}\n\n" + "\n".join(text for command in family for text in _texts(command, root))
        for title, family in SECTIONS.items()
    )


def _texts(command: click.Command, parent: click.Context) -> Iterator[str]:
    """The help of a command, and of those below it."""
    context = click.Context(command, parent=parent, info_name=command.name)
    title = context.command_path.removeprefix("pydisque ")
    yield f"### {title}\n\n```text\n{command.get_help(context)}\n```\n"
    for each in command.commands.values() if isinstance(command, click.Group) else ():
        yield from _texts(each, context)


# What MkDocs calls


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Add to a page what the code says."""
    where = page.file.src_uri
    if where == "cli-reference.md":
        return f"{markdown}\n{all_help()}"
    if where == "commands/index.md":
        return markdown.replace("<!-- the commands -->", _table())
    if where.startswith("commands/"):
        return _page_of(Path(where).stem.upper(), markdown)
    return markdown


def on_files(files: Any, **_: Any) -> Any:
    """See to it that every command has its page, and every page a command."""
    uris = {file.src_uri for file in files if file.src_uri.startswith("commands/")}
    wanted = {f"commands/{word.lower()}.md" for word in disque_commands()} | {"commands/index.md"}
    for uri in sorted(wanted ^ uris):
        log.warning("%s: pydisque.protocol.commands and docs/commands do not agree", uri)
    return files
