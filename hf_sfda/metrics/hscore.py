"""H-score: how much of the features' variance the classes explain, after whitening."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hf_sfda.metrics import register_metric
from hf_sfda.metrics.by_class import stacks
from hf_sfda.metrics.problem import Problem
from hf_sfda.metrics.reduction import by_classes, indicators
from hf_sfda.types import Score

_SHAKY = 2.0

_PRECISE = 1e-8
"""Smallest eigenvalue, as a part of the largest, with which scores without a group are used. Below,
rounding errors of the covariance change the score."""


def _without_groups(problem: Problem, groups: Tensor, targets: Tensor | None) -> Tensor:
    """Scores without each group of samples, see :class:`hf_sfda.metrics.Metric`.

    In coordinates that whiten all samples, leaving a group out subtracts R'R from the scatter I; R
    holds the rows of the group and one for the change of the mean. With M = I - RR', Woodbury's
    identity gives b'(I - R'R)^-1 b = |b|^2 + (Rb)'M^-1(Rb).
    """
    n, geometry = len(problem), problem.geometry
    values, vectors = geometry.spectrum
    sizes = torch.bincount(groups).double()
    scores = torch.full_like(sizes, math.nan)
    cut_off = _cut_off(problem)
    if ((values > cut_off / 10) & (values < _PRECISE * values.max())).any():
        return scores
    positive = values > cut_off
    rank = int(positive.sum())
    classes = indicators(problem)
    _, n_problems, n_classes = classes.shape
    if rank == n - 1:  # The samples are affinely independent, and any part of them is, too.
        return torch.full_like(scores, n_classes - 1)
    whitened = geometry.centred @ (vectors[:, positive] / values[positive].sqrt())
    classes = classes.flatten(1)
    sums, counts = classes.T @ whitened, classes.sum(0)
    for stack in stacks(torch.cat([whitened, classes], 1), groups, sizes):
        rows, own = stack.rows[..., :rank], stack.rows[..., rank:]
        left = (n - stack.counts)[:, None]  # (B, 1)
        change = rows.sum(1)  # (B, rank)
        R = torch.cat([rows, (change / left.sqrt())[:, None]], 1)
        M = torch.eye(R.shape[1], dtype=R.dtype, device=R.device) - R @ R.mT
        L, failed = torch.linalg.cholesky_ex(M)
        sizes_left = counts - own.sum(1)  # (B, J)
        means = sums - own.mT @ rows + sizes_left[..., None] * (change / left)[:, None]
        b = means / sizes_left.sqrt()[..., None]  # (B, J, rank)
        solved = torch.linalg.solve_triangular(L, R @ b.mT, upper=False)
        each = (b.square().sum(2) + solved.square().sum(1)).unflatten(1, (n_problems, n_classes))
        score = each.sum(2).clamp(max=min(n_classes - 1, rank)).mean(1)
        pivots = L.diagonal(dim1=1, dim2=2).square().amin(1)
        precise = pivots * values[positive].min() > _PRECISE * values.max()
        scores[stack.classes] = score.masked_fill((failed > 0) | ~precise, math.nan)
    return scores


def _cut_off(problem: Problem) -> Tensor:
    """Below this, eigenvalues of the scatter are rounding errors."""
    eps = torch.finfo(torch.float64).eps
    return eps * max(len(problem), problem.geometry.width) * problem.geometry.spectrum.values.max()


@register_metric(
    "hscore",
    summary="Between-class variance in whitened feature space, tr(St^+ Sb)",
    tasks=frozenset({"single-label", "multi-label", "token"}),
    by_classes=frozenset({"multi-label"}),
    cost="N D^2 + 10 D^3; N^2 D where N < D",
    reference="Bao et al., ICIP 2019, arXiv:2212.10082",
    invariant_to=frozenset({"row order", "translation", "scale", "rotation"}),
    width_sensitive=True,
    without_groups=_without_groups,
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
    positive = values > _cut_off(problem)
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
