"""Two models, class by class: who is ahead, and by how much."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from hf_sfda.compare import ClassDifference, Comparison
from hf_sfda.report import format as text
from hf_sfda.report.palette import light
from hf_sfda.report.plots.style import layout

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ROW_HEIGHT = 26
_NAME_WIDTH = 28
_SHOWN = 30


def compare_figure(comparison: Comparison) -> go.Figure | None:
    """Difference of two models in each class with its interval, the largest lead of the first on
    top; of many classes, those that differ most.
    """
    import plotly.graph_objects as go

    classes = sorted(comparison.classes, key=lambda one: -abs(one.difference))[:_SHOWN]
    classes.sort(key=lambda one: -one.difference)
    if not classes:
        return None
    figure = go.Figure()
    first, second = (text.shorten(name.split("/")[-1], 24) for name in comparison.models)
    for name, color, ahead in (
        (f"{first} ahead", "accent", _is_ahead),
        (f"{second} ahead", "floor", _is_behind),
        ("cannot be told apart", "other", lambda one: not _is_ahead(one) and not _is_behind(one)),
    ):
        places = [place for place, one in enumerate(classes) if ahead(one)]
        if not places:
            continue
        kind = [classes[place] for place in places]
        limits = [one.interval or (one.difference, one.difference) for one in kind]
        figure.add_scatter(
            x=[one.difference for one in kind],
            y=places,
            name=html.escape(name, quote=False),
            mode="markers",
            marker={"color": light(color), "size": 9},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [
                    high - one.difference for one, (_, high) in zip(kind, limits, strict=True)
                ],
                "arrayminus": [
                    one.difference - low for one, (low, _) in zip(kind, limits, strict=True)
                ],
                "color": light(color),
                "thickness": 2.5,
                "width": 0,
            },
            text=[_hover(one) for one in kind],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_layout(
        layout(height=112 + _ROW_HEIGHT * len(classes)),
        margin={"l": 8, "r": 16, "t": 36, "b": 48},
        shapes=[
            {
                "type": "line",
                "x0": 0,
                "x1": 0,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"color": light("soft"), "width": 1},
                "layer": "below",
            }
        ],
    )
    figure.update_xaxes(title_text=f"difference in {text.label(comparison.metric)}")
    figure.update_yaxes(
        tickvals=list(range(len(classes))),
        ticktext=[html.escape(text.shorten(c.name, _NAME_WIDTH), quote=False) for c in classes],
        range=[len(classes) - 0.5, -0.5],
        showgrid=False,
        automargin=True,
        fixedrange=True,
    )
    return figure


def _is_ahead(one: ClassDifference) -> bool:
    return one.interval is not None and one.interval[0] > 0


def _is_behind(one: ClassDifference) -> bool:
    return one.interval is not None and one.interval[1] < 0


def _hover(one: ClassDifference) -> str:
    limits = f" ({text.interval(one.interval)})" if one.interval else ""
    return (
        f"<b>{html.escape(text.shorten(one.name, 60), quote=False)}</b><br>"
        f"{text.score(one.first)} against {text.score(one.second)}<br>"
        f"difference {text.score(one.difference)}{limits}<br>{one.n:,} samples"
    )
