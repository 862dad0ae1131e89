"""H-score with Ledoit-Wolf shrinkage, usable with fewer samples than dimensions."""

from __future__ import annotations

import torch

from hf_sfda.metrics import linalg, register_metric
from hf_sfda.metrics.problem import Problem
from hf_sfda.metrics.reduction import by_classes
from hf_sfda.metrics.shrinkage import ledoit_wolf
from hf_sfda.types import Score


@register_metric(
    "hscore_lw",
    summary="H-score with Ledoit-Wolf shrinkage of the covariance",
    tasks=frozenset({"single-label", "multi-label", "token"}),
    by_classes=frozenset({"multi-label"}),
    cost="N D^2 + D^3/3; N^2 D where N < D",
    reference="Ibrahim et al., 2021, arXiv:2110.06893",
    invariant_to=frozenset({"row order", "translation", "scale", "rotation"}),
    maximum=lambda n_classes: float(n_classes - 1),
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
    covariance = geometry.scatter / n
    fourth = float(geometry.squared_norms.square().sum())
    shrinkage = ledoit_wolf(covariance, fourth, n, geometry.width)
    target = float(covariance.diagonal().sum()) / geometry.width
    covariance.mul_(1 - shrinkage).diagonal().add_(shrinkage * target or 1.0)
    L, _ = linalg.cholesky(covariance)
    # As released: the covariance of the means is unbiased (n - 1), the other one is not.
    shares = problem.counts / (n - 1)
    centred = problem.class_means * shares.sqrt()[:, None]
    whitened = torch.linalg.solve_triangular(L, centred.T, upper=False)
    score = (1 - shrinkage) * float(whitened.square().sum())
    return Score("hscore_lw", score, details={"shrinkage": shrinkage})
