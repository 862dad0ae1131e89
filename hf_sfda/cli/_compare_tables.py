"""A comparison as people and programs read it."""

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

_SHOWN = 20
"""Classes that a terminal shows; the other formats have all of them."""

_WORDS = ("model", "class", "sample")


def render_tables(found: Comparison) -> RenderableType:
    """Scores, classes, samples and the answer in words, for a terminal."""
    from rich.console import Group
    from rich.text import Text

    found, folder = _with_short_names(found)
    level = f"{found.confidence * 100:g}%"
    blocks: list[RenderableType] = [terminal_table(_scores(found), words=_WORDS)]
    if found.classes:
        largest = sorted(found.classes, key=lambda one: -abs(one.difference))[:_SHOWN]
        shown = [one for one in found.classes if one in largest]
        left_out = len(found.classes) - len(shown)
        told = f"By class; the limits hold for all classes together at {level}"
        blocks += [
            Text(),
            Text(told + (f"; {left_out} that differ less are left out" if left_out else "")),
            terminal_table(_classes(shown), words=_WORDS),
        ]
    if found.samples:
        blocks += [
            Text(),
            Text("Where they differ most"),
            terminal_table(_samples(found), words=_WORDS),
        ]
    blocks += [Text(), Text(found.summary, style="bold")]
    if folder:
        blocks.append(Text(f"Local models are in {folder}."))
    return Group(*blocks)


def render_plain(found: Comparison) -> str:
    """The same, tab-separated, with empty lines between and nothing shortened or rounded."""
    tables = [_scores(found), _classes(found.classes), _samples(found)]
    return "\n\n".join([*(tabbed(table) for table in tables if table[1]), f"# {found.summary}"])


def _scores(found: Comparison) -> Cells:
    first, second = found.models
    header = ("model", found.metric, "low", "high", "P(better)")
    share = found.p_first_better
    return header, (
        (first, found.values[0], None, None, share),
        (second, found.values[1], None, None, round(1 - share, 12)),
        ("difference", found.difference, *found.interval, None),
    )


def _classes(classes: Sequence[ClassDifference]) -> Cells:
    header = ("class", "n", "first", "second", "difference", "low", "high")
    rows = [
        (one.name, one.n, one.first, one.second, one.difference, *(one.interval or (None, None)))
        for one in classes
    ]
    return header, rows


def _samples(found: Comparison) -> Cells:
    header = ("sample", "class", "first", "second", "difference")
    rows = [
        (one.sample_id or one.index, one.class_name, one.first, one.second, one.difference)
        for one in found.samples
    ]
    return header, rows


def _with_short_names(found: Comparison) -> tuple[Comparison, str | None]:
    """A copy for display, and the folder that was left off the names of local models."""
    rows = tuple(ModelRow(name, None, "ok") for name in found.models)
    short, folder = with_short_names(Ranking({}, {}, rows))
    first, second = (row.model_id for row in short.rows)
    return replace(found, models=(first, second)), folder
