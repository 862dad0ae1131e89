"""Means over targets, with bootstrap intervals over targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hf_sfda.validate.measures import FloatArray, Measure


@dataclass(frozen=True)
class Mean:
    """A mean over targets. Of one target there is no interval: both ends are ``None``."""

    value: float
    low: float | None
    high: float | None
    n_targets: int


def mean_over_targets(
    values: npt.ArrayLike, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Mean:
    """Mean with a percentile interval of the bootstrap over targets.

    For the difference of two predictors, give their differences target by target.

    Args:
        values: (T,) one value a target; those that are not finite are left out.
        resamples: Number of resamples.
        confidence: Level of the interval.
        seed: Random seed.
    """
    v = np.asarray(values, dtype=np.float64)
    v = v[np.isfinite(v)]
    if len(v) < 2:
        return Mean(float(v[0]) if len(v) else float("nan"), None, None, len(v))
    draws = np.random.default_rng(seed).integers(len(v), size=(resamples, len(v)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(v[draws].mean(axis=1), [tail, 1 - tail])
    return Mean(float(v.mean()), float(low), float(high), len(v))


def noise_ceiling(
    accuracies: FloatArray, noise: float, measure: Measure, *, draws: int = 200, seed: int = 0
) -> float:
    """The measure of a perfect score, which knows the accuracies to be expected.

    It is judged by one fine-tuning run of each model, simulated with normal noise. The measured
    accuracies stand for the expected ones. Their spread contains noise already, so the true ceiling
    is a little lower.

    Args:
        accuracies: (M,) of one target.
        noise: Standard deviation of a run, of :func:`hf_sfda.validate.truth.run_noise`.
        measure: Of :mod:`hf_sfda.validate.measures`.
        draws: Number of simulations.
        seed: Random seed.
    """
    rng = np.random.default_rng(seed)
    measured = accuracies + rng.normal(0, noise, (draws, len(accuracies)))
    return float(np.mean([measure(noisy, accuracies) for noisy in measured]))


def static_list(accuracies: FloatArray) -> FloatArray:
    """Leave-one-target-out list: the mean rank of each model on the other targets.

    Args:
        accuracies: (T, M) with NaN where a model was not fine-tuned.

    Returns:
        (T, M) higher is better; NaN for models that no other target has.
    """
    from scipy.stats import rankdata

    if not accuracies.size:
        return np.full(accuracies.shape, np.nan)
    ranks = rankdata(accuracies, axis=1, nan_policy="omit")
    counts = np.isfinite(accuracies)
    # Targets may have different models, so ranks become shares of the models on that target.
    shares = np.where(counts, ranks / np.maximum(counts.sum(axis=1, keepdims=True), 1), 0.0)
    n_others = counts.sum(axis=0) - counts
    totals = shares.sum(axis=0) - shares
    # Rounding makes equal sums comparable, so ties remain ties.
    return np.where(n_others > 0, np.round(totals / np.maximum(n_others, 1), 12), np.nan)
