"""Forward selection: the best single model, the best pair, then one model more while it helps; and
its gain on samples not used for the selection.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hf_sfda.ensemble.posteriors import CandidatePosteriors, SubsetScores
from hf_sfda.types import IntArray
from hf_sfda.uncertainty import degrees_of_freedom, paired_bootstrap, percentile_intervals

Criterion = Literal["probability", "log_likelihood"]
FloatArray = npt.NDArray[np.float64]

_ROUNDING = 1e-9
"""Smaller differences count as rounding errors, so that a copy of a model is not a gain."""


class Path(NamedTuple):
    """The sets that a search selected, as tuples of candidate indices.

    Attributes:
        sets: The best single model, the best pair, and so on; each better than the previous one.
        refused: The next larger set, which is no better; ``None`` if the search ended because the
            size was reached or no candidate was left.
    """

    sets: tuple[tuple[int, ...], ...]
    refused: tuple[int, ...] | None


def search(posteriors: CandidatePosteriors, subset: int, size: int, criterion: Criterion) -> Path:
    """Select up to ``size`` candidates by their scores on one subset of the samples.

    All pairs are tried, so two specialists are found even if a generalist is better than each of
    them. From three members on, the search is greedy. If the criterion is equal, the other
    criterion decides, then the order of the candidates.

    The cost is one product of N x M x C x M for all pairs, and N x M x C for each further member,
    for all subsets together.

    Args:
        posteriors: The candidates' posteriors.
        subset: Index of the subset.
        size: The largest number of members.
        criterion: The quality to maximize.
    """
    singles = _values(posteriors.score_extensions(()), subset, criterion)
    best, value = _best([(m,) for m in range(len(posteriors))], singles)
    sets = [best]
    while len(best) < min(size, len(posteriors)):
        candidates, values = (
            _pairs(posteriors, subset, criterion)
            if len(best) == 1
            else _extensions(posteriors, best, subset, criterion)
        )
        next_set, next_value = _best(candidates, values)
        next_set = _sort_pair(next_set, singles)
        if next_value <= value + _ROUNDING:
            return Path(tuple(sets), next_set)
        best, value = next_set, next_value
        sets.append(best)
    return Path(tuple(sets), None)


def _pairs(
    posteriors: CandidatePosteriors, subset: int, criterion: Criterion
) -> tuple[list[tuple[int, ...]], FloatArray]:
    upper = np.triu_indices(len(posteriors), 1)
    values = _values(posteriors.score_pairs(), subset, criterion)[upper]
    return list(zip(*(index.tolist() for index in upper), strict=True)), values


def _extensions(
    posteriors: CandidatePosteriors, base: tuple[int, ...], subset: int, criterion: Criterion
) -> tuple[list[tuple[int, ...]], FloatArray]:
    others = [m for m in range(len(posteriors)) if m not in base]
    values = _values(posteriors.score_extensions(tuple(sorted(base))), subset, criterion)
    return [(*base, m) for m in others], values[others]


def _values(scores: SubsetScores, subset: int, criterion: Criterion) -> FloatArray:
    """The (..., 2) values of the criterion and, to break ties, of the other criterion."""
    both = (scores.probability[..., subset], scores.log_likelihood[..., subset])
    return np.stack(both if criterion == "probability" else both[::-1], axis=-1)


def _best(candidates: list[tuple[int, ...]], values: FloatArray) -> tuple[tuple[int, ...], float]:
    tied = np.flatnonzero(values[:, 0] >= values[:, 0].max() - _ROUNDING)
    tied = tied[values[tied, 1] >= values[tied, 1].max() - _ROUNDING]
    winner = int(tied[0])
    return candidates[winner], float(values[winner, 0])


def _sort_pair(members: tuple[int, ...], singles: FloatArray) -> tuple[int, ...]:
    """Put the better single model of a pair first; a larger set stays in order of selection."""
    if len(members) > 2:
        return members
    return tuple(sorted(members, key=lambda m: (-singles[m, 0], m)))


def fold_weights(folds: IntArray) -> FloatArray:
    """The (1 + K, N) weights of 1 + K subsets: all samples, then all samples outside fold k."""
    subsets = np.vstack([np.ones(len(folds)), folds != np.arange(folds.max() + 1)[:, None]])
    weights: FloatArray = subsets / subsets.sum(1, keepdims=True)
    return weights


def crossfitted_gains(
    posteriors: CandidatePosteriors,
    folds: IntArray,
    paths: Sequence[Path],
    sizes: int,
    criterion: Criterion,
) -> FloatArray:
    """Compute the (S, N) gains: of each sample, if up to s models are selected, s = 1 ... S.

    The maximum of many estimates is biased upwards: a selected set looks better than it is on the
    samples that it was selected on, and so does the best single model. So for each fold, both are
    selected on the other folds and compared on this one. The members' discriminants for the other
    folds were fitted on this fold, too, as is usual in stacking; but the selection does not use it.

    Args:
        posteriors: The candidates' posteriors.
        folds: (N,) fold of each sample.
        paths: (K,) result of the search without each fold.
        sizes: S.
        criterion: The unit of the gain.
    """
    # Cached, because the folds often select the same sets.
    contributions = cache(partial(_contributions, posteriors, criterion=criterion))
    gains = np.zeros((sizes, len(folds)))
    for k, path in enumerate(paths):
        held_out = folds == k
        single = contributions(path.sets[0])[held_out]
        for s in range(1, sizes):
            chosen = path.sets[min(s, len(path.sets) - 1)]
            gains[s, held_out] = contributions(chosen)[held_out] - single
    return gains


def gain_intervals(
    gains: FloatArray, labels: IntArray, *, n_resamples: int, confidence: float, seed: int
) -> FloatArray:
    """Compute (S, 2) bootstrap intervals of the mean gains.

    The ensemble and the single model are resampled together. The selection is not repeated.
    """
    # Number the strata by first appearance, so that the class names do not affect the resamples.
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    strata = np.argsort(np.argsort(first))[inverse]
    resampled = paired_bootstrap(gains, strata, n_resamples=n_resamples, seed=seed)
    return percentile_intervals(
        resampled, confidence, degrees_of_freedom=degrees_of_freedom(labels)
    )


def _contributions(
    posteriors: CandidatePosteriors, members: tuple[int, ...], criterion: Criterion
) -> FloatArray:
    """The (N,) contributions of the samples to the criterion of a set."""
    true = posteriors.true_probability(members)
    return true if criterion == "probability" else np.log(true)
