"""Does the order still change with more samples? A learning curve of the ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hf_sfda.errors import MetricError
from hf_sfda.types import IntArray
from hf_sfda.uncertainty.agreement import weighted_tau
from hf_sfda.uncertainty.bootstrap import FloatArray

SETTLED = 0.9
"""Least weighted tau between two disjoint samples for which the order counts as settled. With ten
models it is about one swap of neighbours in the middle of the ranking."""

_MOST_SIZES = 5
_MEMBERS = 5  # samples a class, on average, in the smallest default size


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """How the ranking changes with the number of samples.

    Attributes:
        sizes: (S,) sample sizes, rising; at most half of the sample.
        scores: (S, R, 2, M) score of each model on each of two disjoint samples, R times.
        reproducibility: (S, R) weighted tau between the two disjoint samples. Unlike agreement
            with the full sample it is not flattered by shared samples.
        agreement: (S,) mean weighted tau with the order on the full sample.
        top_kept: (S,) share of samples whose best model is the best on the full sample.
    """

    sizes: IntArray
    scores: FloatArray
    reproducibility: FloatArray
    agreement: FloatArray
    top_kept: FloatArray

    @property
    def settled(self) -> bool:
        """Whether two disjoint samples of the largest size give the same order. The full sample is
        twice as large, so this errs on the side of asking for more.
        """
        return bool(self.reproducibility[-1].mean() >= SETTLED)

    def describe(self) -> str:
        """The answer in one sentence."""
        tau = float(self.reproducibility[-1].mean())
        if np.isnan(tau):
            return "The models score alike on every sample: there is no order that could move."
        facts = (
            f"two disjoint samples of {self.sizes[-1]:,} agree with a weighted tau of {tau:.2f}, "
            f"and {self.top_kept[-1]:.0%} of them put the same model first"
        )
        if self.settled:
            return f"The order has settled: {facts}. More samples would change little."
        return f"The order is still moving: {facts}. More samples would help."


def learning_curve(
    score_fn: Callable[[IntArray], FloatArray],
    labels: IntArray,
    *,
    sizes: Sequence[int] | None = None,
    repeats: int = 10,
    seed: int,
) -> LearningCurve:
    """Rank on pairs of disjoint, stratified samples of growing size.

    Args:
        score_fn: (n,) indices -> (M,) scores of all models on these samples, higher is better.
            Fit it anew on them: reading old per-sample values off (``lambda i: per_sample[:,
            i].mean(axis=1)``) is cheap, but then only the noise of scoring moves, not the fit.
        labels: (N,) classes.
        sizes: Sample sizes, at most N // 2; by default N/2, N/4, ... as long as there are five
            samples a class.
        repeats: R pairs a size. Costs 2 R calls a size and one on everything.
        seed: Which samples.

    Raises:
        MetricError: Too few samples for any size, or a size above N // 2.
    """
    n = len(labels)
    chosen = np.array(sorted(sizes or _halvings(n, len(np.unique(labels)))), dtype=np.int64)
    if n < 4 or chosen[0] < 2 or chosen[-1] > n // 2:
        raise MetricError(
            f"Cannot draw two disjoint samples of {chosen.tolist()} out of {n}: sizes must lie "
            f"between 2 and {n // 2}."
        )
    full = np.asarray(score_fn(np.arange(n)), dtype=np.float64)
    generator = np.random.default_rng(seed)
    orders = [_stratified_order(labels, generator) for _ in range(repeats)]
    scores = np.array(
        [
            [[score_fn(np.sort(half)) for half in (o[:size], o[size : 2 * size])] for o in orders]
            for size in chosen
        ]
    )  # (S, R, 2, M)
    every = scores.reshape(len(chosen), -1, len(full))  # (S, 2R, M)
    return LearningCurve(
        sizes=chosen,
        scores=scores,
        reproducibility=np.array([[weighted_tau(a, b) for a, b in row] for row in scores]),
        agreement=np.array([np.mean([weighted_tau(full, s) for s in row]) for row in every]),
        top_kept=(every.argmax(axis=-1) == full.argmax()).mean(axis=1),
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
