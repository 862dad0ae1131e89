"""The pictures people look at, as plotly figures."""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_sfda.report import format as text
from hf_sfda.report.palette import light
from hf_sfda.types import ModelRow, Ranking
from hf_sfda.uncertainty import at_floor, weighted_tau

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ROW_HEIGHT = 26
_NAME_WIDTH = 34
_LABEL_WIDTH, _LABEL_HEIGHT = 0.45, 0.07  # of the plot
_STRONG = 0.55
"""Above this tau a cell of the heat map is dark enough for light numbers."""


def figures(ranking: Ranking) -> dict[str, go.Figure]:
    """All plots that this ranking has the data for, by name."""
    made = {
        "scores": scores_figure(ranking),
        "size": size_figure(ranking),
        "agreement": agreement_figure(ranking),
    }
    return {name: figure for name, figure in made.items() if figure is not None}


def scores_figure(ranking: Ranking) -> go.Figure | None:
    """Every model's score with its interval and its noise floor; bands are tie groups."""
    import plotly.graph_objects as go

    metric, ranked = ranking.metric, ranking.ranked
    if not ranked:
        return None
    figure = go.Figure()
    for name, color, rows in _kinds(ranking):
        lows, highs = zip(*(_limits(row, metric) for row in rows), strict=True)
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
            text=[_hover(row, metric) for row in rows],
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
        _layout(height=96 + _ROW_HEIGHT * len(ranked)),
        shapes=_bands(ranked),
        margin={"l": 8, "r": 16, "t": 36, "b": 48},
    )
    figure.update_xaxes(title_text=text.label(metric))
    figure.update_yaxes(
        tickvals=[row.rank for row in ranked],
        ticktext=[_name(row, _NAME_WIDTH) for row in ranked],
        range=[len(ranked) + 0.5, 0.5],
        showgrid=False,
        automargin=True,
        fixedrange=True,
    )
    return figure


def size_figure(ranking: Ranking) -> go.Figure | None:
    """Score against parameters; the line joins the models that no smaller one beats."""
    import plotly.graph_objects as go

    metric = ranking.metric
    front = pareto_front(ranking)
    if len({row.params for row in ranking.ranked if row.params}) < 2 or metric == "params":
        return None
    figure = go.Figure()
    figure.add_scatter(
        x=[row.params for row in front],
        y=[row.scores[metric] for row in front],
        name="best for its size",
        mode="lines",
        line={"color": light("accent"), "width": 1.5, "dash": "dot", "shape": "hv"},
        hoverinfo="skip",
    )
    for name, color, rows in _kinds(ranking):
        sized = [row for row in rows if row.params]
        figure.add_scatter(
            x=[row.params for row in sized],
            y=[row.scores[metric] for row in sized],
            name=name,
            mode="markers",
            marker={"color": light(color), "size": 10},
            text=[_hover(row, metric) for row in sized],
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
        text=_labels(front, ranking),
        textposition="top left",
        textfont={"size": 12},
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
        meta="labels",
    )
    sizes = np.log10([row.params for row in ranking.ranked if row.params])
    room = 0.08 * float(np.ptp(sizes))
    ticks = _size_ticks(sizes)
    figure.update_layout(_layout(height=440), margin={"l": 56, "r": 16, "t": 64, "b": 48})
    figure.update_yaxes(title_text=text.label(metric))
    figure.update_xaxes(
        title_text="parameters",
        type="log",
        range=[float(sizes.min()) - 4 * room, float(sizes.max()) + room],
        tickvals=ticks,
        ticktext=[text.count(tick).replace(".0 ", " ") for tick in ticks],
    )
    return figure


def _size_ticks(sizes: np.ndarray) -> list[float]:
    """Round parameter counts, three or two or one a decade."""
    steps = (1, 2, 5) if np.ptp(sizes) < 1.5 else (1, 3) if np.ptp(sizes) < 3 else (1,)
    decades = range(int(np.floor(sizes.min())) - 1, int(np.ceil(sizes.max())) + 1)
    return [float(step * 10**decade) for decade in decades for step in steps]


def _labels(front: Sequence[ModelRow], ranking: Ranking) -> list[str]:
    """Names for points that have room for one, the best first."""
    metric = ranking.metric
    points = np.array([[np.log10(row.params or 1), row.scores[metric]] for row in front])
    sized = [row for row in ranking.ranked if row.params]
    every = np.array([[np.log10(row.params or 1), row.scores[metric]] for row in sized])
    room = np.maximum(np.ptp(every, axis=0), 1e-12) * (_LABEL_WIDTH, _LABEL_HEIGHT)
    labels, placed = [""] * len(front), np.empty((0, 2))
    for index in reversed(range(len(front))):
        if not (np.abs(placed - points[index]) < room).all(axis=1).any():
            labels[index] = _name(front[index], 24, owner=False)
            placed = np.vstack([placed, points[index]])
    return labels


def pareto_front(ranking: Ranking) -> list[ModelRow]:
    """Models that no model of at most their size beats, by rising size."""
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


def agreement_figure(ranking: Ranking) -> go.Figure | None:
    """Weighted Kendall tau between all metrics that order the models."""
    import plotly.graph_objects as go

    names, taus = agreement_matrix(ranking)
    if len(names) < 2:
        return None
    labels = [text.label(name) for name in names]
    figure = go.Figure(
        go.Heatmap(
            z=taus.tolist(),
            x=labels,
            y=labels,
            zmin=-1,
            zmax=1,
            colorscale=[[0, light("floor")], [0.5, light("surface")], [1, light("accent")]],
            hovertemplate="%{x} and %{y}: tau %{z:.2f}<extra></extra>",
            xgap=2,
            ygap=2,
            colorbar={"thickness": 10, "outlinewidth": 0, "tickvals": [-1, 0, 1], "len": 0.9},
        )
    )
    numbers = [
        {
            "x": labels[column],
            "y": labels[row],
            "text": text.share(tau),
            "showarrow": False,
            # In both palettes the surface is light where the ink is dark, and the other way round.
            "font": {"color": light("surface" if abs(tau) > _STRONG else "ink")},
        }
        for (row, column), tau in np.ndenumerate(taus)
    ]
    figure.update_layout(
        _layout(height=120 + 44 * len(names)),
        annotations=numbers,
        margin={"l": 8, "r": 8, "t": 12, "b": 8},
    )
    figure.update_xaxes(showgrid=False, automargin=True, fixedrange=True)
    figure.update_yaxes(showgrid=False, automargin=True, fixedrange=True, autorange="reversed")
    return figure


def agreement_matrix(ranking: Ranking) -> tuple[list[str], np.ndarray]:
    """Names of the metrics, the chosen one first, and their (K, K) weighted taus. Metrics that are
    constant over the models order nothing and are left out.
    """
    names = list(
        dict.fromkeys([ranking.metric, *(name for row in ranking.ranked for name in row.scores)])
    )
    table = {
        name: np.array([row.scores.get(name, np.nan) for row in ranking.ranked], dtype=float)
        for name in names
    }
    names = [name for name in names if np.isfinite(weighted_tau(table[name], table[name]))]
    taus = np.array([[weighted_tau(table[a], table[b]) for b in names] for a in names])
    return names, taus


def _kinds(ranking: Ranking) -> list[tuple[str, str, list[ModelRow]]]:
    """(legend, colour, rows) of the leaders, the rest, and what is at the noise floor."""
    ranked, metric = ranking.ranked, ranking.metric
    leaders = [row for row in ranked if row.tie_group == ranked[0].tie_group]
    low = [row for row in ranked if is_at_floor(row, metric)]
    rest = [row for row in ranked if row not in low and row not in leaders]
    kinds = [
        ("tied for first" if len(leaders) > 1 else "first", "accent",
         [row for row in leaders if row not in low]),
        ("other models", "other", rest),
        ("at the noise floor", "floor", low),
    ]  # fmt: skip
    return [kind for kind in kinds if kind[2]]


def is_at_floor(row: ModelRow, metric: str) -> bool:
    """Whether the row cannot be told from shuffled labels."""
    return row.noise_floor is not None and at_floor(_limits(row, metric)[0], row.noise_floor)


def _limits(row: ModelRow, metric: str) -> tuple[float, float]:
    value = row.scores[metric]
    return row.intervals.get(metric, (value, value))


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


def _layout(*, height: int) -> dict[str, Any]:
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


def _hover(row: ModelRow, metric: str) -> str:
    lines = [
        f"<b>{_name(row, 60)}</b>",
        f"{text.label(metric)} {text.score(row.scores[metric])}",
    ]
    if metric in row.intervals:
        lines[-1] += f" ({text.interval(row.intervals[metric])})"
    if row.rank_interval:
        lines.append(f"rank {row.rank} ({row.rank_interval[0]} to {row.rank_interval[1]})")
    if row.params:
        lines.append(f"{text.count(row.params)} parameters")
    return "<br>".join(lines)


def _name(row: ModelRow, width: int, *, owner: bool = True) -> str:
    """Plotly reads a little HTML in its texts, so names are escaped."""
    name = row.model_id if owner else row.model_id.rstrip("/").split("/")[-1]
    return html.escape(text.shorten(name, width), quote=False)
