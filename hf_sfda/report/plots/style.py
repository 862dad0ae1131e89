"""Shared parts of the page and its plots: colours, layout, groups of models, hover texts, names."""

from __future__ import annotations

import html
from typing import Any

from hf_sfda import format as text
from hf_sfda.types import ModelRow, Ranking
from hf_sfda.uncertainty import is_at_floor

PALETTE = {
    "page": ("#f7f7f4", "#14161a"),
    "surface": ("#ffffff", "#1c1f25"),
    "band": ("#f1f1ec", "#23272f"),
    "line": ("#dfdfd8", "#343944"),
    "ink": ("#1b1d21", "#eceef2"),
    "soft": ("#5d636e", "#a3abb8"),
    "accent": ("#2456d6", "#8fb0ff"),
    "accent-soft": ("#e4ebfc", "#243152"),
    "other": ("#848c99", "#7f8896"),
    "floor": ("#c2410c", "#fb923c"),
    "warn-soft": ("#fdf1e3", "#3a2a1a"),
    "bad": ("#b42318", "#ff8a80"),
}
"""name -> (light, dark). Figures are drawn in the light colours. In dark mode the page's script
replaces each light colour by its dark one, so all light colours must be different."""


def light(name: str) -> str:
    """The light colour of a name, for figures."""
    return PALETTE[name][0]


def groups(ranking: Ranking) -> list[tuple[str, str, list[ModelRow]]]:
    """(legend, colour, rows) of the leaders, the other models and those at the noise floor."""
    ranked, metric = ranking.ranked, ranking.metric
    leaders = [row for row in ranked if row.tie_group == ranked[0].tie_group]
    low = [row for row in ranked if is_at_floor(row, metric)]
    rest = [row for row in ranked if row not in low and row not in leaders]
    groups = [
        ("tied for first" if len(leaders) > 1 else "first", "accent",
         [row for row in leaders if row not in low]),
        ("other models", "other", rest),
        ("at the noise floor", "floor", low),
    ]  # fmt: skip
    return [group for group in groups if group[2]]


def limits(row: ModelRow, metric: str) -> tuple[float, float]:
    """The interval of the score; (score, score) if it has none."""
    value = row.scores[metric]
    return row.intervals.get(metric, (value, value))


def layout(*, height: int) -> dict[str, Any]:
    """The common layout: transparent background, thin grid lines, horizontal legend."""
    axis = {
        "gridcolor": light("line"),
        "zeroline": False,
        "linecolor": light("line"),
        "ticks": "",
        "title": {"font": {"size": 13, "color": light("soft")}},
    }
    return {
        "template": "none",
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "Inter, system-ui, sans-serif", "size": 13, "color": light("ink")},
        "hoverlabel": {
            "bgcolor": light("surface"),
            "bordercolor": light("line"),
            "font": {"color": light("ink")},
            "align": "left",
        },
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "xanchor": "left"},
        "xaxis": axis,
        "yaxis": axis,
        "dragmode": False,
    }


def hover(row: ModelRow, metric: str) -> str:
    """The hover text of a point."""
    lines = [
        f"<b>{plot_name(row, 60)}</b>",
        f"{text.label(metric)} {text.score(row.scores[metric])}",
    ]
    if metric in row.intervals:
        lines[-1] += f" ({text.interval(row.intervals[metric])})"
    if row.rank_interval:
        lines.append(f"rank {row.rank} ({row.rank_interval[0]} to {row.rank_interval[1]})")
    if row.params:
        lines.append(f"{text.count(row.params)} parameters")
    return "<br>".join(lines)


def plot_name(row: ModelRow, width: int, *, owner: bool = True) -> str:
    """A model's name for a plot: shortened, and escaped because plotly interprets HTML tags."""
    name = row.model_id if owner else row.model_id.rstrip("/").split("/")[-1]
    return html.escape(text.shorten(name, width), quote=False)
