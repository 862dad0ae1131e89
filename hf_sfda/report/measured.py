"""What fine-tuning showed: the best model, and what the first pick of the ranking cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hf_sfda.format import interval, joined, score
from hf_sfda.types import BriefMeasurement, Measurement, ModelRow, Ranking


@dataclass(frozen=True, slots=True)
class Best:
    """The fine-tuned model with the highest test accuracy.

    Attributes:
        row: Its row; of equally accurate ones the first of the ranking.
        measurement: Its accuracy.
        among: Number of models that were fine-tuned, at least 2.
    """

    row: ModelRow
    measurement: Measurement
    among: int


@dataclass(frozen=True, slots=True)
class Regret:
    """What the first pick lost to the best fine-tuned model, in points of test accuracy.

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
    row, measurement = max(pairs, key=lambda pair: pair[1].accuracy)
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
    from hf_sfda.uncertainty import paired_difference

    if winner is pick or winner.correct.count("1") == pick.correct.count("1"):
        return Regret(0.0, 0.0, 0.0)
    return Regret(*(100 * x for x in paired_difference(_correct(winner), _correct(pick))))


@dataclass(frozen=True, slots=True)
class HalvingRound:
    """A round of successive halving, to be shown.

    Attributes:
        n_train: Training samples.
        epochs: Most passes over them.
        measurements: Models with their validation accuracy, best first.
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
        HalvingRound(*key, tuple(sorted(briefs, key=lambda m: -m.validation_accuracy)))
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
    return [f"Halving trained {steps}; their validation accuracies are in the report."]


def _of_finetuned(ranking: Ranking) -> list[str]:
    """Which model is the best after fine-tuning and what the first pick cost."""
    pairs = measured_rows(ranking)
    if not pairs:
        return []
    if len(pairs) == 1:
        row, measurement = pairs[0]
        return [f"Fine-tuned, {row.model_id} reaches {_accuracy(measurement)} test accuracy."]
    winner, loss, first = best(ranking), regret(ranking), ranking.ranked[0].model_id
    assert winner is not None
    name = f"{winner.row.model_id} is the best of the {winner.among} fine-tuned models"
    begin = f"{name}: {_accuracy(winner.measurement)} test accuracy."
    if loss is None:
        return [f"{begin} The first pick, {first}, was not fine-tuned."]
    if winner.row is ranking.ranked[0]:
        return [f"{begin} It is also the first pick, which cost nothing."]
    limits = f"95% {loss.low:.1f} to {loss.high:.1f}"
    end = (
        f"which is within the noise of {winner.measurement.n_test:,} test samples"
        if loss.is_noise
        else "more than the noise of the test part"
    )
    return [f"{begin} The first pick, {first}, cost {loss.points:.1f} points ({limits}), {end}."]


def _accuracy(measurement: Measurement) -> str:
    return f"{score(measurement.accuracy)} ({interval(measurement.interval)})"


def _correct(measurement: Measurement) -> npt.NDArray[np.bool_]:
    return np.array([character == "1" for character in measurement.correct])
