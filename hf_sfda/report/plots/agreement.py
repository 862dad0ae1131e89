"""Which metrics order the models alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hf_sfda.report import format as text
from hf_sfda.report.palette import light
from hf_sfda.report.plots.style import layout
from hf_sfda.types import Ranking
from hf_sfda.uncertainty import weighted_tau

if TYPE_CHECKING:
    import plotly.graph_objects as go

_STRONG = 0.55
"""Above this tau a cell of the heat map is dark enough for light numbers."""


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
        layout(height=120 + 44 * len(names)),
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
