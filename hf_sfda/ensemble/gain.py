"""The gain of an ensemble over the best single model, on samples not used for the selection."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

import numpy as np
import numpy.typing as npt

from hf_sfda.ensemble.posteriors import CandidatePosteriors
from hf_sfda.ensemble.search import Criterion, Path
from hf_sfda.types import IntArray
from hf_sfda.uncertainty import degrees_of_freedom, paired_bootstrap, percentile_intervals

FloatArray = npt.NDArray[np.float64]


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


def intervals(
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
