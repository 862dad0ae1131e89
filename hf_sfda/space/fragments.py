"""Pieces of the page as HTML. Everything that comes from strangers is escaped by the templates."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.publish.access import hub_url
from hf_sfda.report import sentences
from hf_sfda.report.html import environment, table_of
from hf_sfda.report.palette import PALETTE
from hf_sfda.types import Ranking, Update

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from jinja2 import Environment

    from hf_sfda.compare import Comparison
    from hf_sfda.space.backend import View
    from hf_sfda.space.exhibits import Exhibit
    from hf_sfda.space.jobs import JobState, Plan
    from hf_sfda.space.results import Snapshot

_PLOTTED = 40
"""Models in the plot of scores: more would be a wall, and the table has them all."""

FIRST = 100
"""Rows that are laid out at first; the page's script shows more as one scrolls. Laying out a
thousand takes a browser seconds."""

SIZES = (5, 10, 30, 100, 300, 1000)
"""Choices of the size filter, in millions of parameters."""


def status(snapshot: Snapshot) -> str:
    """Which results are shown, how old they are, and what is wrong."""
    return _render("status.html.j2", snapshot=snapshot, age=_age(snapshot.read_at))


def board(view: View | None, snapshot: Snapshot) -> str:
    """The table with its filters; what to do where there is none."""
    if view is None:
        return _render("empty.html.j2", snapshot=snapshot)
    ranking = view.ranking
    shown = ranking.ranked
    return _render(
        "board.html.j2",
        view=view,
        ranking=ranking,
        table=table_of(ranking, hub=hub_url(), folded=True, visible=FIRST),
        summary=_summary(ranking),
        sizes=SIZES,
        licences=_counted(row.license for row in shown),
        libraries=_counted(row.library for row in shown),
        board=view.board,
    )


def plots(view: View | None, updates: Sequence[Update] = ()) -> str:
    """All plots of a ranking, drawn by the page's script."""
    if view is None:
        return _message("There is nothing to plot yet.")
    from hf_sfda.report.plots import agreement_figure, order_figure, scores_figure, size_figure

    ranking = view.ranking
    ranked = len(ranking.ranked)
    first = replace(ranking, rows=ranking.ranked[:_PLOTTED])
    figures = {
        "size": size_figure(ranking),
        "scores": scores_figure(first),
        "agreement": agreement_figure(ranking),
        "order": order_figure(updates),
    }
    specs = {name: _spec(figure) for name, figure in figures.items() if figure is not None}
    return _render(
        "plots.html.j2",
        figures=specs,
        ranking=ranking,
        shown=min(ranked, _PLOTTED),
        updates=len(updates),
        own=view.board is None,
        banded=sentences.ties_known(ranking),
        barred=any(row.intervals.get(ranking.metric) for row in ranking.ranked),
    )


def comparison(
    found: Comparison, shown: Mapping[int, Exhibit] | None = None, *, note: str | None = None
) -> str:
    """Two models side by side."""
    from hf_sfda.report.plots.compare import compare_figure

    figure = compare_figure(found)
    first = [sample for sample in found.samples if sample.difference > 0]
    second = [sample for sample in reversed(found.samples) if sample.difference < 0]
    return _render(
        "comparison.html.j2",
        found=found,
        figure=figure and _spec(figure),
        ahead=((found.models[0], first), (found.models[1], second)),
        exhibits=shown or {},
        note=note,
    )


def ensemble(found: Mapping[str, Any]) -> str:
    """The chosen models, and why these.

    Args:
        found: :meth:`hf_sfda.ensemble.Ensemble.to_dict`.
    """
    names = found["error_correlation"]["models"]
    matrix = found["error_correlation"]["matrix"]
    places = [names.index(model) for model in found["models"]]
    singles = sorted(found["singles"].items(), key=lambda item: -item[1][found["criterion"]])
    return _render(
        "ensemble.html.j2",
        found=found,
        unit=found["criterion"].replace("_", "-"),
        singles=singles,
        correlations=[[matrix[i][j] for j in places] for i in places],
        hub=hub_url(),
    )


def plan(planned: Plan) -> str:
    """What will be run, before it is."""
    return _render("plan.html.j2", plan=planned)


def progress(state: JobState) -> str:
    """How far a job is, candidate by candidate."""
    return _render("progress.html.j2", state=state)


def command(text: str) -> str:
    """The command line that would repeat it."""
    return _render("command.html.j2", command=text)


def error(text: str) -> str:
    """Something did not work, and why."""
    return _message(text, bad=True)


def message(text: str) -> str:
    """A line to read."""
    return _message(text)


def styles() -> str:
    """The page's style sheet: the report's table, and what is the Space's own."""
    return _render("space.css.j2", palette=PALETTE)


def script() -> str:
    """The page's script."""
    return _render(
        "space.js.j2", swap=dict(PALETTE.values()), plotly=str(plotly_file()), first=FIRST
    )


def _message(text: str, *, bad: bool = False) -> str:
    return _render("message.html.j2", text=text, bad=bad)


def _summary(ranking: Ranking) -> dict[str, str]:
    chosen = sentences.choice(ranking)
    return {
        "chosen": chosen.model_id if chosen else "",
        "reason": sentences.reason(ranking) if chosen else "",
        "target": sentences.target(ranking),
        "candidates": sentences.candidates(ranking),
        "ties": sentences.ties(ranking),
        "agreement": sentences.agreement(ranking),
    }


def _counted(values: Any) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value or ""] = counts.get(value or "", 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _spec(figure: go.Figure) -> str:
    return json.dumps(json.loads(figure.to_json()))


def _age(moment: datetime | None) -> str:
    if moment is None:
        return ""
    minutes = (datetime.now(UTC) - moment).total_seconds() / 60
    if minutes < 2:
        return "just now"
    if minutes < 120:
        return f"{minutes:.0f} minutes ago"
    return f"{minutes / 60:.0f} hours ago" if minutes < 2880 else f"{minutes / 1440:.0f} days ago"


def plotly_file() -> Path:
    """The library that draws, as plotly's own package ships it."""
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def _render(name: str, **values: Any) -> str:
    return _environment().get_template(name).render(**values)


@functools.cache
def _environment() -> Environment:
    from jinja2 import ChoiceLoader, PackageLoader

    return environment().overlay(
        loader=ChoiceLoader([PackageLoader("hf_sfda.space"), PackageLoader("hf_sfda.report")])
    )
