"""What an ensemble gains over the best single model, on samples that had no part in the choice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

import numpy as np
import numpy.typing as npt

from hf_sfda.ensemble.pool import Pool
from hf_sfda.ensemble.search import Criterion, Path
from hf_sfda.types import IntArray
from hf_sfda.uncertainty import degrees_of_freedom, paired_bootstrap, percentile_intervals

FloatArray = npt.NDArray[np.float64]


def juries_of(folds: IntArray) -> FloatArray:
    """(1 + K, N) weights: all samples, then all but those of fold k."""
    kept = np.vstack([np.ones(len(folds)), folds != np.arange(folds.max() + 1)[:, None]])
    weights: FloatArray = kept / kept.sum(1, keepdims=True)
    return weights


def crossfitted_gains(
    pool: Pool, folds: IntArray, paths: Sequence[Path], sizes: int, criterion: Criterion
) -> FloatArray:
    """(S, N) gain of each sample by the procedure "choose up to s models", s = 1 ... S.

    The largest of many estimates is too large: the set that was chosen looks better than it is on
    the samples that chose it, and so does the single model that it is compared with. Here both are
    chosen on the other folds. The members' fits on those folds have seen this one, as is usual in
    stacking; what cannot leak is which set suits these very samples.

    Args:
        pool: The candidates.
        folds: (N,) fold of each sample.
        paths: (K,) what was found without each fold.
        sizes: S.
        criterion: In what the gain is measured.
    """
    shares = cache(partial(_shares, pool, criterion=criterion))  # folds often agree
    gains = np.zeros((sizes, len(folds)))
    for k, path in enumerate(paths):
        held_out = folds == k
        single = shares(path.sets[0])[held_out]
        for s in range(1, sizes):
            chosen = path.sets[min(s, len(path.sets) - 1)]
            gains[s, held_out] = shares(chosen)[held_out] - single
    return gains


def intervals(
    gains: FloatArray, labels: IntArray, *, n_resamples: int, confidence: float, seed: int
) -> FloatArray:
    """(S, 2) intervals of the mean gains, by the bootstrap over samples.

    Both sides of each difference are resampled together. The choices stay as they are.
    """
    # Strata are drawn in the order of their codes: by first appearance, names do not matter.
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    strata = np.argsort(np.argsort(first))[inverse]
    resampled = paired_bootstrap(gains, strata, n_resamples=n_resamples, seed=seed)
    return percentile_intervals(
        resampled, confidence, degrees_of_freedom=degrees_of_freedom(labels)
    )


def _shares(pool: Pool, members: tuple[int, ...], criterion: Criterion) -> FloatArray:
    """(N,) what each sample adds to the criterion of a set."""
    true = pool.true_probability(members)
    return true if criterion == "probability" else np.log(true)
