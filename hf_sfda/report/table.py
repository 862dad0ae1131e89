"""Render the ranking as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_sfda.format import cut, shorten
from hf_sfda.names import with_short_names
from hf_sfda.report import measured, sentences
from hf_sfda.report.columns import Column, result_columns
from hf_sfda.types import ModelRow, Ranking

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

_GAP = 2
_NARROWEST_NAME = 24
_COMFORTABLE_NAME = 32
_USEFUL = 40  # a column with a lower weight must leave _COMFORTABLE_NAME cells for the names
_WIDEST_NAME = 48
_WIDEST_NOTE = 36


def render_table(ranking: Ranking, *, width: int, header: bool = False) -> Group:
    """Render the ranking for people, fitted to the width of a terminal.

    The columns with the lowest weight are omitted until the rest fits, and names are shortened in
    the middle. Only the reasons of skipped and failed candidates wrap.

    Args:
        ranking: The ranking to show.
        width: Width of the terminal, in cells.
        header: Start with the lines about the target and the candidates. A run has printed them
            earlier.

    Returns:
        A renderable of rich.
    """
    from rich.console import Group
    from rich.text import Text

    ranking, folder = with_short_names(ranking)
    blocks: list[Table | Text] = []
    if header:
        blocks.append(
            _pairs([("Target", sentences.target(ranking)), ("Scan", sentences.candidates(ranking))])
        )
        blocks.append(Text())
    ranked, others = ranking.ranked, [row for row in ranking.rows if row.status != "ok"]
    columns = result_columns(ranking)
    places = sentences.tie_labels(ranked)
    place_width = max([1, *map(len, places)])
    columns, name_width = _fit(columns, ranked, width - place_width - _GAP)
    if ranked:
        blocks.append(_ranked(ranking, columns, places, name_width))
    if others:
        blocks.append(_others(others, place_width, max(name_width, _NARROWEST_NAME), width))
    notes = [] if any(column.header == "note" for column in columns) else _notes(ranked)
    for paragraph in (
        notes,
        [
            sentence
            for sentence in (
                sentences.ties(ranking),
                sentences.agreement(ranking),
                sentences.learning_curve(ranking),
            )
            if sentence
        ],
        measured.summary(ranking),
        [f"Local models are in {folder}."] if folder else [],
        [f"Warning: {warning}" for warning in ranking.warnings],
    ):
        if paragraph:
            blocks.append(Text())
            blocks += [_line(sentence) for sentence in paragraph]
    blocks += [Text(), _pairs([("Next", sentences.advice(ranking))])]
    return Group(*blocks)


def _fit(
    columns: Sequence[Column], ranked: Sequence[ModelRow], width: int
) -> tuple[list[Column], int]:
    """Select the columns that fit beside names of a readable width.

    Returns:
        The columns in their original order, and the width of the names.
    """
    longest = max([len("model"), *(len(row.model_id) for row in ranked)])
    fitting = sorted(columns, key=lambda column: -column.weight)
    while len(fitting) > 1:
        name = _NARROWEST_NAME if fitting[-1].weight >= _USEFUL else _COMFORTABLE_NAME
        if min(longest, name) + _total_width(fitting, ranked) <= width:
            break
        fitting.pop()
    fitting.sort(key=columns.index)
    room = width - _total_width(fitting, ranked)
    return fitting, max(min(longest, 8), min(longest, _WIDEST_NAME, room))


def _total_width(columns: Sequence[Column], ranked: Sequence[ModelRow]) -> int:
    return sum(
        _GAP + max([len(column.header), *(len(_cell(column, row)) for row in ranked)])
        for column in columns
    )


def _cell(column: Column, row: ModelRow) -> str:
    cell = column.cell(row)
    if column.header == "note" and len(cell) > _WIDEST_NOTE:
        return cut(cell, _WIDEST_NOTE)
    return cell


def _ranked(
    ranking: Ranking, columns: Sequence[Column], places: Sequence[str], name_width: int
) -> Table:
    from rich.text import Text

    table = _grid()
    table.show_header = True
    table.add_column("#", no_wrap=True)
    table.add_column("model", no_wrap=True, width=name_width)
    for column in columns:
        table.add_column(Text(column.header), justify=column.align, no_wrap=True)
    leaders = set(map(id, sentences.first_group(ranking)))
    for row, place in zip(ranking.ranked, places, strict=True):
        style = "bold" if id(row) in leaders else ("dim" if sentences.hazards(row) else "")
        table.add_row(
            Text(place),
            Text(shorten(row.model_id, name_width)),
            *(Text(_cell(column, row)) for column in columns),
            style=style,
        )
    return table


def _others(rows: Sequence[ModelRow], place_width: int, name_width: int, width: int) -> Table:
    from rich.text import Text

    name_width = min(name_width, max(len(row.model_id) for row in rows), width // 2)
    table = _grid()
    table.add_column(width=place_width, no_wrap=True)
    table.add_column(width=name_width, no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(
            Text("-"),
            Text(shorten(row.model_id, name_width)),
            Text.assemble(
                (row.status, "red" if row.status == "failed" else "yellow"),
                f": {row.reason or 'no reason was recorded'}",
            ),
        )
    return table


def _notes(ranked: Sequence[ModelRow]) -> list[str]:
    return [
        f"{row.model_id}: {'; '.join(warnings)}"
        for row in ranked
        if (warnings := sentences.hazards(row))
    ]


def _grid() -> Table:
    from rich.table import Table

    return Table(
        box=None, show_header=False, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim"
    )


def _pairs(pairs: Sequence[tuple[str, str]]) -> Table:
    from rich.text import Text

    table = _grid()
    table.add_column(width=6, style="dim")
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(Text(name), Text(value))
    return table


def _line(sentence: str) -> Text:
    from rich.text import Text

    return Text(sentence, style="yellow" if sentence.startswith("Warning") else "")
