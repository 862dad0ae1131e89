"""How well a score predicts accuracy after fine-tuning, on one target: pure functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hf_sfda.uncertainty import weighted_tau

FloatArray = npt.NDArray[np.float64]
Measure = Callable[[FloatArray, FloatArray], float]


def _is_flat(truth: FloatArray, score: FloatArray) -> bool:
    return len(truth) < 2 or bool(np.ptp(truth) == 0 or np.ptp(score) == 0)


def tau_two_sided(truth: FloatArray, score: FloatArray) -> float:
    """Weighted tau with the ranks of both lists in turn, averaged.

    This is :func:`hf_sfda.uncertainty.weighted_tau`, the default of ``scipy.stats.weightedtau``
    (``rank=True``).

    Returns:
        The correlation; NaN if either list is constant.
    """
    return weighted_tau(truth, score)


def tau_truth_sided(truth: FloatArray, score: FloatArray) -> float:
    """Weighted tau with hyperbolic weights by the order of the truth alone.

    Among models of equal accuracy, the one that comes first in the list has the higher weight.

    Returns:
        The correlation; NaN if either list is constant.
    """
    from scipy.stats import weightedtau

    if _is_flat(truth, score):
        return float("nan")
    ranks = np.argsort(np.argsort(-truth, kind="stable"), kind="stable")
    return float(weightedtau(truth, score, rank=ranks).statistic)


def kendall(truth: FloatArray, score: FloatArray) -> float:
    """Kendall's tau-b; NaN if either list is constant."""
    from scipy.stats import kendalltau

    return float("nan") if _is_flat(truth, score) else float(kendalltau(truth, score).statistic)


def spearman(truth: FloatArray, score: FloatArray) -> float:
    """Spearman's rank correlation; NaN if either list is constant."""
    from scipy.stats import spearmanr

    return float("nan") if _is_flat(truth, score) else float(spearmanr(truth, score).statistic)


def chosen_probability(score: FloatArray, k: int) -> FloatArray:
    """Probability that each model is among the first k, if ties are broken at random.

    >>> chosen_probability(np.array([3.0, 1.0, 1.0]), 2).tolist()
    [1.0, 0.5, 0.5]
    """
    k = min(k, len(score))
    higher = (score[None, :] > score[:, None]).sum(axis=1)
    equal = (score[None, :] == score[:, None]).sum(axis=1)
    return np.asarray(np.clip((k - higher) / equal, 0, 1), dtype=np.float64)


def recall(truth: FloatArray, score: FloatArray, k: int) -> float:
    """Expected share of the k most accurate models among the first k of the score."""
    k = min(k, len(truth))
    return float(chosen_probability(score, k) @ chosen_probability(truth, k) / k)


def regret(truth: FloatArray, score: FloatArray, k: int = 1) -> float:
    """Expected accuracy lost by the best of the first k, in the unit of the truth.

    Ties in the score are broken at random; the value is the exact expectation.

    >>> regret(np.array([0.9, 0.8, 0.7]), np.array([1.0, 1.0, 0.0]))
    0.04999999999999993
    """
    from math import comb

    k = min(k, len(truth))
    edge = np.sort(score)[::-1][k - 1]
    surely = truth[score > edge]
    tied = np.sort(truth[score == edge])
    draws = k - len(surely)
    floor = surely.max() if len(surely) else -np.inf
    # The best of `draws` out of n tied models is the i-th smallest with probability
    # C(i, draws - 1) / C(n, draws), i counted from 0.
    chances = [comb(i, draws - 1) / comb(len(tied), draws) for i in range(len(tied))]
    return float(truth.max() - np.dot(chances, np.maximum(tied, floor)))
