"""Plot of the models' places after each update of a leaderboard."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from hf_sfda import format as text
from hf_sfda.report.plots.style import layout, light
from hf_sfda.types import Update

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ROW_HEIGHT = 28
_NAME_WIDTH = 22  # on a phone (390 pixels wide) the lines then have a little more than half
_MARKED = 12
"""With more updates than this, the markers are small, so that they do not hide the lines."""


def order_figure(
    updates: Sequence[Update], *, top: int = 12, leaders: Collection[str] | None = None
) -> go.Figure | None:
    """Plot the models' places over the updates, one line per model with its name at the end.

    Args:
        updates: From :func:`hf_sfda.publish.leaderboards.history`, oldest first.
        top: Number of places on the axis. All lower places are drawn at the lower edge. A model
            that was never among the first ``top`` is not drawn.
        leaders: Models to draw in the accent colour; by default the current first model.

    Returns:
        The figure; ``None`` if there are fewer than two updates or no ranked models.
    """
    import plotly.graph_objects as go

    names = _top_models(updates, top)
    if len(updates) < 2 or not names:
        return None
    latest = updates[-1].places
    if leaders is None:
        leaders = [name for name, place in latest.items() if place == 1]
    lowest = min(top, max(place for update in updates for place in update.places.values()))
    figure = go.Figure()
    colors = {
        name: "accent"
        if name in leaders
        else "other"
        if latest.get(name, top + 1) <= top
        else "line"
        for name in names
    }
    for color in ("line", "other", "accent"):  # later traces lie on top: draw the leaders last
        for name in names:
            if colors[name] == color:
                figure.add_trace(_line(name, updates, lowest + 1, color))
    labels = {latest[name]: _label(name) for name in names if latest.get(name, top + 1) <= top}
    ticks = [(place, labels.get(place, "")) for place in range(1, lowest + 1)]
    if any(update.places.get(name, 0) > top for update in updates for name in names):
        ticks.append((lowest + 1, f"below {top}"))
    figure.update_layout(
        layout(height=84 + _ROW_HEIGHT * len(ticks)),
        shapes=_other_settings(updates),
        annotations=_annotations(updates),
        margin={"l": 16, "r": 8, "t": 32, "b": 36},
        showlegend=False,
    )
    figure.update_xaxes(
        showticklabels=False,
        range=[-0.35, len(updates) - 1 + 0.15],
        showgrid=False,
        fixedrange=True,
    )
    figure.update_yaxes(
        tickvals=[place for place, _ in ticks],
        ticktext=[label for _, label in ticks],
        range=[len(ticks) + 0.6, 0.4],
        side="right",
        automargin=True,
        fixedrange=True,
    )
    return figure


def _top_models(updates: Sequence[Update], top: int) -> list[str]:
    """The models that were among the first ``top`` after any update."""
    places = (item for update in updates for item in update.places.items())
    return list(dict.fromkeys(name for name, place in places if place <= top))


def _line(name: str, updates: Sequence[Update], edge: int, color: str) -> dict[str, Any]:
    """The line of one model, with a gap where the model has no place.

    Args:
        name: The model.
        updates: All updates.
        edge: The y position of all places below the axis.
        color: ``"accent"`` for leaders, ``"other"`` for models now on the axis, ``"line"`` for
            models that were on the axis earlier.
    """
    places = [update.places.get(name) for update in updates]
    size = 7 if len(updates) <= _MARKED else 3
    return {
        "type": "scatter",
        "x": list(range(len(updates))),
        "y": [None if place is None else min(place, edge) for place in places],
        "mode": "lines+markers",  # the marker shows a model that was ranked after one update only
        "line": {"color": light(color), "width": 3 if color == "accent" else 1.5},
        "marker": {"color": light(color), "size": size + 2 * (color == "accent")},
        "connectgaps": False,
        "cliponaxis": False,
        "text": [_hover(name, update) for update in updates],
        "hovertemplate": "%{text}<extra></extra>",
        "name": html.escape(name, quote=False),
    }


def _hover(name: str, update: Update) -> str:
    lines = [
        f"<b>{html.escape(text.shorten(name, 60), quote=False)}</b>",
        f"place {update.places.get(name, '')} of {len(update.places)}",
        update.created_at[:16].replace("T", " "),
    ]
    if not update.comparable:
        lines.append("other samples or settings")
    return "<br>".join(line for line in lines if line)


def _label(name: str) -> str:
    return html.escape(text.shorten(name, _NAME_WIDTH), quote=False)


def _incomparable_ranges(updates: Sequence[Update]) -> list[tuple[int, int]]:
    """First and last index of each series of updates that are not comparable with the latest."""
    ranges = []
    for comparable, group in groupby(range(len(updates)), key=lambda i: updates[i].comparable):
        if not comparable:
            indices = list(group)
            ranges.append((indices[0], indices[-1]))
    return ranges


def _other_settings(updates: Sequence[Update]) -> list[dict[str, Any]]:
    return [
        {
            "type": "rect",
            "yref": "paper",
            "x0": start - 0.35,
            "x1": end + 0.5,
            "y0": 0,
            "y1": 1,
            "fillcolor": light("band"),
            "line": {"width": 0},
            "layer": "below",
        }
        for start, end in _incomparable_ranges(updates)
    ]


def _annotations(updates: Sequence[Update]) -> list[dict[str, Any]]:
    """The first and the last date below the axis, and the meaning of the shaded ranges."""
    first, last = (update.created_at[:10] for update in (updates[0], updates[-1]))
    labels = [(first, 0, "left", 0, "top"), (last, 1, "right", 0, "top")]
    if _incomparable_ranges(updates):
        labels.append(("shaded: other samples or settings", 0, "left", 1, "bottom"))
    return [
        {
            "text": label,
            "xref": "paper",
            "x": x,
            "xanchor": xanchor,
            "yref": "paper",
            "y": y,
            "yanchor": yanchor,
            "showarrow": False,
            "font": {"size": 12, "color": light("soft")},
        }
        for label, x, xanchor, y, yanchor in labels
    ]
