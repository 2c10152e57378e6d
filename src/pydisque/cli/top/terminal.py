"""The terminal: keys without echo, a screen of our own, and all as it was whatever happens."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import tty
from collections.abc import Sequence
from typing import Self

from rich.console import Console, Group
from rich.text import Text

from pydisque.cli.top.rendering import Size


def is_there() -> bool:
    """Whether there is a terminal that can be drawn on, and typed at."""
    return sys.stdin.isatty() and sys.stdout.isatty() and not Console().is_dumb_terminal


class Terminal:
    """The terminal of standard input and output; ours within ``with``."""

    def __init__(self) -> None:
        self.fd = sys.stdin.fileno()
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._before = termios.tcgetattr(self.fd)

    def enter(self) -> None:
        """Take it over."""
        tty.setcbreak(self.fd)  # Ctrl-C and Ctrl-Z still are signals
        attributes = termios.tcgetattr(self.fd)
        attributes[0] &= ~termios.IXON  # Ctrl-S would hold us up
        termios.tcsetattr(self.fd, termios.TCSANOW, attributes)
        self._console.set_alt_screen(True)
        self._console.show_cursor(False)

    def leave(self) -> None:
        """Give it back as it was, if it is still there."""
        with contextlib.suppress(OSError):
            self._console.show_cursor(True)
            self._console.set_alt_screen(False)
        with contextlib.suppress(termios.error):
            # What was typed ahead was meant for us, not for the shell. What we wrote is not waited
            # for, as nobody may read it.
            termios.tcflush(self.fd, termios.TCIFLUSH)
            termios.tcsetattr(self.fd, termios.TCSANOW, self._before)

    @property
    def size(self) -> Size:
        """How large it is now."""
        width, height = self._console.size
        return Size(width, height, plain=self._console.options.ascii_only)

    def read(self) -> bytes:
        """What was typed; nothing if it is gone."""
        try:
            return os.read(self.fd, 1024)
        except OSError:
            return b""

    def paint(self, lines: Sequence[Text]) -> None:
        """Show these lines, and nothing else."""
        self._console.update_screen(Group(*lines))

    def __enter__(self) -> Self:
        try:
            self.enter()
        except BaseException:
            self.leave()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.leave()
