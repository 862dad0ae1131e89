"""The columns of the terminal table: headers, cell texts and priorities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hf_sfda import format as text
from hf_sfda.metrics import BASELINES
from hf_sfda.report import measured
from hf_sfda.report.sentences import confidence, has_classes, hazards, heading
from hf_sfda.types import ModelRow, Ranking

_UNITS = {"image": "img/s", "text": "texts/s", "audio": "sounds/s"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table.

    Attributes:
        header: The heading.
        cell: Function from a row to the text of its cell; an unknown value is an empty text.
        weight: Priority. A narrow terminal omits the columns with the lowest weight.
        align: ``"right"`` for numbers, ``"left"`` for words.
    """

    header: str
    cell: Callable[[ModelRow], str]
    weight: int
    align: Literal["left", "right"] = "right"


_BASELINE_WEIGHTS = dict(zip(BASELINES, (65, 64, 50), strict=True))


def result_columns(ranking: Ranking) -> list[Column]:
    """The columns to the right of the model's name, without those that are empty in every row."""
    metric = ranking.metric
    columns = [
        Column(heading(ranking, metric), lambda row: text.score(row.scores.get(metric)), 100),
        Column(confidence(ranking), lambda row: text.interval(row.intervals.get(metric)), 90),
        Column(measured.heading(ranking), _measured(ranking), 98),
        Column("95%", _interval(ranking), 88),
        Column("P(best)", lambda row: text.share(row.p_best), 70),
        Column("behind", lambda row: text.points(row.expected_regret).split(" ")[0], 55),
        *(_metric(ranking, name, w) for name, w in _BASELINE_WEIGHTS.items() if name != metric),
        *([] if has_classes(ranking) or metric == "sfda_cv" else [_metric(ranking, "sfda_cv", 45)]),
        Column("params", lambda row: text.count(row.params), 60),
        Column("MB", lambda row: text.megabytes(row.download_bytes), 20),
        Column(speed_unit(ranking), lambda row: text.rate(row.samples_per_second), 30),
        Column("licence", lambda row: row.license or "", 40, "left"),
        Column("note", lambda row: "; ".join(hazards(row)), 10, "left"),
    ]  # fmt: skip
    return [column for column in columns if any(column.cell(row) for row in ranking.ranked)]


def _measured(ranking: Ranking) -> Callable[[ModelRow], str]:
    return lambda row: text.score(m.value) if (m := ranking.measurement(row)) else ""


def _interval(ranking: Ranking) -> Callable[[ModelRow], str]:
    return lambda row: text.interval(m.interval) if (m := ranking.measurement(row)) else ""


def _metric(ranking: Ranking, name: str, weight: int) -> Column:
    return Column(heading(ranking, name), lambda row: text.share(row.scores.get(name)), weight)


def speed_unit(ranking: Ranking) -> str:
    """The unit of the throughput, for example ``img/s``."""
    task = str(ranking.dataset.get("task", ""))
    return next((unit for word, unit in _UNITS.items() if word in task), "samples/s")
