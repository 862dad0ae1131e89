"""The ranking in a terminal: a table for people, tab-separated text or bare ids for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hf_sfda import format as text
from hf_sfda.format import cut, shorten
from hf_sfda.metrics import BASELINES
from hf_sfda.names import with_short_names
from hf_sfda.report import measured, sentences
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

_BASELINE_WEIGHTS = dict(zip(BASELINES, (65, 64, 50), strict=True))
_MEASURED = ("finetuned", "finetuned_low", "finetuned_high")


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


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table.

    Attributes:
        header: The heading.
        cell: Function from a row to the text of its cell; an unknown value is an empty text.
        weight: Priority. A narrow terminal omits the columns with the lowest weight.
        align: ``"right"`` for numbers, ``"left"`` for words.
    """

    header: str
    cell: Callable[[ModelRow], str]
    weight: int
    align: Literal["left", "right"] = "right"


def result_columns(ranking: Ranking) -> list[Column]:
    """The columns to the right of the model's name, without those that are empty in every row."""
    metric, has_values = ranking.metric, not sentences.has_classes(ranking)
    name, level = sentences.heading(ranking, metric), sentences.confidence(ranking)
    columns = [
        Column(name, lambda row: text.score(row.scores.get(metric)), 100),
        Column(level, lambda row: text.interval(row.intervals.get(metric)), 90),
        Column(measured.heading(ranking), _measured(ranking), 98),
        Column("95%", _interval(ranking), 88),
        Column("P(best)", lambda row: text.share(row.p_best), 70),
        Column("behind", lambda row: text.points(row.expected_regret).split(" ")[0], 55),
        *(_metric(ranking, other, w) for other, w in _BASELINE_WEIGHTS.items() if other != metric),
        *([_metric(ranking, "sfda_cv", 45)] if has_values and metric != "sfda_cv" else []),
        Column("params", lambda row: text.count(row.params), 60),
        Column("MB", lambda row: text.megabytes(row.download_bytes), 20),
        Column(sentences.speed_unit(ranking), lambda row: text.rate(row.samples_per_second), 30),
        Column("licence", lambda row: row.license or "", 40, "left"),
        Column("note", lambda row: "; ".join(sentences.hazards(row)), 10, "left"),
    ]  # fmt: skip
    return [column for column in columns if any(column.cell(row) for row in ranking.ranked)]


def _measured(ranking: Ranking) -> Callable[[ModelRow], str]:
    return lambda row: text.score(m.value) if (m := ranking.measurement(row)) else ""


def _interval(ranking: Ranking) -> Callable[[ModelRow], str]:
    return lambda row: text.interval(m.interval) if (m := ranking.measurement(row)) else ""


def _metric(ranking: Ranking, name: str, weight: int) -> Column:
    return Column(
        sentences.heading(ranking, name), lambda row: text.share(row.scores.get(name)), weight
    )


def render_plain(ranking: Ranking) -> str:
    """Render the ranking as tab-separated text.

    There is one header line and one line per candidate. The lines after them start with ``# `` and
    have the summary in words. Numbers have no units; unknown cells are empty.
    """
    metric = ranking.metric
    others = list(
        dict.fromkeys(name for row in ranking.ranked for name in row.scores if name != metric)
    )
    level = sentences.confidence(ranking)
    header = [
        "rank", "tie", "model", "status", metric, f"low_{level}", f"high_{level}", "p_best",
        "noise_floor", *others, "params", "download_bytes", "samples_per_second", "license",
        "reason", *(_MEASURED if ranking.finetuned else ()),
    ]  # fmt: skip
    places = iter(sentences.tie_labels(ranking.ranked))
    lines = [header]
    for row in ranking.rows:
        low, high = row.intervals.get(metric, (None, None))
        lines.append(
            [
                _text(row.rank),
                next(places) if row.status == "ok" else "",
                row.model_id,
                row.status,
                _text(row.scores.get(metric)),
                _text(low),
                _text(high),
                _text(row.p_best),
                _text(row.noise_floor),
                *(_text(row.scores.get(name)) for name in others),
                _text(row.params),
                _text(row.download_bytes),
                _text(row.samples_per_second),
                row.license or "",
                _reason(row),
                *(_measured_cells(ranking, row) if ranking.finetuned else ()),
            ]
        )
    summary = [
        sentences.ties(ranking),
        sentences.agreement(ranking),
        sentences.learning_curve(ranking),
        *measured.summary(ranking),
        sentences.advice(ranking),
    ]
    return "\n".join(
        [
            *("\t".join(map(_one_line, line)) for line in lines),
            *(f"# {_one_line(sentence)}" for sentence in summary if sentence),
        ]
    )


def render_quiet(ranking: Ranking) -> str:
    """The ids of the ranked models, one per line, best first."""
    return "\n".join(row.model_id for row in ranking.ranked)


def _measured_cells(ranking: Ranking, row: ModelRow) -> list[str]:
    measurement = ranking.measurement(row)
    if measurement is None:
        return [""] * len(_MEASURED)
    return [_text(value) for value in (measurement.value, *measurement.interval)]


def _reason(row: ModelRow) -> str:
    return row.reason or "; ".join(map(str, row.warnings))


def _text(value: float | int | None) -> str:
    if value is None or value != value:  # NaN
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _one_line(text: str) -> str:
    return " ".join(text.split())
