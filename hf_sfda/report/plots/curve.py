"""Plot of the learning curve: does the order settle with more samples?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hf_sfda.report.palette import light
from hf_sfda.report.plots.style import layout
from hf_sfda.types import Ranking
from hf_sfda.uncertainty.curve import SETTLED

if TYPE_CHECKING:
    import plotly.graph_objects as go


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
