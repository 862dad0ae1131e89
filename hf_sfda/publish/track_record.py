"""The track record of a results dataset: how often its first pick was best after fine-tuning.

These are pure functions of the rows of a results dataset. The end has the result in numbers and in
sentences. Definitions:

- A *prediction* is a run of the results dataset: the order of its ranked models by the metric that
  sorted it. Its *first pick* is the model at rank 1, also in a tie, because that is the model that
  the tool advises to fine-tune.
- Accuracies are *comparable* if they were measured on the same samples and the same parts of them,
  by the same recipe of the same version (``settings_fingerprint``). Accuracies of different
  settings are never compared.
- An accuracy belongs to a model at a revision, whichever run measured it. So it also judges other
  runs that ranked this model at this revision on the same samples. If a model was measured several
  times by the same settings, the newest measurement counts.
- A prediction *has a truth* if at least two of its models have comparable accuracies. If there are
  several settings, those count that include the first pick, then those with the most models, then
  the newest.
- It is *judged* if its first pick is among these models. Otherwise there is a truth, but it says
  nothing about the pick: this is neither a hit nor a miss, and it is counted apart.
- It is a *hit* if no other measured model is more accurate than the first pick. So an equally
  accurate model does not make it a miss. Models that nobody measured are unknown: the best of them
  may be better.
- The *regret* is what the first pick lost to the best measured model, in points of accuracy
  (several labels a sample: of F1; a regression: of R²). It is 0 for a hit and positive for a miss.
- The *hit rate* counts each dataset (with its configuration and split) once, because the updates of
  one dataset rank nearly the same models. Of each dataset the newest judged prediction counts. The
  interval is Wilson's over datasets.
- The hit rate *at a date* is the one of the predictions and measurements up to the end of this day
  in UTC. A row without a time counts as known from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import groupby
from math import fsum
from typing import Any

from hf_sfda.format import interval, joined, points
from hf_sfda.publish.finetuning_rows import measurement_of
from hf_sfda.publish.row_files import Row, moment_of, split_of, time_of
from hf_sfda.report.measured import Regret, regret_between
from hf_sfda.types import Measure
from hf_sfda.uncertainty import wilson

ModelKey = tuple[str, str | None]
"""A model's name and its revision."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One run as a prediction.

    Attributes:
        run: Digest of the run.
        created_at: UTC time, ISO 8601; empty if unknown.
        split: Dataset, configuration and split.
        samples: Fingerprint of the ranked samples.
        order: The ranked models, best first.
    """

    run: str
    created_at: str
    split: tuple[str, str, str]
    samples: str
    order: tuple[ModelKey, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A prediction that has a truth.

    Attributes:
        prediction: The prediction.
        best: The most accurate measured model; of equally accurate ones the first of the order.
        among: Number of measured models, at least 2.
        n_best: Number of measured models that are as accurate as ``best``.
        regret: What the first pick lost; ``None`` if it was not measured.
        measure: What the models are measured by.
    """

    prediction: Prediction
    best: str
    among: int
    n_best: int
    regret: Regret | None
    measure: Measure = "accuracy"

    @property
    def first(self) -> str:
        """The first pick."""
        return self.prediction.order[0][0]

    @property
    def is_hit(self) -> bool:
        """Whether the first pick was measured and none was more accurate."""
        return self.regret is not None and self.regret.points == 0


@dataclass(frozen=True, slots=True)
class HitRate:
    """How often the first pick was the best measured model, over datasets.

    Attributes:
        hits: Number of datasets where it was.
        judged: Number of datasets where it can be told, at least 1.
        not_measured: Number of further datasets with measured models, but without the first pick.
        low: Lower 95% limit of ``hits / judged``.
        high: Upper 95% limit.
        within_noise: Number of misses whose regret is not significant.
        regret: Mean regret over the judged datasets, in points.
        by_chance: Hits to expect of a pick at random among the measured models.
    """

    hits: int
    judged: int
    not_measured: int
    low: float
    high: float
    within_noise: int
    regret: float
    by_chance: float


def predictions(scores: Iterable[Row]) -> list[Prediction]:
    """The runs of a results dataset as predictions, oldest first."""
    ranked = [
        row
        for row in scores
        if row["metric"] == row["ranked_by"] and row["status"] == "ok" and row["rank"] is not None
    ]
    ranked.sort(key=lambda row: (moment_of(row), row["run"], row["rank"]))
    predicted = []
    for run, same_run in groupby(ranked, key=lambda row: row["run"]):
        rows = list(same_run)
        order = tuple(model_of(row) for row in rows)
        samples = str(rows[0]["dataset_fingerprint"])
        predicted.append(Prediction(run, time_of(rows[0]), split_of(rows[0]), samples, order))
    return predicted


def truth_of(
    order: Sequence[ModelKey], samples: str, finetuning: Iterable[Row]
) -> dict[ModelKey, Row]:
    """The comparable measured rows of an order of models, in this order; empty if there are none.

    Args:
        order: The models, best first.
        samples: Fingerprint of the ranked samples.
        finetuning: Rows of :mod:`hf_sfda.publish.finetuning_rows`.
    """
    wanted = set(order)
    rows = [
        row
        for row in finetuning
        if row["kind"] == "measured"
        and row["dataset_fingerprint"] == samples
        and model_of(row) in wanted
    ]
    groups: dict[str, dict[ModelKey, Row]] = {}
    for row in sorted(rows, key=_age):  # so the newest of a model remains
        groups.setdefault(row["settings_fingerprint"], {})[model_of(row)] = row
    if not groups:
        return {}

    def preference(fingerprint: str) -> tuple[Any, ...]:
        group = groups[fingerprint]
        newest = max(map(_age, group.values()))
        return order[0] in group and len(group) > 1, len(group), newest, fingerprint

    chosen = groups[max(groups, key=preference)]
    return {model: chosen[model] for model in order if model in chosen}


def judge(prediction: Prediction, finetuning: Iterable[Row]) -> Verdict | None:
    """Compare a prediction with measured accuracies; ``None`` if it has no truth."""
    truth = truth_of(prediction.order, prediction.samples, finetuning)
    if len(truth) < 2:
        return None
    measured = {model: measurement_of(row) for model, row in truth.items()}
    values = {model: m.value for model, m in measured.items()}
    best = [model for model, value in values.items() if value == max(values.values())]
    first = measured.get(prediction.order[0])
    regret = None if first is None else regret_between(first, measured[best[0]])
    measure = measured[best[0]].measure
    return Verdict(prediction, best[0][0], len(truth), len(best), regret, measure)


def verdicts(scores: Iterable[Row], finetuning: Iterable[Row]) -> list[Verdict]:
    """All predictions that have a truth, oldest first."""
    measured = _by_samples(finetuning)
    judged = (judge(p, measured.get(p.samples, ())) for p in predictions(scores))
    return [verdict for verdict in judged if verdict is not None]


def hit_rate(updates: Iterable[Verdict]) -> HitRate | None:
    """The hit rate of verdicts, which are sorted from old to new; ``None`` if none is judged."""
    newest: dict[tuple[str, str, str], Verdict] = {}
    not_measured = set()
    for verdict in updates:
        if verdict.regret is None:
            not_measured.add(verdict.prediction.split)
        else:
            newest[verdict.prediction.split] = verdict
    if not newest:
        return None
    judged = list(newest.values())
    hits = sum(verdict.is_hit for verdict in judged)
    low, high = wilson(hits / len(judged), len(judged))
    losses = [verdict.regret for verdict in judged if verdict.regret is not None]
    return HitRate(
        hits=hits,
        judged=len(judged),
        not_measured=len(not_measured - set(newest)),
        low=low,
        high=high,
        within_noise=sum(loss.points > 0 and loss.is_noise for loss in losses),
        # fsum: the sums do not depend on the order of the datasets, to the last digit
        regret=fsum(loss.points for loss in losses) / len(judged),
        by_chance=fsum(verdict.n_best / verdict.among for verdict in judged),
    )


def over_time(scores: Iterable[Row], finetuning: Iterable[Row]) -> list[tuple[date, HitRate]]:
    """The hit rate at each date at which it changed, oldest first."""
    measured = _by_samples(finetuning)
    relevant = [p for p in predictions(scores) if p.samples in measured]
    days = {p.created_at[:10] for p in relevant}
    days |= {_known_since(row)[:10] for rows in measured.values() for row in rows}
    changes: list[tuple[date, HitRate]] = []
    for day in sorted(filter(None, days)):
        known = {
            samples: [row for row in rows if _known_since(row)[:10] <= day]
            for samples, rows in measured.items()
        }
        earlier = [p for p in relevant if p.created_at[:10] <= day]
        rate = hit_rate(_newest_verdicts(earlier, known))
        if rate is not None and (not changes or changes[-1][1] != rate):
            changes.append((date.fromisoformat(day), rate))
    return changes


def _newest_verdicts(
    earlier: Sequence[Prediction], measured: Mapping[str, Sequence[Row]]
) -> list[Verdict]:
    """The verdicts that count: for each dataset the newest judged one, or else any."""
    chosen: dict[tuple[str, str, str], Verdict] = {}
    for prediction in reversed(earlier):
        before = chosen.get(prediction.split)
        if before is None or before.regret is None:
            verdict = judge(prediction, measured.get(prediction.samples, ()))
            if verdict is not None and (before is None or verdict.regret is not None):
                chosen[prediction.split] = verdict
    return list(chosen.values())


def _by_samples(finetuning: Iterable[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in finetuning:
        if row["kind"] == "measured":
            grouped.setdefault(row["dataset_fingerprint"], []).append(row)
    return grouped


def model_of(row: Mapping[str, Any]) -> ModelKey:
    """The model of a row."""
    return row["model"], row["model_revision"]


def _known_since(row: Mapping[str, Any]) -> str:
    """The time of a measurement, or of the run that it belongs to; empty if both are unknown."""
    return time_of(row, "measured_at") or time_of(row)


def _age(row: Mapping[str, Any]) -> tuple[str, str]:
    """Sort key from the oldest to the newest measurement."""
    return _known_since(row), row["id"]


@dataclass(frozen=True)
class TrackRecord:
    """How good the first picks of all leaderboards of a results dataset were.

    Attributes:
        verdicts: All predictions that measured accuracies can be compared with, oldest first.
        rate: The hit rate over datasets; ``None`` if no first pick was measured.
        over_time: The hit rate at each date at which it changed.
    """

    verdicts: tuple[Verdict, ...]
    rate: HitRate | None
    over_time: tuple[tuple[date, HitRate], ...]

    def of(self, split: tuple[str, str, str]) -> tuple[Verdict, ...]:
        """The verdicts on one dataset, its configuration and split, oldest first."""
        return tuple(v for v in self.verdicts if v.prediction.split == split)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {
            "hit_rate": asdict(self.rate) if self.rate else None,
            "over_time": [
                {"date": day.isoformat(), **asdict(rate)} for day, rate in self.over_time
            ],
            "summary": summary(self),
        }


def track_record(scores: Iterable[Row], finetuning: Iterable[Row]) -> TrackRecord | None:
    """The track record; ``None`` if there is nothing to compare the predictions with."""
    scores, finetuning = list(scores), list(finetuning)
    all_verdicts = verdicts(scores, finetuning)
    if not all_verdicts:
        return None
    return TrackRecord(
        tuple(all_verdicts), hit_rate(all_verdicts), tuple(over_time(scores, finetuning))
    )


def summary(record: TrackRecord) -> list[str]:
    """The hit rate in sentences, with its denominator, its interval and its limits."""
    rate = record.rate
    if rate is None:
        n = len({verdict.prediction.split for verdict in record.verdicts})
        return [f"Models were fine-tuned on {_datasets(n)}, but no first pick was among them."]
    sentences = [
        f"The first pick was the best of the fine-tuned models on {rate.hits} of "
        f"{_datasets(rate.judged)} (95% {interval((rate.low, rate.high))}). Picks at random among "
        f"these models are expected to be the best on {rate.by_chance:.1f}.",
        f"The first pick cost {points(rate.regret)} of {_measures(record)} on average.",
    ]
    if misses := rate.judged - rate.hits:
        sentences.append(
            f"Misses within the noise of the test samples: {rate.within_noise} of {misses}."
        )
    if rate.not_measured:
        sentences.append(
            f"On {_datasets(rate.not_measured)} more, models were fine-tuned but not the first "
            "pick; they do not count."
        )
    sentences.append("Models that were not fine-tuned may be better than the best of these.")
    return sentences


def of_dataset(updates: Iterable[Verdict]) -> str:
    """In how many updates of one dataset the first pick was the best; empty if none is judged."""
    judged = [verdict for verdict in updates if verdict.regret is not None]
    if not judged:
        return ""
    hits, n = sum(verdict.is_hit for verdict in judged), len(judged)
    unit = "update" if n == 1 else "updates"
    return f"The first pick was the best of the fine-tuned models in {hits} of {n} {unit}."


def _measures(record: TrackRecord) -> str:
    """What the judged models are measured by: ``accuracy``, or ``F1 and R²``."""
    judged = {verdict.measure for verdict in record.verdicts if verdict.regret is not None}
    return joined(sorted(judged, key=("accuracy", "F1", "R²").index))


def _datasets(n: int) -> str:
    return f"{n} dataset{'s' * (n != 1)}"
