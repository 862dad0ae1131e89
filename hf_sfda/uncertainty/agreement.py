"""Do the metrics agree on the order?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hf_sfda.uncertainty.statistics import FloatArray, weighted_kendall
from hf_sfda.uncertainty.statistics import ranks as rank_values


def weighted_tau(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray
) -> float:
    """Weighted Kendall correlation of two score lists, with most weight at the top.

    Swapping the models ranked r and s costs 1/(r + 1) + 1/(s + 1) (Vigna 2015), ranks being taken
    from both lists in turn. Both lists are higher-is-better; 1 is the same order, -1 the reverse.

    Args:
        first: (M,) scores; models with a score that is not finite are left out.
        second: (M,) scores of the same models.

    Returns:
        tau in [-1, 1]; NaN if fewer than two models are left, or a list is constant.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return weighted_kendall(a, b)


def agreement_with(
    metric: str, scores: Mapping[str, Sequence[float] | np.ndarray]
) -> dict[str, float]:
    """Weighted tau of every other metric with ``metric``; undefined ones are left out.

    Args:
        metric: One of the keys.
        scores: metric -> (M,) scores of the same models, NaN where there is none.
    """
    taus = {
        other: weighted_tau(scores[metric], values)
        for other, values in scores.items()
        if other != metric
    }
    return {other: tau for other, tau in taus.items() if np.isfinite(tau)}


@dataclass(frozen=True, eq=False)
class Consensus:
    """One order out of several metrics.

    Attributes:
        mean_rank: (M,) rank averaged over the metrics that scored the model; ties share ranks.
        disagree: (M,) whether the metrics place the model more than half the field apart.
    """

    mean_rank: FloatArray
    disagree: npt.NDArray[np.bool_]


def consensus(scores: Mapping[str, Sequence[float] | np.ndarray]) -> Consensus:
    """Mean rank over metrics, and the models on which the metrics disagree.

    Args:
        scores: metric -> (M,) scores, higher is better; NaN where a metric has none. Metrics that
            are constant over the models carry no order and have no vote.

    Returns:
        A :class:`Consensus`; NaN for models without any score.
    """
    everything = np.array([np.asarray(values, dtype=np.float64) for values in scores.values()])
    table = everything[[_orders(row) for row in everything]]  # (K, M) those with a vote
    known = np.isfinite(table)
    ranks = np.full(table.shape, np.nan)
    for k, row in enumerate(table):
        ranks[k, known[k]] = rank_values(-row[known[k]])
    n_models = table.shape[1]
    mean_rank, spread = np.full(n_models, np.nan), np.zeros(n_models)
    if (voted := known.any(axis=0)).any():
        mean_rank[voted] = np.nanmean(ranks[:, voted], axis=0)
        spread[voted] = np.nanmax(ranks[:, voted], axis=0) - np.nanmin(ranks[:, voted], axis=0)
    return Consensus(mean_rank, disagree=spread > (n_models - 1) / 2)


def _orders(scores: FloatArray) -> bool:
    known = scores[np.isfinite(scores)]
    return len(known) > 1 and bool(np.ptp(known) > 0)
