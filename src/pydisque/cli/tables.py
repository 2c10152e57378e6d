"""Tables for people: lines that programs can read as well."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import click

from pydisque import words
from pydisque.cli.common import shown

# Cells that what may be cut gets at least on a narrow terminal.
NARROWEST = 16

_GAP = "  "


class Table:
    """A table that is printed piece by piece, with its head above the first.

    Nothing is folded, as IDs are copied and programs read lines. What is last may be cut: to the
    width of a terminal, and only there.
    """

    def __init__(
        self, names: Sequence[str], *, numbers: Collection[str] = (), cut_last: bool = False
    ) -> None:
        """Make a table with these columns, some of them numbers."""
        from rich.console import Console  # noqa: PLC0415

        self._console = Console(highlight=False)
        self._numbers = [name in numbers for name in names]
        self._cut = cut_last and self._console.is_terminal
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
            self._widths = [max(w, cell_len(c)) for w, c in zip(self._widths, row, strict=True)]

    def _line(self, row: Sequence[str]) -> str:
        from rich.cells import cell_len  # noqa: PLC0415

        padded = []
        for cell, width, is_number in zip(row, self._widths, self._numbers, strict=True):
            blanks = " " * (width - cell_len(cell))
            padded.append(blanks + cell if is_number else cell + blanks)
        line = _GAP.join(padded).rstrip()
        return self._shortened(line) if self._cut else line

    def _shortened(self, line: str) -> str:
        """The line on a terminal, of which only the last column is cut."""
        from rich.cells import cell_len, set_cell_size  # noqa: PLC0415

        others = sum(width + len(_GAP) for width in self._widths[:-1])
        room = max(self._console.width, others + NARROWEST)
        return line if cell_len(line) <= room else f"{set_cell_size(line, room - 1)}…"


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, a line each."""
    told = list(pairs)
    width = max((len(name) for name, _ in told), default=0)
    for name, value in told:
        click.echo(f"{name:{width}}  {shown(str(value))}".rstrip())


duration = words.duration
