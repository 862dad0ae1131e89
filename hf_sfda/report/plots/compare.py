"""Plot of the difference between two models in each class."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from hf_sfda import format as text
from hf_sfda.compare import ClassDifference, Comparison
from hf_sfda.report.plots.style import layout, light

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ROW_HEIGHT = 26
_NAME_WIDTH = 28
_MAX_CLASSES = 30


def compare_figure(comparison: Comparison) -> go.Figure | None:
    """Plot the difference between two models in each class, with its interval.

    The class with the largest lead of the first model is on top. If there are more than 30 classes,
    only the 30 with the largest differences are shown. Returns ``None`` without classes.
    """
    import plotly.graph_objects as go

    classes = sorted(comparison.classes, key=lambda item: -abs(item.difference))[:_MAX_CLASSES]
    classes.sort(key=lambda item: -item.difference)
    if not classes:
        return None
    figure = go.Figure()
    first, second = (text.shorten(name.split("/")[-1], 24) for name in comparison.models)
    for name, color, belongs in (
        (f"{first} ahead", "accent", _is_ahead),
        (f"{second} ahead", "floor", _is_behind),
        ("cannot be told apart", "other", _is_tied),
    ):
        positions = [position for position, item in enumerate(classes) if belongs(item)]
        if not positions:
            continue
        group = [classes[position] for position in positions]
        limits = [item.interval or (item.difference, item.difference) for item in group]
        figure.add_scatter(
            x=[item.difference for item in group],
            y=positions,
            name=html.escape(name, quote=False),
            mode="markers",
            marker={"color": light(color), "size": 9},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [
                    high - item.difference for item, (_, high) in zip(group, limits, strict=True)
                ],
                "arrayminus": [
                    item.difference - low for item, (low, _) in zip(group, limits, strict=True)
                ],
                "color": light(color),
                "thickness": 2.5,
                "width": 0,
            },
            text=[_hover(item) for item in group],
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


def _is_ahead(item: ClassDifference) -> bool:
    return item.interval is not None and item.interval[0] > 0


def _is_behind(item: ClassDifference) -> bool:
    return item.interval is not None and item.interval[1] < 0


def _is_tied(item: ClassDifference) -> bool:
    return not _is_ahead(item) and not _is_behind(item)


def _hover(item: ClassDifference) -> str:
    limits = f" ({text.interval(item.interval)})" if item.interval else ""
    return (
        f"<b>{html.escape(text.shorten(item.name, 60), quote=False)}</b><br>"
        f"{text.score(item.first)} against {text.score(item.second)}<br>"
        f"difference {text.score(item.difference)}{limits}<br>{item.n:,} samples"
    )
