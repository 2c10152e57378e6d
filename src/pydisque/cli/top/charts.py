"""Numbers as little charts of letters. Pure."""

from __future__ import annotations

from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
PLAIN = " _.:-=+*#"
"""For terminals that know ASCII alone."""


def sparkline(values: Sequence[float], width: int, blocks: str = BLOCKS) -> str:
    """The last of some values in one line, a letter each, the newest at the right."""
    shown = values[-width:] if width > 0 else []
    most = max(shown, default=0)
    # Nothing is a line at the bottom, so that it is told apart from what is not known.
    steps = len(blocks) - 2
    line = (blocks[1 + (round(v / most * steps) or 1 if v else 0)] for v in shown)
    return "".join(line).rjust(width)


def chart(values: Sequence[float], width: int, height: int, blocks: str = BLOCKS) -> list[str]:
    """The same in several lines, from the top one down."""
    shown = values[-width:] if width > 0 else []
    full = len(blocks) - 1
    scale = full * height / (max(shown, default=0) or 1)
    levels = [max(round(value * scale), 1) for value in shown]
    return [
        "".join(blocks[min(max(level - full * row, 0), full)] for level in levels).rjust(width)
        for row in reversed(range(height))
    ]
