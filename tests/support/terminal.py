"""A terminal to run `pydisque` on: a pty whose screen can be read, and at which keys are typed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from typing import Any

import pyte
import pytest

from support.cli import COMMAND
from support.servers import until

COLORS = "COLORTERM", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"


class Screen:
    """What a command shows on its terminal."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int, inner: int) -> None:
        self.process = process
        self.sent = b""
        """All that was written to the terminal."""
        self._fd = fd
        self._inner = inner
        self._screen = pyte.Screen(*_size(inner))
        self._stream = pyte.ByteStream(self._screen)

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def resize(self, width: int, height: int) -> None:
        """Make the window another size, of which the terminal tells who runs there."""
        self._screen.resize(height, width)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    @property
    def lines(self) -> list[str]:
        """What is on it now."""
        while select.select([self._fd], [], [], 0)[0]:
            try:
                data = os.read(self._fd, 65536)
            except OSError:  # nobody is there any more
                break
            self.sent += data
            self._stream.feed(data)
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def chosen(self) -> str:
        """The line that stands out."""
        for at, line in enumerate(self.lines):
            if self._screen.buffer[at][0].reverse:
                return line
        return ""

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something; what is on the screen instead is told if it does not come."""
        try:
            until(lambda: self.lines and condition())
        except pytest.fail.Exception as failed:
            pytest.fail(f"{failed}; the screen:\n{self.text}")

    def shows(self, *texts: str) -> None:
        """Wait until all of this is on it."""
        self.until(lambda: all(text in self.text for text in texts))

    def ends(self, code: int) -> None:
        """Wait until the command ends, with this exit code."""
        self.until(lambda: self.process.poll() is not None)
        if self.process.returncode != code:
            pytest.fail(f"it ended with {self.process.returncode}; the screen:\n{self.text}")

    @property
    def cells(self) -> Iterator[Any]:
        """Every letter on it, with its colors."""
        for at in range(len(self.lines)):
            yield from self._screen.buffer[at].values()

    @property
    def modes(self) -> Any:
        """How the terminal treats what is typed and written."""
        return termios.tcgetattr(self._inner)


def _size(fd: int) -> tuple[int, int]:
    size = os.get_terminal_size(fd)
    return size.columns, size.lines


@contextlib.contextmanager
def on_screen(
    addresses: list[str], *args: str, width: int = 80, height: int = 24, **environment: str
) -> Iterator[Screen]:
    """A command in a process of its own, at a terminal of its own."""
    outer, inner = pty.openpty()
    fcntl.ioctl(outer, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    mine = {name: value for name, value in os.environ.items() if name not in COLORS}
    mine |= {"DISQUE_NODES": ",".join(addresses), "TERM": "xterm-256color"} | environment
    process = subprocess.Popen(
        [*COMMAND, *args], stdin=inner, stdout=inner, stderr=inner, env=mine,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - so Ctrl-C works
    )  # fmt: skip
    try:
        yield Screen(process, outer, inner)
    finally:
        process.kill()
        process.wait()
        os.close(outer)
        os.close(inner)
