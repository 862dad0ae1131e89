"""Plot of the scores with their intervals and noise floors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from hf_sfda import format as text
from hf_sfda.report.palette import light
from hf_sfda.report.plots.style import groups, hover, layout, limits, plot_name
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
