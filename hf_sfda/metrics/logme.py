"""LogME: log maximum evidence of a Bayesian linear model, with a term that the release omits."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hf_sfda.metrics import register_metric
from hf_sfda.metrics.problem import Problem
from hf_sfda.types import Score

_ROUNDING = 1e-14
"""A residual below this part of a target's squared length is a rounding error."""

_DECADES = 12
"""The prior-to-noise ratio stays within so many decades of the mean eigenvalue: with features that
explain nothing it runs to infinity (where the evidence is flat), with a perfect fit to zero."""

_A_DECADE = 10
"""Points of the grid. Each term of the evidence takes about two decades of the ratio to change, so
that no maximum fits between two points."""

_GRID_LOSS = 0.01
"""The most that the evidence per sample can rise between two points of the grid. Its second
derivative by the logarithm of the ratio is below 1, and 0.23^2 / 8 = 0.007."""


@register_metric(
    "logme",
    summary="Log maximum evidence of a Bayesian linear model (term for N < D included)",
    tasks=frozenset({"single-label", "multi-label", "regression", "token"}),
    cost="min(N D^2, N^2 D) + 10 min(N, D)^3 + 300 min(N, D) C",
    reference="You et al., ICML 2021, arXiv:2102.11005",
    invariant_to=frozenset({"row order", "rotation"}),
)
def logme(problem: Problem, *, max_steps: int = 50, tolerance: float = 1e-10) -> Score:
    r"""Log maximum evidence of a Bayesian linear model (term for N < D included).

    Each target column t is modelled as :math:`t = Xw + \epsilon` with
    :math:`w \sim N(0, \alpha^{-1} I)` and :math:`\epsilon \sim N(0, \beta^{-1} I)`. Let
    :math:`\sigma_j^2` be the eigenvalues of :math:`X^\top X`, V its eigenvectors,
    :math:`z = V^\top X^\top t` and :math:`\lambda = \alpha / \beta`. For a given ratio
    :math:`\lambda` the evidence is largest at :math:`\beta = N / S(\lambda)`, where m are the
    weights and

    .. math::
        S(\lambda) = |t - Xm|^2 + \lambda |m|^2
        = |t|^2 - \sum_j \frac{z_j^2}{\sigma_j^2 + \lambda}.

    What remains depends on :math:`\lambda` alone. The score is the mean over columns of

    .. math::
        \max_\lambda \; \frac12 \log \frac{N}{2 \pi S(\lambda)} - \frac12
        - \frac{1}{2N} \sum_j \log(1 + \sigma_j^2 / \lambda).

    The maximum is searched on a grid of 24 decades, which one matrix product evaluates for all
    columns. Newton's method, kept between the neighbours on the grid, refines the highest points.

    The released code iterates MacKay's fixed point,

    .. math::
        \gamma = \sum_j \frac{\sigma_j^2}{\sigma_j^2 + \lambda}, \quad
        \alpha = \gamma / |m|^2, \quad \beta = (N - \gamma) / |t - Xm|^2,

    for at most eleven steps from :math:`\alpha = \beta = 1`. Its fixed points are the stationary
    points of the function above, so it can end at the lower of two local maxima, and eleven steps
    can stop short of any. Up to rounding, the value here is never below that of the release (its
    N < D path). On the eight inputs of ``tests/metrics/golden`` it is higher by less than 0.001,
    except on ``gaussian_10c`` (0.0024) and ``imbalanced_7c`` (0.0068).

    Traps: the reference implementation's default path leaves out ``(D - k)/2 log alpha`` where the
    rank k is below D, which raises scores of wide features without limit; here it is included. No
    version has an intercept or centres the features. LogME falls with the width of useless
    dimensions. Where features fit a target perfectly the evidence has no maximum: the value is
    that at the end of the grid, which is high. No ``per_sample``: evidence does not decompose over
    samples.

    Args:
        problem: What to score.
        max_steps: At most so many steps of Newton's method.
        tolerance: A column is finished when the evidence per sample can rise by less than this.
    """
    values, vectors = problem.geometry.raw_spectrum
    geometry = problem.geometry
    T = problem.one_hot
    products = geometry.centred.T @ T + torch.outer(geometry.mean, T.sum(0))  # X'T
    z2 = (vectors.T @ products).square_()  # (r, T)
    evidence, steps = _max_evidence(
        _project(values, z2, T.square().sum(0), len(problem)), max_steps, tolerance
    )
    return Score("logme", float(evidence.mean()), details={"steps": float(steps)})


class _Targets(NamedTuple):
    """Targets in the coordinates of the left singular vectors of the features.

    Attributes:
        eigenvalues: (k,) of X'X in units of their mean, the positive ones.
        explained: (k, T) squared projections of each target on the left singular vectors.
        residual: (T,) squared length of the part that no weights explain.
        n: Number of samples.
    """

    eigenvalues: Tensor
    explained: Tensor
    residual: Tensor
    n: int

    def columns(self, indices: Tensor) -> _Targets:
        """Some of the targets, or one of them several times."""
        return self._replace(explained=self.explained[:, indices], residual=self.residual[indices])


def _project(eigenvalues: Tensor, z2: Tensor, t2: Tensor, n: int) -> _Targets:
    """Targets in the coordinates of the left singular vectors.

    Args:
        eigenvalues: (r,) of X'X, ascending.
        z2: (r, T) squared projections of X't on the eigenvectors.
        t2: (T,) squared lengths of the targets.
        n: Number of samples.
    """
    rounding = torch.finfo(eigenvalues.dtype).eps * len(eigenvalues)
    positive = eigenvalues > rounding * eigenvalues[-1]
    nonzero = eigenvalues[positive]
    explained = z2[positive] / nonzero[:, None]
    if len(nonzero) == n:  # The features span the space of all targets.
        residual = torch.zeros_like(t2)
    else:
        residual = torch.maximum(t2 - explained.sum(0), _ROUNDING * t2)
    return _Targets(nonzero / nonzero.mean(), explained, residual, n)


def _max_evidence(targets: _Targets, max_steps: int, tolerance: float) -> tuple[Tensor, int]:
    """(T,) maximum of the evidence per sample, and the steps of the slowest column.

    Args:
        targets: The target columns.
        max_steps: At most so many steps of Newton's method.
        tolerance: Rise of the evidence below which a column is finished.
    """
    grid = math.log(10) * torch.linspace(
        -_DECADES,
        _DECADES,
        2 * _DECADES * _A_DECADE + 1,
        dtype=targets.residual.dtype,
        device=targets.residual.device,
    )
    ratios = grid.exp()[:, None]
    free = ratios / (ratios + targets.eigenvalues)  # (G, k)
    penalty = torch.log1p(targets.eigenvalues / ratios).sum(1, keepdim=True)
    heights = _evidence(free @ targets.explained + targets.residual, penalty, targets.n)

    # All local maxima on the grid, and of these the two highest, if the second can be the first.
    beside = torch.nn.functional.pad(heights, (0, 0, 1, 1), value=-math.inf)
    is_peak = (heights >= beside[:-2]) & (heights >= beside[2:])
    peaks = heights.masked_fill(~is_peak, -math.inf).topk(2, dim=0)
    near = peaks.values >= peaks.values[0] - _GRID_LOSS
    column = near.nonzero()[:, 1]
    refined, steps = _refine(
        targets.columns(column), grid, peaks.indices[near], max_steps, tolerance
    )
    return heights.amax(0).scatter_reduce(0, column, refined, "amax"), steps


def _refine(
    targets: _Targets, grid: Tensor, peaks: Tensor, max_steps: int, tolerance: float
) -> tuple[Tensor, int]:
    """(T,) evidence at the local maximum beside a point of the grid, and the number of steps.

    Args:
        targets: The target columns.
        grid: (G,) logarithms of the ratio.
        peaks: (T,) index of the point on the grid that is higher than its neighbours.
        max_steps: At most so many steps.
        tolerance: Rise of the evidence below which a column is finished.
    """
    low, log, high = (grid[(peaks + i).clamp(0, len(grid) - 1)] for i in (-1, 0, 1))
    moving = torch.ones_like(peaks, dtype=torch.bool)
    steps = 0
    while steps < max_steps and moving.any():
        steps += 1
        slope, curvature = _derivatives(targets, log)
        low, high = torch.where(slope > 0, log, low), torch.where(slope > 0, high, log)
        newton = log - slope / curvature
        inside = (curvature < 0) & (newton > low) & (newton < high)
        # Where the curve is concave it stays below its tangent.
        moving &= slope.abs() * (high - low) > tolerance
        log = torch.where(moving, torch.where(inside, newton, (low + high) / 2), log)
    ratio = log.exp()
    shrunk = targets.eigenvalues[:, None] / ratio
    unexplained = (targets.explained / (1 + shrunk)).sum(0) + targets.residual
    return _evidence(unexplained, shrunk.log1p_().sum(0), targets.n), steps


def _evidence(unexplained: Tensor, penalty: Tensor, n: int) -> Tensor:
    """Evidence per sample at the best beta.

    Args:
        unexplained: S, the residual and the ratio times the squared length of the weights.
        penalty: Sum of log(1 + eigenvalue / ratio).
        n: Number of samples.
    """
    return 0.5 * ((n / (2 * math.pi * unexplained)).log() - 1 - penalty / n)


def _derivatives(targets: _Targets, log: Tensor) -> tuple[Tensor, Tensor]:
    """(T,) first and second derivative of the evidence per sample by the logarithm of the ratio."""
    free = torch.special.expit(log - targets.eigenvalues.log()[:, None])  # ratio / (ratio + value)
    weighted = targets.explained * free
    unexplained = weighted.sum(0) + targets.residual
    weighted *= 1 - free
    first = weighted.sum(0) / unexplained
    weighted *= 1 - 2 * free
    second = weighted.sum(0) / unexplained
    slope = 0.5 * ((1 - free).sum(0) / targets.n - first)
    curvature = 0.5 * (first.square() - second - (free * (1 - free)).sum(0) / targets.n)
    return slope, curvature
