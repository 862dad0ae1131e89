"""The plots of the report, as plotly figures. plotly is imported when the first one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hf_sfda.report.plots.agreement import agreement_figure, agreement_matrix, curve_figure
from hf_sfda.report.plots.order import order_figure
from hf_sfda.report.plots.scores import pareto_front, scores_figure, size_figure
from hf_sfda.types import Ranking

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "agreement_figure",
    "agreement_matrix",
    "curve_figure",
    "figures",
    "order_figure",
    "pareto_front",
    "scores_figure",
    "size_figure",
]


def figures(ranking: Ranking) -> dict[str, go.Figure]:
    """All plots that the ranking has data for: name -> figure."""
    plots = {
        "scores": scores_figure(ranking),
        "size": size_figure(ranking),
        "agreement": agreement_figure(ranking),
        "curve": curve_figure(ranking),
    }
    return {name: figure for name, figure in plots.items() if figure is not None}
