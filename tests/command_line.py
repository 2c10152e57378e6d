"""`pydisque` run by tests: in this process where that will do, else in one of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from click.testing import CliRunner

from pydisque.cli import main

COMMAND = [sys.executable, "-m", "pydisque"]


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
