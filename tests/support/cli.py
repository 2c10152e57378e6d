"""`pydisque` run by tests: in this process where that will do, else in one of its own."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO, Any, NamedTuple

import pytest
from click import Command, Group
from click.testing import CliRunner

from pydisque.cli import main

COMMAND = [sys.executable, "-m", "pydisque"]


def every_command(command: Command = main, *names: str) -> Iterator[tuple[str, Command]]:
    """All that can be run, and the groups, by what is typed behind `pydisque`."""
    yield " ".join(names), command
    for name, each in command.commands.items() if isinstance(command, Group) else ():
        yield from every_command(each, *names, name)


COMMANDS = {name: each for name, each in every_command() if not isinstance(each, Group)}


class Ended(NamedTuple):
    """What came of a command."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def shape(self) -> str:
        """What was written, without what differs from run to run, and without the blanks."""
        return shape(self.text)


def shape(text: str) -> str:
    for pattern, word in (
        (r"D-[0-9a-f]{8}-[A-Za-z0-9+/]{24}-[0-9a-f]{4}", "ID"),
        (r"\b[0-9a-f]{40}\b", "NODE"),
        (r"127\.0\.0\.1:\d+", "HOST:PORT"),
        (r"\b(test_\w+|pydisque-bench)(\[[^]]*\])?-[0-9a-f]{12,32}", "QUEUE"),
        (r" {2,}", "  "),
    ):
        text = re.sub(pattern, word, text)
    return text


def run(
    addresses: list[str], *args: str, typed: bytes | str | IO[bytes] = b"", **environment: str
) -> Ended:
    """Run a command in this process; it cannot be interrupted, and is at no terminal."""
    nodes = {"DISQUE_NODES": ",".join(addresses)}
    done = CliRunner().invoke(
        main, args, input=typed, env=nodes | environment, prog_name="pydisque"
    )
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ended(done.exit_code, done.stdout_bytes, done.stderr)


@contextmanager
def started(
    addresses: list[str], *args: str, environment: dict[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process of its own, which is ended if it still runs."""
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(
        [*COMMAND, *args],
        env=os.environ | {"DISQUE_NODES": ",".join(addresses)} | (environment or {}),
        **streams | options,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


# Terminals


@contextmanager
def terminal(columns: int) -> Iterator[tuple[int, int]]:
    """A terminal so wide: what its owner reads, and what a program writes to."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        yield ours, theirs
    finally:
        os.close(ours)


def seen(ours: int, theirs: int) -> str:
    """All that came to a terminal, once no program has it any more."""
    os.close(theirs)
    data = b""
    with suppress(OSError):
        while piece := os.read(ours, 65536):
            data += piece
    return data.decode().replace("\r\n", "\n")


def at_a_terminal(words: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    """Run a command in this process with a terminal as its standard output, and no other."""
    told = io.StringIO()
    with terminal(80) as (ours, theirs), pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        reading = ThreadPoolExecutor(1)
        with os.fdopen(os.dup(theirs), "w", encoding="utf-8") as tty:
            patch.setattr(sys, "stdout", tty)
            patch.setattr(sys, "stderr", told)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
            said = reading.submit(seen, ours, theirs)
            with pytest.raises(SystemExit) as ended:
                main.main(words, prog_name="pydisque")
        return int(ended.value.code or 0), said.result(), told.getvalue()
