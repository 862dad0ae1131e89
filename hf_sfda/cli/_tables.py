"""Render tables for a terminal and as tab-separated text."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hf_sfda.foreign import clean
from hf_sfda.format import score

if TYPE_CHECKING:
    from rich.table import Table

    from hf_sfda.cli._output import Output
    from hf_sfda.types import Ranking

Cells = tuple[Sequence[str], Sequence[Sequence[Any]]]
"""The header of a table and its rows."""


def terminal_table(cells: Cells, *, text_columns: Collection[str]) -> Table:
    """Render a table for people: three decimals, text left-aligned, numbers right-aligned.

    Args:
        cells: Header and rows.
        text_columns: Headings of the columns with text.
    """
    from rich.table import Table
    from rich.text import Text

    header, rows = cells
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        is_text = name in text_columns
        table.add_column(
            Text(name),
            justify="left" if is_text else "right",
            no_wrap=not is_text,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(score(v) if isinstance(v, float) else _full(v)) for v in row))
    return table


def tabbed(cells: Cells) -> str:
    """Render a table for programs: tab-separated, with full names and numbers."""
    header, rows = cells
    return "\n".join("\t".join(map(_line, row)) for row in (header, *rows))


def short_names(names: Iterable[str]) -> tuple[dict[str, str], str | None]:
    """Short names of models as the table of a ranking shows them.

    Returns:
        Name -> short name, and the folder that was removed from local names.
    """
    from hf_sfda.names import with_short_names
    from hf_sfda.types import ModelRow, Ranking

    rows = tuple(ModelRow(name, None, "ok") for name in names)
    short, folder = with_short_names(Ranking({}, {}, rows))
    pairs = zip(rows, short.rows, strict=True)
    return {row.model_id: shortened.model_id for row, shortened in pairs}, folder


def _full(value: Any) -> str:
    empty = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if empty else clean(str(value))


def _line(value: Any) -> str:
    return " ".join(_full(value).split())


def show_ranking(ranking: Ranking, output: Output) -> None:
    """Print a ranking in the format that the user wants."""
    from hf_sfda.report import render_plain, render_quiet, render_table

    output.document(
        ranking.to_dict(),
        human=lambda width: render_table(ranking, width=width),
        agent=lambda: render_plain(ranking),
        quiet=lambda: render_quiet(ranking),
    )
    if not output.human:
        for warning in ranking.warnings:
            output.warn(warning)
