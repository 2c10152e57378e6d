"""Tables for people: lines that programs can read as well."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import click

from pydisque.monitoring import text as words
from pydisque.monitoring.text import shown

# Cells that each of what may be cut gets at least on a narrow terminal.
NARROWEST = 16

# And cells up to which the others are padded: one name may be a million letters long.
WIDEST = 250

_GAP = "  "


class Table:
    """A table that is printed piece by piece, with its head above the first.

    Nothing is folded, as IDs are copied and programs read lines. Names and bodies are cut, so that
    lines fit the width of a terminal, and only there.
    """

    def __init__(
        self, names: Sequence[str], *, numbers: Collection[str] = (), cut: Collection[str] = ()
    ) -> None:
        """Make a table with these columns, some of them numbers, and some that may be `cut`."""
        from rich.console import Console  # noqa: PLC0415

        self._console = Console(highlight=False)
        self._numbers = [name in numbers for name in names]
        on_terminal = self._console.is_terminal
        self._cut = [at for at, name in enumerate(names) if on_terminal and name in cut]
        self._head: Sequence[str] | None = names
        self._widths = [len(name) for name in names]

    def print(self, rows: Iterable[Iterable[object]]) -> None:
        """Print rows below those before; somebody's text cannot command the terminal."""
        from rich.text import Text  # noqa: PLC0415

        cells = [[shown(str(cell)) for cell in row] for row in rows]
        self._widen(cells)
        text = Text()
        if self._head is not None:
            text.append(self._line(self._head) + "\n", style="bold")
            self._head = None
        text.append("".join(f"{self._line(row)}\n" for row in cells))
        self._console.print(text, soft_wrap=True, end="")

    def _widen(self, cells: list[list[str]]) -> None:
        from rich.cells import cell_len  # noqa: PLC0415

        for row in cells:
            wide = (min(cell_len(cell), WIDEST) for cell in row)
            self._widths = [max(pair) for pair in zip(self._widths, wide, strict=True)]
        if self._cut:
            self._fit()

    def _fit(self) -> None:
        """Share out among what may be cut the room that the other columns leave."""
        others = (width for at, width in enumerate(self._widths) if at not in self._cut)
        room = self._console.width - sum(others) - len(_GAP) * (len(self._widths) - 1)
        for following, at in zip(reversed(range(len(self._cut))), self._cut, strict=True):
            most = max(room - NARROWEST * following, NARROWEST)
            self._widths[at] = min(self._widths[at], most)
            room -= self._widths[at]

    def _line(self, row: Sequence[str]) -> str:
        from rich.cells import cell_len, set_cell_size  # noqa: PLC0415

        padded = []
        for at, (cell, width) in enumerate(zip(row, self._widths, strict=True)):
            blanks = " " * (width - cell_len(cell))
            whole = at not in self._cut or cell_len(cell) <= width
            text = cell if whole else f"{set_cell_size(cell, width - 1)}…"
            padded.append(blanks + text if self._numbers[at] else text + blanks)
        return _GAP.join(padded).rstrip()


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, a line each."""
    told = list(pairs)
    width = max((len(name) for name, _ in told), default=0)
    for name, value in told:
        click.echo(f"{name:{width}}  {shown(str(value))}".rstrip())


duration = words.duration
