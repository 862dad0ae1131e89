"""H-score with Ledoit-Wolf shrinkage, usable with fewer samples than dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hf_sfda.metrics import linalg, register_metric
from hf_sfda.metrics.problem import Problem
from hf_sfda.metrics.reduction import by_classes, indicators
from hf_sfda.metrics.shrinkage import ledoit_wolf
from hf_sfda.types import Score

_PRECISE = 1e-4
"""Smallest element of the Cholesky factor's diagonal, as a part of the largest, with which scores
without a group are used."""


def _without_groups(problem: Problem, groups: Tensor, targets: Tensor | None) -> Tensor:
    """Scores without each group of samples, see :class:`hf_sfda.metrics.Metric`.

    All that a score needs, but for the fourth moment, is sums over samples: those of the group are
    subtracted.
    """
    geometry, X = problem.geometry, problem.geometry.centred
    classes = indicators(problem)
    n_problems = classes.shape[1]
    classes = classes.flatten(1)
    sums, counts = classes.T @ X, classes.sum(0)
    scores = []
    for g in range(int(groups.max()) + 1):
        inside = groups == g
        rows, own = X[inside], classes[inside]
        n = len(problem) - len(rows)
        change = rows.sum(0)
        mean = -change / n
        scatter = geometry.scatter - linalg.gram(rows) - torch.outer(change, change) / n
        lengths = geometry.squared_norms - 2 * (X @ mean) + mean.square().sum()
        shrinkage, L, jitter = _shrunk(scatter / n, lengths[~inside], geometry.width)
        left = counts - own.sum(0)
        means = (sums - own.T @ rows) / left[:, None] - mean
        score = _between(shrinkage, L, means, left, n) / n_problems
        pivots = L.diagonal()
        exact = jitter == 0 and bool(pivots.min() > _PRECISE * pivots.max())
        scores.append(score if exact else math.nan)
    return torch.tensor(scores, dtype=torch.float64)


@register_metric(
    "hscore_lw",
    summary="H-score with Ledoit-Wolf shrinkage of the covariance",
    tasks=frozenset({"single-label", "multi-label", "token"}),
    by_classes=frozenset({"multi-label"}),
    cost="N D^2 + D^3/3; N^2 D where N < D",
    reference="Ibrahim et al., 2021, arXiv:2110.06893",
    invariant_to=frozenset({"row order", "translation", "scale", "rotation"}),
    maximum=lambda n_classes: float(n_classes - 1),
    without_groups=_without_groups,
)
def hscore_lw(problem: Problem) -> Score:
    r"""H-score with Ledoit-Wolf shrinkage of the covariance.

    :math:`H_a = \mathrm{tr}(\Sigma_a^{-1} (1-a) \mathrm{Cov}(E[X|y]))` with
    :math:`\Sigma_a = (1-a)\Sigma + a \frac{\mathrm{tr}\Sigma}{D} I` and Ledoit and Wolf's a.

    Trap: if features are nearly spherical, a approaches 1 and the score 0, whatever the classes.

    Multi-label is the mean over tags, each against the rest.
    """
    return by_classes(problem, _of_classes)


def _of_classes(problem: Problem) -> Score:
    geometry, n = problem.geometry, len(problem)
    shrinkage, L, _ = _shrunk(geometry.scatter / n, geometry.squared_norms, geometry.width)
    score = _between(shrinkage, L, problem.class_means, problem.counts, n)
    return Score("hscore_lw", score, details={"shrinkage": shrinkage})


def _shrunk(covariance: Tensor, squared_norms: Tensor, width: int) -> tuple[float, Tensor, float]:
    """Shrinkage, and the Cholesky factor of the shrunk covariance with what it took.

    Args:
        covariance: (r, r), overwritten.
        squared_norms: (N,) squared lengths of the centred samples.
        width: D.
    """
    fourth = float(squared_norms.square().sum())
    shrinkage = ledoit_wolf(covariance, fourth, len(squared_norms), width)
    target = float(covariance.diagonal().sum()) / width
    covariance.mul_(1 - shrinkage).diagonal().add_(shrinkage * target or 1.0)
    L, jitter = linalg.cholesky(covariance)
    return shrinkage, L, jitter


def _between(shrinkage: float, L: Tensor, means: Tensor, counts: Tensor, n: int) -> float:
    # As released: the covariance of the means is unbiased (n - 1), the other one is not.
    centred = means * (counts / (n - 1)).sqrt()[:, None]
    whitened = torch.linalg.solve_triangular(L, centred.T, upper=False)
    return (1 - shrinkage) * float(whitened.square().sum())
