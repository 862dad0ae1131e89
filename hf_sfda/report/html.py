"""The ranking as one self-contained page: it loads nothing, and works from an e-mail."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_sfda.names import with_short_names
from hf_sfda.report import format as text
from hf_sfda.report import sentences
from hf_sfda.report.columns import speed_unit
from hf_sfda.report.palette import PALETTE
from hf_sfda.types import ModelRow, Ranking

if TYPE_CHECKING:
    from jinja2 import Environment

_COMMIT = re.compile(r"[0-9a-f]{40}")  # a local folder has "sha256:..." and no page


def render_html(ranking: Ranking) -> str:
    """The report as a page of HTML with its styles, scripts and plots inside.

    Names and reasons come from strangers; the template escapes everything it is given, and the
    page forbids itself to load or send anything.
    """
    from plotly.offline import get_plotlyjs

    from hf_sfda.report.plots import figures

    ranking, folder = with_short_names(ranking)
    specs = {name: json.loads(figure.to_json()) for name, figure in figures(ranking).items()}
    template = environment().get_template("report.html.j2")
    return template.render(
        ranking=ranking,
        summary=_summary(ranking),
        folder=folder,
        table=table_of(ranking),
        row_warnings=[row for row in ranking.ranked if row.warnings],
        figures=specs,
        palette=PALETTE,
        swap=dict(PALETTE.values()),
        plotly_js=get_plotlyjs() if specs else "",
    )


@dataclass(frozen=True)
class Table:
    """What ``table.html.j2`` draws.

    Attributes:
        metric: What the rows are sorted by.
        confidence: Of the intervals, in words.
        baselines: Metrics that stand first among the others.
        metrics: The rest of them.
        rows: A mapping a ranked row: the row with its place, band and bar.
        left_out: The other rows.
        voters: Metrics that the mean rank is made of.
        speed_unit: Of the throughput.
        resampled: Whether the order has a rank range.
        banded: Whether it is known who ties with whom.
        barred: Whether any row has an interval.
        floored: Whether any row has a noise floor to draw.
        hub: Address that model pages are linked under; ``None`` links nothing.
        folded: Whether what was left out is one click away.
        shown: How many rows are visible until a script shows more; ``None`` is all.
    """

    metric: str
    confidence: str
    baselines: Sequence[str]
    metrics: Sequence[str]
    rows: Sequence[dict[str, Any]]
    left_out: Sequence[ModelRow]
    voters: Sequence[str]
    speed_unit: str
    resampled: bool
    banded: bool
    barred: bool
    floored: bool
    hub: str | None = None
    folded: bool = False
    shown: int | None = None


def table_of(
    ranking: Ranking, *, hub: str | None = None, folded: bool = False, shown: int | None = None
) -> Table:
    """The table of a ranking, ready to be drawn.

    Args:
        ranking: What to show.
        hub: Address that model pages are linked under.
        folded: Whether what was left out is one click away.
        shown: How many rows are visible until a script shows more.
    """
    others = dict.fromkeys(name for row in ranking.ranked for name in row.scores)
    others.pop(ranking.metric, None)
    baselines = [name for name in ("linear_probe", "knn") if name in others]
    rows = _ranked_rows(ranking)
    return Table(
        metric=ranking.metric,
        confidence=sentences.confidence(ranking),
        baselines=baselines,
        metrics=[name for name in others if name not in baselines],
        rows=rows,
        left_out=[row for row in ranking.rows if row.status != "ok"],
        voters=_voters(ranking),
        speed_unit=speed_unit(ranking),
        resampled=any(row.rank_interval for row in ranking.ranked),
        banded=sentences.ties_known(ranking),
        barred=any(row.intervals.get(ranking.metric) for row in ranking.ranked),
        floored=any("floor" in (item["bar"] or {}) for item in rows),
        hub=hub,
        folded=folded,
        shown=shown,
    )


@functools.cache
def environment() -> Environment:
    """The templates of this package, with escaping on and numbers as the report shows them."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("hf_sfda.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (text.score, text.share, text.interval, text.count, text.megabytes, text.rate):
        environment.filters[function.__name__] = function
    environment.filters["label"] = text.label
    environment.filters["is_commit"] = lambda revision: bool(_COMMIT.fullmatch(revision))
    return environment


def _summary(ranking: Ranking) -> dict[str, Any]:
    chosen = sentences.choice(ranking)
    return {
        "chosen": chosen.model_id if chosen else None,
        "reason": sentences.reason(ranking) if chosen else "",
        "target": sentences.target(ranking),
        "candidates": sentences.candidates(ranking),
        "ties": sentences.ties(ranking),
        "agreement": sentences.agreement(ranking),
        "confidence": sentences.confidence(ranking),
        "command": sentences.command(ranking),
        "first": len(sentences.first_group(ranking)) if ranking.ranked else 0,
    }


def _ranked_rows(ranking: Ranking) -> list[dict[str, Any]]:
    """What the template cannot work out by itself: place, band, bar."""
    ranked, metric = ranking.ranked, ranking.metric
    banded = sentences.ties_known(ranking)
    bars = _bars(ranking)
    opinion = _consensus(ranking)
    return [
        {
            "row": row,
            "place": place,
            "band": banded and (row.tie_group or 0) % 2,
            "leads": row.tie_group == ranked[0].tie_group,
            "value": row.scores[metric],
            "hazards": sentences.hazards(row),
            "bar": bar,
            "mean_rank": mean_rank,
            "disputed": disputed,
        }
        for row, place, bar, (mean_rank, disputed) in zip(
            ranked, sentences.tie_labels(ranked), bars, opinion, strict=True
        )
    ]


def _voters(ranking: Ranking) -> list[str]:
    """The metrics that a consensus is made of; none if there is nobody to agree with."""
    from hf_sfda.uncertainty import voting_metrics

    names = voting_metrics(ranking.rows, n_samples=int(ranking.dataset["n_samples"]))
    return names if len(names) > 1 and len(ranking.ranked) > 1 else []


def _consensus(ranking: Ranking) -> list[tuple[float | None, bool]]:
    """Mean rank over the voters, if any has a score, and whether they place the model far apart."""
    from hf_sfda.uncertainty import consensus

    voters = _voters(ranking)
    if not voters:
        return [(None, False)] * len(ranking.ranked)
    found = consensus(
        {name: [row.scores.get(name, math.nan) for row in ranking.ranked] for name in voters}
    )
    means = [mean if text.known(mean) else None for mean in found.mean_rank.tolist()]
    return list(zip(means, found.disagree.tolist(), strict=True))


def _bars(ranking: Ranking) -> list[dict[str, float] | None]:
    """Places of interval, score and noise floor in percent of a scale common to all rows."""
    metric = ranking.metric
    numbers = [
        number
        for row in ranking.ranked
        for number in (*row.intervals.get(metric, ()), row.scores[metric], row.noise_floor)
        if number is not None and text.known(number)
    ]
    if not numbers or min(numbers) == max(numbers):
        return [None] * len(ranking.ranked)
    low, span = min(numbers), max(numbers) - min(numbers)

    def bar(row: ModelRow) -> dict[str, float]:
        value = row.scores[metric]
        start, end = row.intervals.get(metric, (value, value))
        places = {"start": start, "value": value, "end": end}
        if row.noise_floor is not None and text.known(row.noise_floor):
            places["floor"] = row.noise_floor
        return {name: round(2 + 96 * (number - low) / span, 2) for name, number in places.items()}

    return [bar(row) for row in ranking.ranked]
