"""H-score: how much of the features' variance the classes explain, after whitening."""

from __future__ import annotations

import torch

from hf_sfda.metrics import register_metric
from hf_sfda.metrics.problem import Problem
from hf_sfda.metrics.reduction import by_classes
from hf_sfda.types import Score

_SHAKY = 2.0


@register_metric(
    "hscore",
    summary="Between-class variance in whitened feature space, tr(St^+ Sb)",
    tasks=frozenset({"single-label", "multi-label", "token"}),
    by_classes=frozenset({"multi-label"}),
    cost="N D^2 + 10 D^3; N^2 D where N < D",
    reference="Bao et al., ICIP 2019, arXiv:2212.10082",
    invariant_to=frozenset({"row order", "translation", "scale", "rotation"}),
    width_sensitive=True,
    maximum=lambda n_classes: float(n_classes - 1),
)
def hscore(problem: Problem) -> Score:
    r"""Between-class variance in whitened feature space, tr(St^+ Sb).

    :math:`H = \mathrm{tr}(\mathrm{Cov}(X)^+ \, \mathrm{Cov}(E[X|y]))`, which lies in
    [0, min(C - 1, rank X)].

    Traps: with fewer samples than twice the dimensions it rewards width (at N <= D it is C - 1 for
    any features); use ``hscore_lw`` there. A cut-off of 1e-15 for the pseudo-inverse, as released,
    keeps directions that are only rounding and lets the score exceed its bound; directions below
    ``eps max(N, D)`` of the largest eigenvalue are dropped here.

    Multi-label is the mean over tags, each against the rest.
    """
    return by_classes(problem, _of_classes)


def _of_classes(problem: Problem) -> Score:
    values, vectors = problem.geometry.spectrum
    n, width = len(problem), problem.geometry.width
    positive = values > torch.finfo(torch.float64).eps * max(n, width) * values.max()
    projected = (problem.class_means * problem.counts.sqrt()[:, None]) @ vectors  # (C, r)
    inverse = torch.where(positive, 1 / values.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    score = float(projected.square().sum(0) @ inverse)
    rank = int(positive.sum())
    # The bound holds in exact arithmetic; only rounding can exceed it.
    score = min(score, float(min(problem.n_classes - 1, rank)))
    warnings: tuple[str, ...] = ()
    if n < _SHAKY * width:
        warnings = (
            f"hscore: {n} samples for {width} dimensions; below {_SHAKY:g} a dimension it rewards "
            "width, not fit (hscore_lw is the regularised form)",
        )
    return Score("hscore", score, details={"rank": float(rank)}, warnings=warnings)
