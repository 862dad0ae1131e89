"""Render the comparison of two models as terminal tables and as tab-separated text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hf_sfda.cli._tables import Cells, tabbed, terminal_table
from hf_sfda.names import with_short_names
from hf_sfda.types import ModelRow, Ranking

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hf_sfda.compare import ClassDifference, Comparison

_MAX_CLASSES = 20
"""Number of classes in the terminal table; the other formats have all classes."""

_TEXT_COLUMNS = ("model", "class", "sample")


def render_tables(comparison: Comparison) -> RenderableType:
    """Render scores, classes, samples and the summary for a terminal."""
    from rich.console import Group
    from rich.text import Text

    comparison, folder = _with_short_names(comparison)
    level = f"{comparison.confidence * 100:g}%"
    blocks: list[RenderableType] = [terminal_table(_scores(comparison), text_columns=_TEXT_COLUMNS)]
    if comparison.classes:
        largest = sorted(comparison.classes, key=lambda c: -abs(c.difference))[:_MAX_CLASSES]
        classes = [c for c in comparison.classes if c in largest]
        left_out = len(comparison.classes) - len(classes)
        title = f"By class; the limits hold for all classes together at {level}"
        blocks += [
            Text(),
            Text(title + (f"; {left_out} that differ less are left out" if left_out else "")),
            terminal_table(_classes(classes), text_columns=_TEXT_COLUMNS),
        ]
    if comparison.samples:
        blocks += [
            Text(),
            Text("Where they differ most"),
            terminal_table(_samples(comparison), text_columns=_TEXT_COLUMNS),
        ]
    blocks += [Text(), Text(comparison.summary, style="bold")]
    if folder:
        blocks.append(Text(f"Local models are in {folder}."))
    return Group(*blocks)


def render_plain(comparison: Comparison) -> str:
    """Render the same tables as tab-separated text, with full names and numbers."""
    tables = [_scores(comparison), _classes(comparison.classes), _samples(comparison)]
    return "\n\n".join(
        [*(tabbed(table) for table in tables if table[1]), f"# {comparison.summary}"]
    )


def _scores(comparison: Comparison) -> Cells:
    first, second = comparison.models
    header = ("model", comparison.metric, "low", "high", "P(better)")
    share = comparison.p_first_better
    return header, (
        (first, comparison.values[0], None, None, share),
        (second, comparison.values[1], None, None, round(1 - share, 12)),
        ("difference", comparison.difference, *comparison.interval, None),
    )


def _classes(classes: Sequence[ClassDifference]) -> Cells:
    header = ("class", "n", "first", "second", "difference", "low", "high")
    rows = [
        (c.name, c.n, c.first, c.second, c.difference, *(c.interval or (None, None)))
        for c in classes
    ]
    return header, rows


def _samples(comparison: Comparison) -> Cells:
    header = ("sample", "class", "first", "second", "difference")
    rows = [
        (s.sample_id or s.index, s.class_name, s.first, s.second, s.difference)
        for s in comparison.samples
    ]
    return header, rows


def _with_short_names(comparison: Comparison) -> tuple[Comparison, str | None]:
    """A copy with short model names, and the folder that was removed from local names."""
    rows = tuple(ModelRow(name, None, "ok") for name in comparison.models)
    short, folder = with_short_names(Ranking({}, {}, rows))
    first, second = (row.model_id for row in short.rows)
    return replace(comparison, models=(first, second)), folder
