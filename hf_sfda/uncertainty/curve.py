"""Does the order still change with more samples? A learning curve of the ranking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_sfda.errors import MetricError
from hf_sfda.types import IntArray, LearningCurve
from hf_sfda.uncertainty.agreement import weighted_tau
from hf_sfda.uncertainty.statistics import FloatArray

SETTLED = 0.9
"""Least weighted tau between two disjoint samples for which the order counts as settled. With ten
models it is about one swap of neighbours in the middle of the ranking."""

_MOST_SIZES = 5
_MEMBERS = 5  # samples a class, on average, in the smallest default size


def disjoint_samples(
    labels: IntArray, *, sizes: Sequence[int] | None = None, repeats: int = 5, seed: int
) -> dict[int, list[tuple[IntArray, IntArray]]]:
    """Draw pairs of disjoint, stratified samples of growing size.

    Args:
        labels: (N,) classes.
        sizes: Sample sizes, at most N // 2; by default N/2, N/4, ... as long as there are five
            samples a class.
        repeats: R pairs a size.
        seed: Random seed.

    Returns:
        Size -> R pairs of sorted positions; the sizes rise.

    Raises:
        MetricError: Too few samples for any size, or a size above N // 2.
    """
    n = len(labels)
    chosen = sorted(sizes or _halvings(n, len(np.unique(labels))))
    if n < 4 or chosen[0] < 2 or chosen[-1] > n // 2:
        raise MetricError(
            f"Cannot draw two disjoint samples of {chosen} out of {n}: sizes must lie "
            f"between 2 and {n // 2}."
        )
    generator = np.random.default_rng(seed)
    orders = [_stratified_order(labels, generator) for _ in range(repeats)]
    return {
        size: [(np.sort(order[:size]), np.sort(order[size : 2 * size])) for order in orders]
        for size in chosen
    }


def learning_curve(sizes: Sequence[int], scores: FloatArray, full: FloatArray) -> LearningCurve:
    """Compare the orders on disjoint samples with each other and with that on all samples.

    Args:
        sizes: S sizes, as from :func:`disjoint_samples`.
        scores: (S, R, 2, M) scores of M models on each of the two samples of R pairs, higher is
            better. Each model should be fitted on the sample: averages of stored per-sample values
            leave out the variation of the fit. NaN where a model has none.
        full: (M,) scores on all samples.
    """
    every = scores.reshape(len(sizes), -1, len(full))  # (S, 2R, M)
    taus = [[weighted_tau(first, second) for first, second in pairs] for pairs in scores]
    best = np.nan_to_num(every, nan=-np.inf).argmax(axis=-1)
    return LearningCurve(
        sizes=tuple(sizes),
        reproducibility=tuple(map(tuple, taus)),
        agreement=tuple(
            float(np.mean([weighted_tau(full, sample) for sample in samples])) for samples in every
        ),
        top_kept=tuple((best == full.argmax()).mean(axis=1).tolist()),
        settled=bool(np.mean(taus[-1]) >= SETTLED),
    )


def _halvings(n: int, n_classes: int) -> list[int]:
    sizes = [n // 2 ** (k + 1) for k in range(_MOST_SIZES)]
    return [size for size in sizes if size >= _MEMBERS * n_classes] or sizes[:1]


def _stratified_order(labels: IntArray, generator: np.random.Generator) -> IntArray:
    """A random order of which every stretch holds the classes in proportion: member k of n is put
    at a random place of the k-th n-th of the way.
    """
    shuffled = generator.permutation(len(labels))
    _, classes, sizes = np.unique(labels[shuffled], return_inverse=True, return_counts=True)
    by_class = np.argsort(classes, kind="stable")
    member = np.empty(len(labels), dtype=np.int64)
    member[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = (member + generator.random(len(labels))) / sizes[classes]
    return shuffled[np.argsort(place)]
