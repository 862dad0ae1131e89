"""From resampled scores to intervals, P(best) and ties of each model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hf_sfda.errors import MetricError
from hf_sfda.uncertainty.calibration import expected_regrets
from hf_sfda.uncertainty.statistics import FloatArray, normal_quantile, t_quantile
from hf_sfda.uncertainty.statistics import ranks as rank_values
from hf_sfda.uncertainty.ties import ROUNDING, groups_by_probability, tie_groups


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """What is known about one model: from resampling and, where fine-tuned accuracies are
    predicted, from these.

    Attributes:
        rank: Place by the score itself, 1 is best; equal scores keep the order of the input.
        interval: (low, high) of the score.
        rank_interval: (low, high) of the rank; contains ``rank``.
        p_best: Share of resamples in which it comes first; those who share the first place share
            the resample, so that the column adds up to one.
        tie_group: Number from 1, see :func:`hf_sfda.uncertainty.tie_groups`.
        expected_regret: Fine-tuned accuracy, in points, that it is expected to stay behind the best
            of the models; ``None`` if that was not predicted.
    """

    rank: int
    interval: tuple[float, float]
    rank_interval: tuple[int, int]
    p_best: float
    tie_group: int
    expected_regret: float | None = None


def summarise(
    values: FloatArray,
    resampled: FloatArray,
    confidence: float,
    *,
    degrees_of_freedom: float = np.inf,
    predicted: FloatArray | None = None,
) -> list[Uncertainty]:
    """Intervals of score and rank, P(best), and ties of each model.

    Args:
        values: (M,) scores, higher is better.
        resampled: (B, M) from :func:`hf_sfda.uncertainty.paired_bootstrap`.
        confidence: Of each interval, and of all tie groups together.
        degrees_of_freedom: Of the bootstrap's standard errors, from
            :func:`hf_sfda.uncertainty.degrees_of_freedom` on the labels it was given.
        predicted: (B, M) fine-tuned accuracies of
            :func:`hf_sfda.uncertainty.predict_accuracies`. With them, ranks, P(best) and ties are
            about fine-tuned accuracy; without, about the score on other samples.

    Returns:
        One :class:`Uncertainty` a model, in the order of the input.

    Raises:
        MetricError: Shapes do not fit, or a score is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or resampled.ndim != 2 or resampled.shape[1:] != values.shape:
        raise MetricError(
            f"values has shape {values.shape} and resampled {resampled.shape}; "
            "expected (M,) and (B, M)."
        )
    if not (np.isfinite(values).all() and np.isfinite(resampled).all()):
        raise MetricError("A score is NaN or infinite; leave that model out.")
    if not len(values):
        return []
    widened = _widen(resampled, confidence, degrees_of_freedom)
    intervals = percentile_intervals(widened, confidence)
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(-values, kind="stable")] = np.arange(1, len(values) + 1)
    regrets: list[float | None] = [None] * len(values)
    if predicted is None:
        low, high = _rank_intervals(widened, ranks, confidence)
        best = _chance_to_be_best(resampled)
        groups = tie_groups(values, resampled, confidence, degrees_of_freedom=degrees_of_freedom)
    else:
        low, high = _rank_intervals(predicted, ranks, confidence)
        best = _chance_to_be_best(predicted)
        groups = groups_by_probability(values, predicted, confidence)
        regrets = [100 * float(regret) for regret in expected_regrets(predicted)]
    return [
        Uncertainty(
            rank=int(ranks[m]),
            interval=(float(intervals[m, 0]), float(intervals[m, 1])),
            rank_interval=(int(low[m]), int(high[m])),
            p_best=float(best[m]),
            tie_group=int(groups[m]),
            expected_regret=regrets[m],
        )
        for m in range(len(values))
    ]


def percentile_intervals(
    resampled: FloatArray, confidence: float, *, degrees_of_freedom: float = np.inf
) -> FloatArray:
    """(M, 2) two-sided percentile intervals of (B, M) resampled scores, widened as Student's t is
    wider than the normal distribution.
    """
    tail = (1 - confidence) / 2
    widened = _widen(resampled, confidence, degrees_of_freedom)
    intervals: FloatArray = np.quantile(widened, [tail, 1 - tail], axis=0).T
    return intervals


def _widen(resampled: FloatArray, confidence: float, degrees_of_freedom: float) -> FloatArray:
    if np.isinf(degrees_of_freedom):
        return resampled
    tail = (1 - confidence) / 2
    centre = resampled.mean(axis=0)
    widened: FloatArray = centre + (resampled - centre) * (
        t_quantile(tail, degrees_of_freedom) / normal_quantile(tail)
    )
    return widened


def _rank_intervals(
    resampled: FloatArray, ranks: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    tail = (1 - confidence) / 2
    descending = -_without_rounding(resampled)
    low = np.quantile(rank_values(descending, "min"), tail, axis=0, method="lower")
    high = np.quantile(rank_values(descending, "max"), 1 - tail, axis=0, method="higher")
    # Noise pulls resampled ranks towards the middle where many models are close. The interval is
    # extended to contain the rank that is printed beside it.
    return np.minimum(low, ranks), np.maximum(high, ranks)


def _chance_to_be_best(resampled: FloatArray) -> FloatArray:
    scores = _without_rounding(resampled)
    first = scores == scores.max(axis=1, keepdims=True)
    shares: FloatArray = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares


def _without_rounding(resampled: FloatArray) -> FloatArray:
    scale = ROUNDING * max(1.0, float(np.abs(resampled).max()))
    rounded: FloatArray = np.round(resampled / scale)
    return rounded
