"""Plots of the scores: each with its interval, and against the number of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_sfda import format as text
from hf_sfda.report.plots.style import groups, hover, layout, light, limits, plot_name
from hf_sfda.report.sentences import heading, ties_known
from hf_sfda.types import ModelRow, Ranking

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ROW_HEIGHT = 26
_NAME_WIDTH = 34


def scores_figure(ranking: Ranking) -> go.Figure | None:
    """Plot every model's score with its interval and noise floor; shaded bands are tie groups."""
    import plotly.graph_objects as go

    metric, ranked = ranking.metric, ranking.ranked
    if not ranked:
        return None
    figure = go.Figure()
    for name, color, rows in groups(ranking):
        lows, highs = zip(*(limits(row, metric) for row in rows), strict=True)
        values = [row.scores[metric] for row in rows]
        figure.add_scatter(
            x=values,
            y=[row.rank for row in rows],
            name=name,
            mode="markers",
            marker={"color": light(color), "size": 9},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high - value for high, value in zip(highs, values, strict=True)],
                "arrayminus": [value - low for low, value in zip(lows, values, strict=True)],
                "color": light(color),
                "thickness": 2.5,
                "width": 0,
            },
            text=[hover(row, metric) for row in rows],
            hovertemplate="%{text}<extra></extra>",
        )
    floors = [row for row in ranked if text.known(row.noise_floor)]
    if floors:
        figure.add_scatter(
            x=[row.noise_floor for row in floors],
            y=[row.rank for row in floors],
            name="noise floor",
            mode="markers",
            marker={
                "symbol": "line-ns-open",
                "color": light("floor"),
                "size": 10,
                "line": {"width": 2, "color": light("floor")},
            },
            text=[f"noise floor {text.score(row.noise_floor)}" for row in floors],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_layout(
        layout(height=96 + _ROW_HEIGHT * len(ranked)),
        shapes=_bands(ranked) if ties_known(ranking) else [],
        margin={"l": 8, "r": 16, "t": 36, "b": 48},
    )
    figure.update_xaxes(title_text=heading(ranking, metric))
    figure.update_yaxes(
        tickvals=[row.rank for row in ranked],
        ticktext=[plot_name(row, _NAME_WIDTH) for row in ranked],
        range=[len(ranked) + 0.5, 0.5],
        showgrid=False,
        automargin=True,
        fixedrange=True,
    )
    return figure


def _bands(ranked: Sequence[ModelRow]) -> list[dict[str, Any]]:
    groups = [list(rows) for _, rows in groupby(ranked, key=lambda row: row.tie_group)]
    return [
        {
            "type": "rect",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": (rows[0].rank or 0) - 0.5,
            "y1": (rows[-1].rank or 0) + 0.5,
            "fillcolor": light("band" if number else "accent-soft"),
            "line": {"width": 0},
            "layer": "below",
        }
        for number, rows in enumerate(groups)
        if number % 2 == 0
    ]


_LABEL_WIDTH, _LABEL_HEIGHT, _LETTER = 0.45, 0.07, 0.019  # as fractions of the plot's size


def size_figure(ranking: Ranking) -> go.Figure | None:
    """Plot the score against the number of parameters; a dotted line joins the Pareto front.

    Returns ``None`` if fewer than two sizes are known, or if the metric is the size itself.
    """
    import plotly.graph_objects as go

    metric = ranking.metric
    front = pareto_front(ranking)
    if len({row.params for row in ranking.ranked if row.params}) < 2 or metric == "params":
        return None
    sizes = np.log10([row.params for row in ranking.ranked if row.params])
    labels = _labels(front, ranking)
    figure = go.Figure()
    figure.add_scatter(
        x=[row.params for row in front],
        y=[row.scores[metric] for row in front],
        name="best for its size",
        mode="lines",
        line={"color": light("accent"), "width": 1.5, "dash": "dot", "shape": "hv"},
        hoverinfo="skip",
    )
    for name, color, rows in groups(ranking):
        sized = [row for row in rows if row.params]
        figure.add_scatter(
            x=[row.params for row in sized],
            y=[row.scores[metric] for row in sized],
            name=name,
            mode="markers",
            marker={"color": light(color), "size": 10},
            text=[hover(row, metric) for row in sized],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.add_scatter(
        x=[row.params for row in front],
        y=[row.scores[metric] for row in front],
        mode="markers+text",
        marker={
            "color": "rgba(0,0,0,0)",
            "size": 17,
            "line": {"color": light("accent"), "width": 1.5},
        },
        text=labels,
        textposition="top left",  # there are no points above and to the left of a Pareto front
        textfont={"size": 12},
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
        meta="labels",
    )
    room = 0.08 * float(np.ptp(sizes))
    ticks = _size_ticks(sizes)
    figure.update_layout(layout(height=440), margin={"l": 56, "r": 16, "t": 64, "b": 48})
    figure.update_yaxes(title_text=heading(ranking, metric))
    figure.update_xaxes(
        title_text="parameters",
        type="log",
        range=_room_for(labels, front, float(sizes.min()) - room, float(sizes.max()) + room),
        tickvals=ticks,
        ticktext=[text.count(tick).replace(".0 ", " ") for tick in ticks],
    )
    return figure


def pareto_front(ranking: Ranking) -> list[ModelRow]:
    """The models that score higher than all models of at most their size, smallest first."""
    metric = ranking.metric
    sized = sorted(
        (row for row in ranking.ranked if row.params),
        key=lambda row: (row.params or 0, -row.scores[metric]),
    )
    front: list[ModelRow] = []
    for row in sized:
        if not front or row.scores[metric] > front[-1].scores[metric]:
            front.append(row)
    return front


def _labels(front: Sequence[ModelRow], ranking: Ranking) -> list[str]:
    """The label of each point; empty if it would overlap the label of a better point."""
    metric = ranking.metric
    points = np.array([[np.log10(row.params or 1), row.scores[metric]] for row in front])
    sized = [row for row in ranking.ranked if row.params]
    all_points = np.array([[np.log10(row.params or 1), row.scores[metric]] for row in sized])
    room = np.maximum(np.ptp(all_points, axis=0), 1e-12) * (_LABEL_WIDTH, _LABEL_HEIGHT)
    labels, placed = [""] * len(front), np.empty((0, 2))
    for index in reversed(range(len(front))):
        if not (np.abs(placed - points[index]) < room).all(axis=1).any():
            labels[index] = plot_name(front[index], 24, owner=False)
            placed = np.vstack([placed, points[index]])
    return labels


def _room_for(
    labels: Sequence[str], front: Sequence[ModelRow], low: float, high: float
) -> list[float]:
    """The range of the x axis in log10, extended to the left until every label fits."""
    for label, row in zip(labels, front, strict=True):
        share = min(len(label) * _LETTER, 0.5)
        low = min(low, (np.log10(row.params or 1) - share * high) / (1 - share))
    return [float(low), high]


def _size_ticks(sizes: np.ndarray) -> list[float]:
    """Round parameter counts for the axis; a wider range has fewer ticks per decade."""
    steps = (
        (1, 2, 3, 4, 6, 8)
        if np.ptp(sizes) < 0.7
        else (1, 2, 5)
        if np.ptp(sizes) < 1.5
        else (1, 3)
        if np.ptp(sizes) < 3
        else (1,)
    )
    decades = range(int(np.floor(sizes.min())) - 1, int(np.ceil(sizes.max())) + 1)
    return [float(step * 10**decade) for decade in decades for step in steps]
