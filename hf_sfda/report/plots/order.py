"""How the order changed from update to update of a leaderboard."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from hf_sfda.report import format as text
from hf_sfda.report.palette import light
from hf_sfda.report.plots.style import layout
from hf_sfda.types import Update

if TYPE_CHECKING:
    import plotly.graph_objects as go

_ROW_HEIGHT = 28
_NAME_WIDTH = 22  # of 390 pixels these leave a little more than half to the lines
_MARKED = 12
"""With more updates than this, markers are small: they would hide the lines."""


def order_figure(
    updates: Sequence[Update], *, top: int = 12, leaders: Collection[str] | None = None
) -> go.Figure | None:
    """Places over the updates: a line a model, named at its end.

    Args:
        updates: Oldest first, from :func:`hf_sfda.publish.leaderboards.history`.
        top: How many places have a line of their own. A model further down runs along the lower
            edge, and models that never were among these are left out.
        leaders: Models in the colour of the leaders; by default the one that is first today.

    Returns:
        The figure; ``None`` for fewer than two updates, or if nobody was ever ranked.
    """
    import plotly.graph_objects as go

    names = _shown(updates, top)
    if len(updates) < 2 or not names:
        return None
    today = updates[-1].places
    first = {name for name, place in today.items() if place == 1} if leaders is None else {*leaders}
    lowest = min(top, max(place for update in updates for place in update.places.values()))
    figure = go.Figure()
    kinds = {
        name: "accent" if name in first else "other" if today.get(name, top + 1) <= top else "line"
        for name in names
    }
    for kind in ("line", "other", "accent"):  # the leaders lie on top
        for name in names:
            if kinds[name] == kind:
                figure.add_trace(_line(name, updates, lowest + 1, kind))
    labels = {today[name]: _label(name) for name in names if name in today and today[name] <= top}
    ticks = [(place, labels.get(place, "")) for place in range(1, lowest + 1)]
    if any(update.places.get(name, 0) > top for update in updates for name in names):
        ticks.append((lowest + 1, f"below {top}"))
    figure.update_layout(
        layout(height=84 + _ROW_HEIGHT * len(ticks)),
        shapes=_other_settings(updates),
        annotations=_words(updates),
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


def _shown(updates: Sequence[Update], top: int) -> list[str]:
    """Models that were among the first ``top`` at any time."""
    places = (item for update in updates for item in update.places.items())
    return list(dict.fromkeys(name for name, place in places if place <= top))


def _line(name: str, updates: Sequence[Update], edge: int, kind: str) -> dict[str, Any]:
    """The way of one model; it is broken where the model had no place.

    Args:
        name: The model.
        updates: All of them.
        edge: Where those run that are further down.
        kind: Name of the colour: ``accent`` leads, ``other`` has a name at its end, ``line`` was
            up here once.
    """
    places = [update.places.get(name) for update in updates]
    size = 7 if len(updates) <= _MARKED else 3
    return {
        "type": "scatter",
        "x": list(range(len(updates))),
        "y": [None if place is None else min(place, edge) for place in places],
        "mode": "lines+markers",  # a model that came and went between two updates is a point
        "line": {"color": light(kind), "width": 3 if kind == "accent" else 1.5},
        "marker": {"color": light(kind), "size": size + 2 * (kind == "accent")},
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


def _stretches(updates: Sequence[Update]) -> list[tuple[int, int]]:
    """First and last of each run of updates that cannot be compared with today's."""
    found = []
    for comparable, same in groupby(range(len(updates)), key=lambda i: updates[i].comparable):
        if not comparable:
            indices = list(same)
            found.append((indices[0], indices[-1]))
    return found


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
        for start, end in _stretches(updates)
    ]


def _words(updates: Sequence[Update]) -> list[dict[str, Any]]:
    """From when to when, at the ends where nothing can be in their way; what the shade means."""
    first, last = (update.created_at[:10] for update in (updates[0], updates[-1]))
    words = [(first, 0, "left", 0, "top"), (last, 1, "right", 0, "top")]
    if _stretches(updates):
        words.append(("shaded: other samples or settings", 0, "left", 1, "bottom"))
    return [
        {
            "text": said,
            "xref": "paper",
            "x": x,
            "xanchor": xanchor,
            "yref": "paper",
            "y": y,
            "yanchor": yanchor,
            "showarrow": False,
            "font": {"size": 12, "color": light("soft")},
        }
        for said, x, xanchor, y, yanchor in words
    ]
