"""A `pydisque serve` with a data directory, to be ended in every way and started again."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any, Self

from harness.chaos.disk import Disk
from harness.chaos.faults import Faults, environment
from support.servers import answers, ask, free_port

TIGHT = """
import sys
from pydisque.cli import main
from pydisque.node.store.durable import compaction, journal
journal.COPY_AT, compaction.SLACK, journal.SPARE = 2**18, 2**18, 4
sys.argv[0] = "pydisque"
main()
"""
"""Our node, but its journal is copied and cleaned up many times a second, not once in minutes."""

PATIENCE = 30


class NodeFailure(Exception):  # noqa: N818 - what it is
    """The node did not start, or not end, as it should."""


class ChaosNode:
    """One node, its directory and, if asked for, its bad disk."""

    def __init__(
        self, durability: str = "always", *, bad_disk: bool = False, tight: bool = False
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pydisque-chaos-"))
        self.data = self.folder / "data"
        self.data.mkdir()
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.lives = 0
        self.keep = False
        """Whether its directory stays, to be looked at."""
        self.process: subprocess.Popen[bytes] | None = None
        self.faults = Faults(self.folder, self.data) if bad_disk else None
        self.disk = Disk(self.data) if bad_disk else None
        serve = ["serve", "--port", str(self.port), "--data", str(self.data)]
        program = ["-c", TIGHT] if tight else ["-m", "pydisque"]
        self._command = [sys.executable, *program, *serve, "--durability", durability]
        self._stderr = self.folder / "stderr"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
        if self.faults:
            self.faults.__exit__()
        if kind is None and not self.keep:
            shutil.rmtree(self.folder)

    # Starting

    def launch(self) -> None:
        """Start it and do not wait."""
        self.lives += 1
        log = self._life if self.disk else None
        with self._stderr.open("ab") as stderr:
            self.process = subprocess.Popen(
                [*self._command, "--log-level", "warning"],
                env=environment(self.faults, log),
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    def start(self) -> None:
        """Start it and wait until it serves.

        Raises:
            NodeFailure: it does not.
        """
        self.launch()
        deadline = time.monotonic() + PATIENCE
        while not _serves(self.address):
            assert self.process
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise NodeFailure(f"the node does not start: {self.said()[-4000:]}")
            time.sleep(0.01)

    @property
    def _life(self) -> Path:
        """The log of what this life does to the journal."""
        return self.folder / f"log-{self.lives}"

    # Ending

    def kill(self) -> None:
        """End it at once; what the system has of its files stays."""
        assert self.process
        self.process.kill()
        self.process.wait()
        if self.disk:
            self.disk.follow(self._life)
            self._life.unlink(missing_ok=True)

    def pull_plug(self, random: Random) -> None:
        """End it at once, and let the disk forget some of what was not synced."""
        self.kill()
        assert self.disk
        self.disk.pull_plug(random)

    def terminate(self) -> None:
        """SIGTERM."""
        assert self.process
        self.process.send_signal(signal.SIGTERM)
        self._end_in_order()

    def shut_down(self) -> None:
        """SHUTDOWN."""
        with contextlib.suppress(OSError):
            self.ask("SHUTDOWN")
        self._end_in_order()

    def _end_in_order(self) -> None:
        assert self.process
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise NodeFailure("the node does not end when it is told to") from None
        if status != 0:
            raise NodeFailure(f"told to end, it did with {status}: {self.said()[-4000:]}")
        if self.disk:
            self.disk.settle()
            self._life.unlink(missing_ok=True)

    # Asking

    def ask(self, *words: str | bytes | int) -> Any:
        """One command; an error reply is raised."""
        return ask(self.address, *words)

    def said(self) -> str:
        """What it logged in all its lives."""
        return self._stderr.read_text(errors="replace")

    def jobs(self) -> list[bytes]:
        """The IDs of the jobs it still has, but for those that were at most once."""
        return [id_ for id_ in self.scan() if int(id_[-4:], 16) % 2]

    def scan(self, *options: str) -> list[bytes]:
        """The IDs of all jobs that JSCAN finds with these options."""
        cursor, ids = self.ask("JSCAN", 0, "BUSYLOOP", *options)
        while int(cursor):
            cursor, more = self.ask("JSCAN", cursor, "BUSYLOOP", *options)
            ids += more
        return list(ids)


def _serves(address: str) -> bool:
    try:
        return answers(address)
    except Exception:  # noqa: BLE001 - an error reply is an answer as well
        return True
