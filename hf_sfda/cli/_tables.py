"""Small tables of plain values, for a terminal and for pipes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from hf_sfda.foreign import clean
from hf_sfda.report.format import score

if TYPE_CHECKING:
    from rich.table import Table

Cells = tuple[Sequence[str], Sequence[Sequence[Any]]]
"""A header, and rows of plain values."""


def terminal_table(cells: Cells, *, words: Collection[str]) -> Table:
    """The table for people: three decimals, words to the left and numbers to the right.

    Args:
        cells: Header and rows.
        words: Headings of the columns that hold words.
    """
    from rich.table import Table
    from rich.text import Text

    header, rows = cells
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        of_words = name in words
        table.add_column(
            Text(name),
            justify="left" if of_words else "right",
            no_wrap=not of_words,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(score(v) if isinstance(v, float) else _full(v)) for v in row))
    return table


def tabbed(cells: Cells) -> str:
    """The table for programs: tab-separated, nothing shortened or rounded."""
    header, rows = cells
    return "\n".join("\t".join(map(_line, row)) for row in (header, *rows))


def _full(value: Any) -> str:
    empty = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if empty else clean(str(value))


def _line(value: Any) -> str:
    return " ".join(_full(value).split())
