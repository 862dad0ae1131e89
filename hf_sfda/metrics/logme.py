"""LogME: log maximum evidence of a Bayesian linear model, with the term the release drops."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hf_sfda.metrics import register_metric
from hf_sfda.metrics.problem import Problem
from hf_sfda.types import Score

_ROUNDING = 1e-14
_RATIO_RANGE = 1e12
"""The prior-to-noise ratio stays within this factor of the mean eigenvalue: with features that
explain nothing it runs to infinity (where the evidence is flat), with a perfect fit to zero."""


@register_metric(
    "logme",
    summary="Log maximum evidence of a Bayesian linear model (term for N < D included)",
    tasks=frozenset({"single-label", "multi-label", "regression", "token"}),
    cost="min(N D^2, N^2 D) + 10 min(N, D)^3 + min(N, D) C a step",
    reference="You et al., ICML 2021, arXiv:2102.11005",
    invariant_to=frozenset({"row order", "rotation"}),
)
def logme(problem: Problem, *, max_steps: int = 11, tolerance: float = 1e-3) -> Score:
    r"""Log maximum evidence of a Bayesian linear model (term for N < D included).

    Each target column t is modelled as :math:`t = Xw + \epsilon` with
    :math:`w \sim N(0, \alpha^{-1} I)` and :math:`\epsilon \sim N(0, \beta^{-1} I)`. With the
    eigenvalues :math:`\sigma_j^2` of :math:`X^\top X`, eigenvectors V, :math:`z = V^\top X^\top t`
    and :math:`\lambda = \alpha / \beta`, MacKay's fixed point

    .. math::
        \gamma = \sum_j \frac{\sigma_j^2}{\sigma_j^2 + \lambda}, \quad
        \alpha = \gamma / |m|^2, \quad \beta = (N - \gamma) / |t - Xm|^2

    is run for all columns at once from :math:`\alpha = \beta = 1`, and the score is the mean over
    columns of

    .. math::
        \frac1N \Bigl[\tfrac N2 \log\beta - \tfrac12 \sum_j \log(1 + \sigma_j^2 / \lambda)
        - \tfrac\beta2 |t - Xm|^2 - \tfrac\alpha2 |m|^2 - \tfrac N2 \log 2\pi\Bigr].

    Traps: the reference implementation's default path leaves out ``(D - k)/2 log alpha`` where the
    rank k is below D, which raises scores of wide features without limit; it is in here. There is
    no intercept and no centring, in any version. LogME falls with the width of useless dimensions.
    Eleven steps, as released, may stop a few thousandths short of the maximum, the more so the
    further the scale of the features is from 1; ``max_steps=1000, tolerance=1e-9`` reaches it.
    No ``per_sample``: evidence does not decompose over samples.

    Args:
        problem: What to score.
        max_steps: Of the fixed point.
        tolerance: Relative change of alpha / beta at which a column is done.
    """
    n = len(problem)
    T = problem.one_hot
    values, vectors = problem.geometry.raw_spectrum
    geometry = problem.geometry
    products = geometry.centred.T @ T + torch.outer(geometry.mean, T.sum(0))  # X'T
    z2 = (vectors.T @ products).square_()  # (r, T)
    evidence, steps = _max_evidence(values[:, None], z2, T.square().sum(0), n, max_steps, tolerance)
    return Score("logme", float(evidence.mean()), details={"steps": float(steps)})


def _max_evidence(
    eigenvalues: Tensor, z2: Tensor, t2: Tensor, n: int, max_steps: int, tolerance: float
) -> tuple[Tensor, int]:
    """(T,) evidence per sample, and the number of steps the slowest column took.

    Args:
        eigenvalues: (r, 1) of X'X.
        z2: (r, T) squared projections of X't on the eigenvectors.
        t2: (T,) squared lengths of the targets.
        n: Number of samples.
        max_steps: At most so many steps.
        tolerance: Relative change of alpha / beta at which a column stays as it is.
    """
    unit = float(eigenvalues.mean()) or 1.0
    ratio = torch.ones_like(t2)
    moving = torch.ones_like(t2, dtype=torch.bool)
    steps = 0
    while steps < max_steps and moving.any():
        steps += 1
        shrunk = eigenvalues + ratio  # (r, T)
        gamma = (eigenvalues / shrunk).sum(0)
        m2, r2 = _lengths(z2, t2, shrunk, ratio)
        alpha = gamma / m2.clamp(min=torch.finfo(torch.float64).tiny)
        beta = (n - gamma).clamp(min=_ROUNDING * n) / r2
        new = (alpha / beta).clamp(unit / _RATIO_RANGE, unit * _RATIO_RANGE)
        new = torch.where(moving, new, ratio)
        moving &= (new - ratio).abs() > tolerance * ratio
        ratio = new
    shrunk = eigenvalues + ratio
    gamma = (eigenvalues / shrunk).sum(0)
    m2, r2 = _lengths(z2, t2, shrunk, ratio)
    beta = (n - gamma).clamp(min=_ROUNDING * n) / r2
    evidence = (
        0.5 * n * beta.log()
        - 0.5 * torch.log1p(eigenvalues / ratio).sum(0)
        - 0.5 * beta * (r2 + ratio * m2)
        - 0.5 * n * math.log(2 * math.pi)
    ) / n
    return evidence, steps


def _lengths(z2: Tensor, t2: Tensor, shrunk: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """(T,) squared lengths of the weights and of the residual of the ridge solution."""
    m2 = (z2 / shrunk.square()).sum(0)
    # |t - Xm|^2 without dividing by eigenvalues, which may be zero.
    r2 = t2 - (z2 * (shrunk + ratio) / shrunk.square()).sum(0)
    return m2, r2.clamp(min=_ROUNDING * t2)
