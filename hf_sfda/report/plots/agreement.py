"""Heat map of the agreement between metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hf_sfda import format as text
from hf_sfda.report.palette import light
from hf_sfda.report.plots.style import layout
from hf_sfda.report.sentences import heading
from hf_sfda.types import Ranking
from hf_sfda.uncertainty import weighted_tau

if TYPE_CHECKING:
    import plotly.graph_objects as go

_STRONG = 0.55
"""From this absolute tau on, a cell of the heat map is dark and its number is light."""


def agreement_figure(ranking: Ranking) -> go.Figure | None:
    """Heat map of the weighted Kendall tau between metrics; ``None`` for fewer than two metrics."""
    import plotly.graph_objects as go

    names, taus = agreement_matrix(ranking)
    if len(names) < 2:
        return None
    labels = [heading(ranking, name) for name in names]
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
            # "surface" and "ink" have high contrast in light mode and in dark mode.
            "font": {"color": light("surface" if abs(tau) > _STRONG else "ink")},
        }
        for (row, column), tau in np.ndenumerate(taus)
    ]
    figure.update_layout(
        layout(height=120 + 44 * len(names)),
        annotations=numbers,
        margin={"l": 8, "r": 8, "t": 12, "b": 8},
    )
    figure.update_xaxes(showgrid=False, automargin=True, fixedrange=True)
    figure.update_yaxes(showgrid=False, automargin=True, fixedrange=True, autorange="reversed")
    return figure


def agreement_matrix(ranking: Ranking) -> tuple[list[str], np.ndarray]:
    """Compute the weighted Kendall tau between all pairs of metrics.

    A metric that is constant over the models defines no order and is omitted.

    Returns:
        Names of the K metrics, the ranking's metric first, and the (K, K) matrix of their taus.
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
