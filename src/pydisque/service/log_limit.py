"""Warnings that a client can cause as often as it likes: one line a second in the log.

Decides only whether a line is due; the time is the caller's. Pure but for the log.
"""

from __future__ import annotations

import logging

logger = logging.getLogger("pydisque.node")

INTERVAL = 1000
"""Milliseconds between two lines."""


class Seldom:
    """Warnings of one kind."""

    def __init__(self) -> None:
        self._last = -INTERVAL
        self._left_out = 0

    def warn(self, now: int, message: str, *args: object) -> None:
        """Log a warning, at a time in milliseconds, with the number of those left out before."""
        if now - self._last < INTERVAL:
            self._left_out += 1
            return
        more = f", and {self._left_out} more before" if self._left_out else ""
        logger.warning(f"{message}%s", *args, more)  # noqa: G004 - messages are constants
        self._last, self._left_out = now, 0
