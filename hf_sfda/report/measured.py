"""What fine-tuning showed: the best model, and what the first pick of the ranking cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hf_sfda.format import interval, joined, score
from hf_sfda.types import BriefMeasurement, Measurement, ModelRow, Ranking


@dataclass(frozen=True, slots=True)
class Best:
    """The fine-tuned model with the highest value on the test part.

    Attributes:
        row: Its row; of equally good ones the first of the ranking.
        measurement: What it reached.
        among: Number of models that were fine-tuned, at least 2.
    """

    row: ModelRow
    measurement: Measurement
    among: int


@dataclass(frozen=True, slots=True)
class Regret:
    """What the first pick lost to the best fine-tuned model, in points of accuracy, F1 or R².

    Attributes:
        points: The loss; 0 if the first pick is the best.
        low: Lower 95% limit, from the same test samples of both models.
        high: Upper 95% limit.
    """

    points: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        """Whether the difference is not significant."""
        return self.low <= 0


def measured_rows(ranking: Ranking) -> list[tuple[ModelRow, Measurement]]:
    """The fine-tuned models in the order of the ranking."""
    pairs = ((row, ranking.measurement(row)) for row in ranking.ranked)
    return [(row, measurement) for row, measurement in pairs if measurement]


def best(ranking: Ranking) -> Best | None:
    """The best fine-tuned model; ``None`` if fewer than two were fine-tuned."""
    pairs = measured_rows(ranking)
    if len(pairs) < 2:
        return None
    row, measurement = max(pairs, key=lambda pair: pair[1].value)
    return Best(row, measurement, len(pairs))


def regret(ranking: Ranking) -> Regret | None:
    """What the first pick lost; ``None`` if it or no other model was fine-tuned."""
    winner = best(ranking)
    first = ranking.measurement(ranking.ranked[0]) if ranking.ranked else None
    if winner is None or first is None:
        return None
    return regret_between(first, winner.measurement)


def regret_between(pick: Measurement, winner: Measurement) -> Regret:
    """What a pick lost to the best model, both measured on the same test samples."""
    from hf_sfda.uncertainty import bootstrap_mean, paired_difference

    if winner is pick or winner.value == pick.value:
        return Regret(0.0, 0.0, 0.0)
    best, first = np.array(winner.per_sample), np.array(pick.per_sample)
    if winner.measure == "accuracy":
        return Regret(*(100 * x for x in paired_difference(best == 1, first == 1)))
    low, high = bootstrap_mean(best - first)
    return Regret(100 * (winner.value - pick.value), 100 * low, 100 * high)


@dataclass(frozen=True, slots=True)
class HalvingRound:
    """A round of successive halving, to be shown.

    Attributes:
        n_train: Training samples.
        epochs: Most passes over them.
        measurements: Models with their value on the validation part, best first.
    """

    n_train: int
    epochs: int
    measurements: tuple[BriefMeasurement, ...]


def rounds(ranking: Ranking) -> list[HalvingRound]:
    """The rounds of successive halving, from small to large."""
    grouped: dict[tuple[int, int], list[BriefMeasurement]] = {}
    for brief in ranking.finetuned.rounds if ranking.finetuned else ():
        grouped.setdefault((brief.n_train, brief.epochs), []).append(brief)
    return [
        HalvingRound(*key, tuple(sorted(briefs, key=lambda m: -m.validation_value)))
        for key, briefs in sorted(grouped.items())
    ]


def summary(ranking: Ranking) -> list[str]:
    """What fine-tuning and successive halving showed, a sentence each; empty if nothing."""
    return [*_of_finetuned(ranking), *_of_halving(ranking)]


def _of_halving(ranking: Ranking) -> list[str]:
    """How many models were trained briefly only."""
    if not (done := rounds(ranking)):
        return []
    steps = joined([f"{len(r.measurements)} models on {r.n_train:,} samples" for r in done])
    return [f"Halving trained {steps}; their values on the validation part are in the report."]


def _of_finetuned(ranking: Ranking) -> list[str]:
    """Which model is the best after fine-tuning and what the first pick cost."""
    pairs = measured_rows(ranking)
    if not pairs:
        return []
    if len(pairs) == 1:
        row, measurement = pairs[0]
        return [f"Fine-tuned, {row.model_id} reaches {_value(measurement)}."]
    winner, loss, first = best(ranking), regret(ranking), ranking.ranked[0].model_id
    assert winner is not None
    equal = sum(measurement.value == winner.measurement.value for _, measurement in pairs) - 1
    name = f"{winner.row.model_id} is the best"
    if equal:
        name = (
            f"{winner.row.model_id} and {equal} other{'s' * (equal > 1)} are equally good, the best"
        )
    begin = f"{name} of the {winner.among} fine-tuned models: {_value(winner.measurement)}."
    if loss is None:
        return [f"{begin} The first pick, {first}, was not fine-tuned."]
    if winner.row is ranking.ranked[0]:
        first_pick = f"{first} is" if equal else "It is also"
        return [f"{begin} {first_pick} the first pick, which cost nothing."]
    limits = f"95% {loss.low:.1f} to {loss.high:.1f}"
    end = (
        f"which is within the noise of {winner.measurement.n_test:,} test samples"
        if loss.is_noise
        else "more than the noise of the test part"
    )
    measure = winner.measurement.measure
    points = f"{loss.points:.1f} points" + ("" if measure == "accuracy" else f" of {measure}")
    return [f"{begin} The first pick, {first}, cost {points} ({limits}), {end}."]


def heading(ranking: Ranking) -> str:
    """The heading of the column with the measured values."""
    measure = ranking.finetuned.measure if ranking.finetuned else "accuracy"
    return "fine-tuned" if measure == "accuracy" else f"fine-tuned {measure}"


def _value(measurement: Measurement) -> str:
    limits = interval(measurement.interval)
    return f"{score(measurement.value)} ({limits}) test {measurement.measure}"
