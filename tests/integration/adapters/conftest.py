"""Programs of other frameworks, run as their users run them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.servers import NodeProcess, until

HERE = Path(__file__).parent


class Program:
    """A process with all its children, in a session of its own."""

    def __init__(self, arguments: tuple[str, ...], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=HERE,
                env={**os.environ, **environment},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def says(self, text: str) -> bool:
        """Whether it has said this."""
        return text in self.log.read_text()

    def terminate(self) -> int:
        """Ask it to end, and wait until it has; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def kill(self) -> None:
        """End it and its children at once."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Starts `python arguments...` with a few variables; ended with the test."""
    programs: list[Program] = []

    def run(*arguments: str, **environment: str) -> Program:
        log = tmp_path / f"log-{len(programs)}"
        programs.append(Program(arguments, environment, log))
        return programs[-1]

    yield run
    for program in programs:
        program.kill()


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where tasks note what they did."""
    path = tmp_path / "notes"
    path.touch()
    return path


@pytest.fixture
def noted(notes: Path) -> Callable[[int], list[str]]:
    """Waits until there are so many notes of a kind, and returns all of them."""

    def wait(count: int, kind: str = "", seconds: float = 20) -> list[str]:
        def found() -> Any:
            lines = [line for line in notes.read_text().splitlines() if line.startswith(kind)]
            return lines if len(lines) >= count else None

        return until(found, seconds) if count else []

    return wait


@pytest.fixture
def node() -> Iterator[NodeProcess]:
    """A node in a process of its own."""
    with NodeProcess() as process:
        yield process
