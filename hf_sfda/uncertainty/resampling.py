"""Resampling: the paired bootstrap, in which all models are scored on the same resamples of the
same samples, and the jackknife for scores that are not a mean over samples (LogME, H-score, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from hf_sfda.errors import MetricError
from hf_sfda.types import IntArray
from hf_sfda.uncertainty.statistics import FloatArray

_CHUNK_BYTES = 32 * 2**20
"""Size of one block of weights; two or three blocks are in memory at a time."""


def paired_bootstrap(
    per_sample: npt.NDArray[np.floating], labels: IntArray, *, n_resamples: int, seed: int
) -> FloatArray:
    """Scores of all models on bootstrap resamples of the samples, the same for every model.

    The sample was drawn class by class, so it is resampled class by class. Of a class with n
    members n - 1 are drawn with replacement and weighted by n / (n - 1): drawing n would
    understate the variance by the factor (n - 1) / n, which is half of it for a class of two
    (Rao & Wu 1988, "Resampling inference with complex survey data", JASA 83). The spread of
    a class with one member is not known; that member is always drawn.

    Fitted parameters stay fixed: only the samples that are scored vary.

    Args:
        per_sample: (M, N) whose mean over N is the score of each of M models.
        labels: (N,) class of each sample; all zeros resamples without classes.
        n_resamples: B.
        seed: The resamples depend on this and on ``labels``, on nothing else.

    Returns:
        (B, M) scores. Time O(B N M) in one matrix product; memory O(B M) and a constant.

    Raises:
        MetricError: Shapes do not fit, or a value is not finite.
    """
    values = np.asarray(per_sample, dtype=np.float64)
    if values.ndim != 2 or labels.shape != values.shape[1:]:
        raise MetricError(
            f"per_sample has shape {values.shape} and labels {labels.shape}; "
            "expected (M, N) and (N,)."
        )
    if not np.isfinite(values).all():
        raise MetricError("per_sample holds NaN or infinity; leave that model out.")
    if not values.size:
        raise MetricError("There is nothing to resample: no model or no sample.")
    # A checkpoint under two names must give equal numbers to the last bit, which a matrix product
    # does not promise for equal columns; so equal rows are multiplied once.
    distinct, place = np.unique(values, axis=0, return_inverse=True)
    resampled = np.vstack(
        [weights @ distinct.T for weights in _weights(labels, n_resamples, seed)]
    )  # (B, distinct)
    return np.ascontiguousarray(resampled[:, place.ravel()] / len(labels))


def degrees_of_freedom(labels: IntArray) -> int:
    """Degrees of freedom of the bootstrap's standard errors: N minus the number of classes, or
    G - 1 for groups, which are one stratum. At least 1.
    """
    return max(1, len(labels) - len(np.unique(labels)))


def _weights(labels: IntArray, n_resamples: int, seed: int) -> Iterator[FloatArray]:
    """Blocks of (b, N) weights, in the order of the samples; each row sums to N."""
    n = len(labels)
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(classes, kind="stable")
    starts = np.cumsum(sizes) - sizes  # (C,) first place of each class in `order`
    alone = np.flatnonzero(sizes == 1)
    # One draw fewer than members: drop the first place of every class.
    draws = np.delete(np.arange(n), starts)  # (N - C,)
    of_class = np.repeat(np.arange(len(sizes)), sizes)[draws]
    low, span = starts[of_class], sizes[of_class]
    scale = np.where(sizes > 1, sizes / np.maximum(sizes - 1, 1), 1.0)[classes]  # (N,)

    generator = np.random.default_rng(seed)
    rows = max(1, min(n_resamples, _CHUNK_BYTES // (8 * n)))
    for start in range(0, n_resamples, rows):
        b = min(rows, n_resamples - start)
        picks = low + (generator.random((b, len(draws))) * span).astype(np.int64)
        flat = picks + n * np.arange(b)[:, None]
        counts = np.bincount(flat.ravel(), minlength=b * n).reshape(b, n)
        counts[:, starts[alone]] = 1
        weights = np.empty((b, n))
        weights[:, order] = counts
        weights *= scale
        yield weights


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
