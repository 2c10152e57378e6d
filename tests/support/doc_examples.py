"""The examples of a page: found in it, run on a node, and held to what the page says of them."""

from __future__ import annotations

import ast
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import hiredis

from support.cli import run

ROOT = Path(__file__).parents[2]
PROMPT = "127.0.0.1:7711> "

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_NOTE = re.compile(r" {2,}#.*")


class Snippet(NamedTuple):
    """A block of a page."""

    kind: str
    text: str


class Step(NamedTuple):
    """What is typed, and what the page says comes of it."""

    typed: str
    told: str


def snippets(page: Path) -> list[Snippet]:
    return [Snippet(*found[1:]) for found in _BLOCK.findall(page.read_text(encoding="utf-8"))]


def steps(snippet: Snippet) -> list[Step]:
    """The commands of a session with a shell, or with valkey-cli if it begins with its prompt."""
    prompt = PROMPT if snippet.text.startswith(PROMPT) else "$ "
    if not snippet.text.startswith(prompt):
        return []
    found = []
    for part in re.split(rf"^{re.escape(prompt)}", snippet.text, flags=re.MULTILINE)[1:]:
        typed, _, told = re.sub(r"\\\n *", "", part).partition("\n")
        found.append(Step(_NOTE.sub("", typed), told))
    return found


# What is the same, whenever it is told


def same(text: str) -> str:
    """A text without what differs from run to run; IDs are counted through."""
    met: dict[str, str] = {}
    for pattern, word in (
        (r"D-[0-9a-f]{8}-[A-Za-z0-9+/]{24}-[0-9a-f]{4}", "ID"),
        (r"\b[0-9a-f]{40}\b", "NODE"),
    ):
        text = re.sub(pattern, lambda at, w=word: met.setdefault(at[0], f"{w}{len(met)}"), text)
    for pattern, word in (
        (r"localhost:7711", "127.0.0.1:7711"),
        (r'(?<=-within"\n2[68]\) )\(integer\) \d+', "MILLISECONDS"),
        (r"\b1\d{18}\b|\d{4}-\d\d-\d\dT[\d:]+Z", "MOMENT"),
        (r"\b\d+(\.\d+)? ?m?s\b", "TIME"),
        (r"[ ─]{2,}", "  "),
    ):
        text = re.sub(pattern, word, text)
    return "\n".join(line.rstrip() for line in text.splitlines())


# Python


def checked(code: str) -> str:
    """The code, in which `expression  # value` became an assertion that it is so."""

    def check(line: re.Match[str]) -> str:
        try:
            ast.parse(line[1], mode="eval")
            ast.literal_eval(line[2])
        except (SyntaxError, ValueError):
            return line[0]
        return f"assert ({line[1]}) == {line[2]}"

    return re.sub(r"^(\S.*?)  # (.+)$", check, code, flags=re.MULTILINE)


# Sessions


class Ids:
    """Which job of ours is which on the page."""

    _ID = re.compile(r"D-[0-9a-f]{8}-[A-Za-z0-9+/]{24}-[0-9a-f]{4}")

    def __init__(self) -> None:
        self._ours: dict[str, str] = {}

    def learn(self, page: str, ours: str) -> None:
        """What was told, on the page and to us, names the same jobs in the same order."""
        for there, here in zip(self._ID.findall(page), self._ID.findall(ours), strict=False):
            self._ours.setdefault(there, here)

    def ours(self, text: str) -> str:
        return self._ID.sub(lambda at: self._ours.get(at[0], at[0]), text)


# The wire


def on_the_wire(address: str, session: list[Step], ids: Ids) -> str:
    """What valkey-cli would show of a session."""
    host, _, port = address.rpartition(":")
    shown = ""
    with socket.create_connection((host, int(port)), 5) as sock, sock.makefile("rb") as replies:
        for step in session:
            typed = ids.ours(step.typed)
            sock.sendall(hiredis.pack_command(tuple(shlex.split(typed))))
            told = _reply(replies) + "\n"
            ids.learn(step.told, told)
            shown += f"{PROMPT}{typed}\n{told}"
    return shown


def _reply(replies: IO[bytes], margin: str = "") -> str:
    """The next reply as valkey-cli shows it."""
    kind, text = (line := replies.readline().decode())[0], line[1:].rstrip()
    if kind == "*":
        rows = []
        for number in range(1, int(text) + 1):
            head = f"{number:{len(text)}}) "
            rows.append(head + _reply(replies, margin + " " * len(head)))
        return f"\n{margin}".join(rows) or "(empty array)"
    if kind == "$" and int(text) >= 0:
        body = replies.read(int(text) + 2)[:-2].decode()
        quoted = '"' + body.replace("\\", r"\\").replace('"', r"\"") + '"'
        return (
            body.replace("\r", "").rstrip() if "\r\n" in body else quoted
        )  # INFO is shown as it is
    return {"+": text, ":": f"(integer) {text}", "-": f"(error) {text}"}.get(kind, "(nil)")


# The shell


def in_a_shell(address: str, typed: str, folder: Path) -> tuple[int, str]:
    """The exit code of a line, and all that it wrote."""
    words = shlex.split(typed)
    if words[0] == "pydisque" and not re.search(r"[|<>;&$]", typed):
        done = run([address], *words[1:])
        return done.code, done.text + done.err
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", typed],
        env={"PATH": path, "DISQUE_NODES": address}, cwd=folder, text=True, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout


def commands_in(typed: str) -> Iterator[list[str]]:
    """The words of each `pydisque` in a line of the shell."""
    lexer = shlex.shlex(typed, posix=True, punctuation_chars="|<>;&")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word[0] in "|<>;&":
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                del words[0]
            if words[:1] == ["pydisque"] and words[1:]:
                yield words[1:]
            words = []
        else:
            words.append(word)
