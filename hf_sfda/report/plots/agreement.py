"""Plots of the agreement: between metrics, and between samples of growing size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hf_sfda import format as text
from hf_sfda.report.plots.style import layout, light
from hf_sfda.report.sentences import heading
from hf_sfda.types import Ranking
from hf_sfda.uncertainty import weighted_tau
from hf_sfda.uncertainty.curve import SETTLED

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
    # Smaller, or the names of neighbours touch.
    figure.update_xaxes(showgrid=False, automargin=True, fixedrange=True, tickfont={"size": 11})
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


def curve_figure(ranking: Ranking) -> go.Figure | None:
    """Weighted tau between two disjoint samples against their size: every pair, and the mean.

    ``None`` if the run measured no learning curve, or if there is no order to compare.
    """
    import plotly.graph_objects as go

    curve = ranking.learning_curve
    if curve is None or not np.isfinite(curve.reproducibility).any():
        return None
    pairs = [
        (size, tau)
        for size, taus in zip(curve.sizes, curve.reproducibility, strict=True)
        for tau in taus
        if np.isfinite(tau)
    ]
    figure = go.Figure()
    figure.add_scatter(
        x=[size for size, _ in pairs],
        y=[tau for _, tau in pairs],
        name="two disjoint samples",
        mode="markers",
        marker={"color": light("floor"), "size": 7},
        hovertemplate="%{x:,} samples: tau %{y:.2f}<extra></extra>",
    )
    figure.add_scatter(
        x=list(curve.sizes),
        y=[float(np.mean(taus)) for taus in curve.reproducibility],
        name="mean",
        mode="lines+markers",
        line={"color": light("accent"), "width": 2},
        marker={"color": light("accent"), "size": 9},
        hovertemplate="%{x:,} samples: mean tau %{y:.2f}<extra></extra>",
    )
    figure.add_hline(SETTLED, line={"color": light("line"), "width": 1, "dash": "dash"})
    figure.update_layout(layout(height=280), margin={"l": 8, "r": 16, "t": 36, "b": 48})
    figure.update_xaxes(
        title_text="samples",
        type="log",
        tickvals=list(curve.sizes),
        ticktext=[f"{n:,}" for n in curve.sizes],
    )
    figure.update_yaxes(title_text="weighted tau", automargin=True, fixedrange=True)
    return figure
