"""Error bars for scores that are not a mean over samples (LogME, H-score, ...)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hf_sfda.errors import MetricError
from hf_sfda.types import IntArray
from hf_sfda.uncertainty.bootstrap import FloatArray

DEFAULT_GROUPS = 20
"""Twenty re-computations a model, unless the metric has a shorter way. The relative error of the
standard error is then about 1/6."""


def jackknife_groups(labels: IntArray, *, n_groups: int = DEFAULT_GROUPS, seed: int) -> IntArray:
    """Assign samples to groups, each class as evenly as possible.

    The groups depend on the labels and the seed only, so all models share them and their
    pseudo-values are paired.

    Args:
        labels: (N,) classes.
        n_groups: Wanted number; never more than N.
        seed: Decides which samples share a group.

    Returns:
        (N,) group of each sample, 0..G-1, sizes equal to within one. Leaving one group out never
        removes a class of two or more (unless there is one group only).
    """
    n = len(labels)
    shuffled = np.random.default_rng(seed).permutation(n)
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]  # by class, shuffled inside
    groups = np.empty(n, dtype=np.int64)
    groups[order] = np.arange(n) % min(n_groups, n)
    return groups


def group_jackknife(
    score_fn: Callable[[IntArray], float],
    labels: IntArray,
    *,
    n_groups: int = DEFAULT_GROUPS,
    seed: int,
    everything: float | None = None,
    without_groups: Callable[[IntArray], FloatArray] | None = None,
) -> FloatArray:
    """Pseudo-values: what each group of samples contributed to a score.

    With h = N / n_g, the pseudo-value of group g is ``h * score(all) - (h - 1) * score(without
    g)`` (delete-a-group jackknife; Busing, Meijer & van der Leeden 1999). For a mean it is the
    mean over the group; for any smooth score the spread of the pseudo-values over sqrt(G) is the
    standard error. They are used in place of ``per_sample``, and groups in place of samples::

        pseudo = np.stack([group_jackknife(score_of(m), labels, seed=0) for m in models])  # (M, G)
        units = one_stratum(pseudo)
        resampled = paired_bootstrap(pseudo, units, n_resamples=1000, seed=0)
        summarise(values, resampled, 0.95, degrees_of_freedom=degrees_of_freedom(units))

    They are shifted so that their mean is the score itself. Without the shift their mean is the
    bias-corrected score, and the interval would not belong to the number that is shown.

    Args:
        score_fn: (n,) sorted indices of the samples to use -> score.
        labels: (N,) classes.
        n_groups: G, at most N. Costs G + 1 calls.
        seed: Of the groups.
        everything: Score of all samples, if it is known.
        without_groups: (N,) group of each sample -> (G,) scores without each group, NaN where
            ``score_fn`` must be called.

    Returns:
        (G,) pseudo-values, mean equal to ``score_fn`` of everything.

    Raises:
        MetricError: Fewer than two samples, or what ``score_fn`` raises.
    """
    n = len(labels)
    if n < 2 or n_groups < 2:
        raise MetricError(
            f"A jackknife needs two groups of samples; given {n} samples, {n_groups} groups."
        )
    groups = jackknife_groups(labels, n_groups=n_groups, seed=seed)
    sizes = np.bincount(groups)
    everything = float(score_fn(np.arange(n))) if everything is None else everything
    without = np.full(len(sizes), np.nan) if without_groups is None else without_groups(groups)
    for g in np.flatnonzero(np.isnan(without)):
        without[g] = score_fn(np.flatnonzero(groups != g))
    h = n / sizes
    raw = h * everything - (h - 1) * without
    pseudo: FloatArray = raw - raw.mean() + everything
    return pseudo


def one_stratum(pseudo: FloatArray) -> IntArray:
    """(G,) zeros: labels for :func:`paired_bootstrap` over groups, which are one stratum."""
    return np.zeros(pseudo.shape[-1], dtype=np.int64)
