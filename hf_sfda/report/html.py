"""Render the ranking as one self-contained HTML page, which works offline and in an e-mail."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_sfda import format as text
from hf_sfda.metrics import BASELINES
from hf_sfda.names import with_short_names
from hf_sfda.report import measured, sentences
from hf_sfda.report.plots.style import PALETTE
from hf_sfda.types import ModelRow, Ranking

if TYPE_CHECKING:
    from jinja2 import Environment

_COMMIT = re.compile(r"[0-9a-f]{40}")  # the revision of a local folder is "sha256:..."


def render_html(ranking: Ranking) -> str:
    """Render the report as one HTML page that contains its styles, scripts and plots.

    Names and reasons are texts of other people, so the template escapes all values, and the page's
    content security policy forbids to load or send anything.
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
        measured=measured_of(ranking),
        row_warnings=[row for row in ranking.ranked if row.warnings],
        figures=specs,
        palette=PALETTE,
        swap=dict(PALETTE.values()),
        plotly_js=get_plotlyjs() if specs else "",
    )


@dataclass(frozen=True)
class Table:
    """The values of the template ``table.html.j2``.

    Attributes:
        metric: The metric that sorts the rows.
        headings: Metric -> heading.
        confidence: The intervals' level, such as ``95%``.
        baselines: The other metrics that come first: the linear probe and k-NN.
        metrics: The remaining metrics.
        rows: One dictionary per ranked model: its row with place, tie band and interval bar.
        left_out: The rows of skipped and failed candidates.
        voters: The metrics whose ranks are averaged.
        speed_unit: Unit of the throughput.
        resampled: Whether any row has a rank interval.
        predicted: Whether any row has an expected regret.
        banded: Whether ties are known.
        barred: Whether any row has an interval.
        floored: Whether any row has a noise floor to draw.
        finetuned: Heading of the column with the measured values; empty if no model was fine-tuned.
        hub: Address of the Hub, for links to the model pages; ``None`` for no links.
        folded: Whether the skipped and failed candidates are hidden until the reader opens them.
        visible: Number of rows that are visible at first; ``None`` for all.
    """

    metric: str
    headings: Mapping[str, str]
    confidence: str
    baselines: Sequence[str]
    metrics: Sequence[str]
    rows: Sequence[dict[str, Any]]
    left_out: Sequence[ModelRow]
    voters: Sequence[str]
    speed_unit: str
    resampled: bool
    predicted: bool
    banded: bool
    barred: bool
    floored: bool
    finetuned: str
    hub: str | None = None
    folded: bool = False
    visible: int | None = None


def table_of(
    ranking: Ranking, *, hub: str | None = None, folded: bool = False, visible: int | None = None
) -> Table:
    """Compute the values of the template ``table.html.j2``.

    Args:
        ranking: The ranking to show.
        hub: Address of the Hub, for links to the model pages; ``None`` for no links.
        folded: Whether the skipped and failed candidates are hidden until the reader opens them.
        visible: Number of rows that are visible at first; ``None`` for all.
    """
    others = dict.fromkeys(name for row in ranking.ranked for name in row.scores)
    others.pop(ranking.metric, None)
    baselines = [name for name in BASELINES if name in others]
    rows = _ranked_rows(ranking)
    return Table(
        metric=ranking.metric,
        headings={name: sentences.heading(ranking, name) for name in (ranking.metric, *others)},
        confidence=sentences.confidence(ranking),
        baselines=baselines,
        metrics=[name for name in others if name not in baselines],
        rows=rows,
        left_out=[row for row in ranking.rows if row.status != "ok"],
        voters=_voters(ranking),
        speed_unit=sentences.speed_unit(ranking),
        resampled=any(row.rank_interval for row in ranking.ranked),
        predicted=any(row.expected_regret is not None for row in ranking.ranked),
        banded=sentences.ties_known(ranking),
        barred=any(row.intervals.get(ranking.metric) for row in ranking.ranked),
        floored=any("floor" in (item["bar"] or {}) for item in rows),
        finetuned=measured.heading(ranking) if any(item["measured"] for item in rows) else "",
        hub=hub,
        folded=folded,
        visible=visible,
    )


@functools.cache
def environment() -> Environment:
    """The Jinja environment of the report: HTML escaping, and filters that format numbers."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("hf_sfda.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        text.score,
        text.share,
        text.points,
        text.interval,
        text.count,
        text.megabytes,
        text.rate,
    ):
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
        "learning_curve": sentences.learning_curve(ranking),
        "confidence": sentences.confidence(ranking),
        "command": sentences.command(ranking),
        "reliability": sentences.reliability(ranking),
        "has_classes": sentences.has_classes(ranking),
        "first": len(sentences.first_group(ranking)) if ranking.ranked else 0,
    }


def _ranked_rows(ranking: Ranking) -> list[dict[str, Any]]:
    """One dictionary per ranked model, with the values that the template cannot compute."""
    ranked, metric = ranking.ranked, ranking.metric
    banded = sentences.ties_known(ranking)
    bars = _bars(ranking)
    mean_ranks = _mean_ranks(ranking)
    return [
        {
            "row": row,
            "place": place,
            "band": banded and (row.tie_group or 0) % 2,
            "leads": row.tie_group == ranked[0].tie_group,
            "value": row.scores[metric],
            "measured": ranking.measurement(row),
            "hazards": sentences.hazards(row),
            "bar": bar,
            "mean_rank": mean_rank,
            "disputed": disputed,
        }
        for row, place, bar, (mean_rank, disputed) in zip(
            ranked, sentences.tie_labels(ranked), bars, mean_ranks, strict=True
        )
    ]


def measured_of(ranking: Ranking) -> dict[str, Any] | None:
    """The values of the template ``measured.html.j2``; ``None`` if no model was fine-tuned."""
    pairs = measured.measured_rows(ranking)
    rounds = measured.rounds(ranking)
    if ranking.finetuned is None or not (pairs or rounds):
        return None
    best = measured.best(ranking)
    numbers = [number for _, measurement in pairs for number in measurement.interval] or [0.0]
    low, span = min(numbers), (max(numbers) - min(numbers)) or 1.0

    def position(number: float) -> float:
        return round(2 + 96 * (number - low) / span, 2)

    return {
        "summary": measured.summary(ranking),
        "measure": ranking.finetuned.measure,
        "data": ranking.finetuned.data,
        "recipe": ranking.finetuned.recipe,
        "rounds": rounds,
        "rows": [
            {
                "row": row,
                "measurement": m,
                "is_best": best is not None and row is best.row,
                "start": position(m.interval[0]),
                "value": position(m.value),
                "end": position(m.interval[1]),
            }
            for row, m in pairs
        ],
    }


def _voters(ranking: Ranking) -> list[str]:
    """The metrics whose ranks are averaged; empty if there are fewer than two metrics or models."""
    from hf_sfda.uncertainty import voting_metrics

    names = voting_metrics(ranking.rows, n_samples=int(ranking.dataset["n_samples"]))
    return names if len(names) > 1 and len(ranking.ranked) > 1 else []


def _mean_ranks(ranking: Ranking) -> list[tuple[float | None, bool]]:
    """For each model, its mean rank over the voting metrics and whether these disagree about it.

    The mean rank is ``None`` if no voting metric has a score for the model.
    """
    from hf_sfda.uncertainty import consensus

    voters = _voters(ranking)
    if not voters:
        return [(None, False)] * len(ranking.ranked)
    agreement = consensus(
        {name: [row.scores.get(name, math.nan) for row in ranking.ranked] for name in voters}
    )
    means = [mean if text.known(mean) else None for mean in agreement.mean_rank.tolist()]
    return list(zip(means, agreement.disagree.tolist(), strict=True))


def _bars(ranking: Ranking) -> list[dict[str, float] | None]:
    """The positions of interval, score and noise floor, in percent of a scale shared by all rows.

    An entry is ``None`` if all numbers are equal, so that there is no scale.
    """
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
        ends = {"start": start, "value": value, "end": end}
        if row.noise_floor is not None and text.known(row.noise_floor):
            ends["floor"] = row.noise_floor
        return {name: round(2 + 96 * (number - low) / span, 2) for name, number in ends.items()}

    return [bar(row) for row in ranking.ranked]
