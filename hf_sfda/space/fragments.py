"""Render parts of the page as HTML. The templates escape all values."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.hub import hub_url
from hf_sfda.publish.row_files import split_of
from hf_sfda.publish.track_record import of_dataset, summary
from hf_sfda.report import sentences
from hf_sfda.report.html import environment, measured_of, table_of
from hf_sfda.report.plots.style import PALETTE
from hf_sfda.types import Ranking, Update

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from jinja2 import Environment

    from hf_sfda.compare import Comparison
    from hf_sfda.publish.track_record import HitRate
    from hf_sfda.space.backend import View
    from hf_sfda.space.events import JobState
    from hf_sfda.space.plan import JobPlan
    from hf_sfda.space.results import Snapshot
    from hf_sfda.space.samples import Preview

_PLOTTED = 40
"""Largest number of models in the plot of scores; the table has all of them."""

_UPDATES = 10
"""Largest number of updates in the table of first picks; the newest ones."""

FIRST = 100
"""Number of table rows that are visible at first; the page's script shows more on scrolling. A
browser needs seconds to lay out a thousand rows."""

SIZES = (5, 10, 30, 100, 300, 1000)
"""Choices of the size filter, in millions of parameters."""

WIDTH, HEIGHT = 640, 170
"""Size of the plot of the hit rate, in the units of its SVG."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 24


def status(snapshot: Snapshot) -> str:
    """The status line: the results dataset, the age of the results, and a problem if any."""
    return _render("status.html.j2", snapshot=snapshot, age=_age(snapshot.read_at))


def leaderboard(view: View | None, snapshot: Snapshot) -> str:
    """The table of a ranking with its filters; a hint if there is no ranking."""
    if view is None:
        return _render("empty.html.j2", snapshot=snapshot)
    ranking = view.ranking
    return _render(
        "leaderboard.html.j2",
        view=view,
        ranking=ranking,
        table=table_of(ranking, hub=hub_url(), folded=True, visible=FIRST),
        summary=_summary(ranking),
        sizes=SIZES,
        licences=_counted(row.license for row in ranking.ranked),
        libraries=_counted(row.library for row in ranking.ranked),
        leaderboard=view.leaderboard,
        measured=measured_of(ranking),
        record=_record(view, snapshot),
    )


def plots(view: View | None, updates: Sequence[Update] = ()) -> str:
    """All plots of a ranking as JSON; the page's script draws them."""
    if view is None:
        return message("There is nothing to plot yet.")
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
        plotted=min(ranked, _PLOTTED),
        updates=len(updates),
        own=view.leaderboard is None,
        banded=sentences.ties_known(ranking),
        barred=any(row.intervals.get(ranking.metric) for row in ranking.ranked),
    )


def comparison(
    result: Comparison, previews: Mapping[int, Preview] | None = None, *, note: str | None = None
) -> str:
    """The comparison of two models: result, classes and samples.

    Args:
        result: The comparison.
        previews: Previews of the samples, by index.
        note: A remark to show with it.
    """
    from hf_sfda.report.plots.compare import compare_figure

    figure = compare_figure(result)
    first = [sample for sample in result.samples if sample.difference > 0]
    second = [sample for sample in reversed(result.samples) if sample.difference < 0]
    return _render(
        "comparison.html.j2",
        comparison=result,
        figure=figure and _spec(figure),
        ahead=((result.models[0], first), (result.models[1], second)),
        previews=previews or {},
        note=note,
    )


def ensemble(result: Mapping[str, Any]) -> str:
    """The selected ensemble, its steps and the candidates.

    Args:
        result: The document of :meth:`hf_sfda.ensemble.Ensemble.to_dict`.
    """
    names = result["error_correlation"]["models"]
    matrix = result["error_correlation"]["matrix"]
    places = [names.index(model) for model in result["models"]]
    singles = sorted(result["singles"].items(), key=lambda item: -item[1][result["criterion"]])
    return _render(
        "ensemble.html.j2",
        ensemble=result,
        unit=result["criterion"].replace("_", "-"),
        singles=singles,
        correlations=[[matrix[i][j] for j in places] for i in places],
        hub=hub_url(),
    )


def plan(planned: JobPlan) -> str:
    """The plan of a job."""
    return _render("plan.html.j2", plan=planned)


def progress(state: JobState) -> str:
    """The progress of a job and of its candidates."""
    return _render("progress.html.j2", state=state)


def command(text: str) -> str:
    """The command that repeats a ranking."""
    return _render("command.html.j2", command=text)


def error(text: str) -> str:
    """An error message."""
    return _render("message.html.j2", text=text, bad=True)


def message(text: str) -> str:
    """An informational message."""
    return _render("message.html.j2", text=text, bad=False)


def styles() -> str:
    """The page's style sheet, which includes that of the report's table."""
    return _render("space.css.j2", palette=PALETTE)


def script() -> str:
    """The page's script."""
    return _render(
        "space.js.j2", swap=dict(PALETTE.values()), plotly=str(plotly_file()), first=FIRST
    )


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


def _record(view: View, snapshot: Snapshot) -> dict[str, Any] | None:
    """How good the first picks were; ``None`` if it is unknown, or for a visitor's own ranking."""
    if view.leaderboard is None or snapshot.record is None:
        return None
    here = snapshot.record.of(split_of(view.leaderboard.about))
    return {
        "updates": [*reversed(here)][:_UPDATES],
        "here": of_dataset(here),
        "everywhere": summary(snapshot.record),
        "over_time": snapshot.record.over_time,
        "plot": plot_hit_rate(snapshot.record.over_time),
    }


def _counted(values: Iterable[str | None]) -> list[tuple[str, int]]:
    counts = Counter(value or "" for value in values)
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
    """Path of plotly's JavaScript library in the plotly package."""
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


@dataclass(frozen=True)
class HitRatePlot:
    """Coordinates in the SVG.

    Attributes:
        line: The hit rate, as ``points`` of a polyline. It stays where it is until the next date.
        band: The 95% interval, as ``points`` of a polygon.
        dots: (x, y) of each date.
        levels: (y, text) of the horizontal grid lines.
        first: Text at the left end of the time axis.
        last: Text at its right end.
    """

    line: str
    band: str
    dots: tuple[tuple[float, float], ...]
    levels: tuple[tuple[float, str], ...]
    first: str
    last: str


def plot_hit_rate(over_time: Sequence[tuple[date, HitRate]]) -> HitRatePlot | None:
    """Draw the hit rate over time; ``None`` with fewer than two dates.

    Args:
        over_time: The hit rate at each date at which it changed, in the order of the dates.
    """
    if len(over_time) < 2:
        return None
    start, end = over_time[0][0], over_time[-1][0]
    days = max((end - start).days, 1)

    def x(day: date) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * (day - start).days / days, 1)

    def y(share: float) -> float:
        return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - share), 1)

    def steps(values: Sequence[float]) -> list[tuple[float, float]]:
        """Each value holds until the next date."""
        points: list[tuple[float, float]] = []
        for (day, _), value in zip(over_time, values, strict=True):
            if points:
                points.append((x(day), points[-1][1]))
            points.append((x(day), y(value)))
        return points

    rates = [rate.hits / rate.judged for _, rate in over_time]
    upper = steps([rate.high for _, rate in over_time])
    lower = steps([rate.low for _, rate in over_time])
    return HitRatePlot(
        line=_points(steps(rates)),
        band=_points([*upper, *reversed(lower)]),
        dots=tuple((x(day), y(rate)) for (day, _), rate in zip(over_time, rates, strict=True)),
        levels=tuple((y(share), f"{share:.0%}") for share in (0, 0.5, 1)),
        first=start.isoformat(),
        last=end.isoformat(),
    )


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
