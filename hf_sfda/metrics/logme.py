"""LogME: log maximum evidence of a Bayesian linear model, with a term that the release omits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from hf_sfda.metrics import register_metric
from hf_sfda.metrics.by_class import stacks
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

_FIRST_STRIDE = 48
"""Points of the grid between the first ones that are evaluated without a group of samples."""

_REACH = 7
"""Points on either side of a peak that a polynomial passes through. The evidence is analytic in the
logarithm of the ratio up to imaginary parts of pi, so 15 points of the grid give it to 1e-11."""

_NEWTON_STEPS = 8
"""Steps to the maximum of that polynomial."""

_PRECISE = 1e-10
"""The largest error from rounding with which scores without a group are used."""

_WELL_CONDITIONED = 1e-9
"""Smallest eigenvalue, as a part of the largest, with which singular vectors are orthogonal."""

_CHORD_STEPS = 64
"""Steps in which an interval of the grid is searched for the highest possible evidence."""

_EQUAL = 1e-12
"""Evidences per sample that differ by less are equal."""


def _without_groups(problem: Problem, groups: Tensor, targets: Tensor | None) -> Tensor:
    r"""Scores without each group of samples, see :class:`hf_sfda.metrics.Metric`.

    U are the left singular vectors of all samples, :math:`U_g` the rows of a group, r the residuals
    of all samples' ridge regression at the same ratio, and

    .. math::
        M = I - U_g \,\mathrm{diag}\frac{\sigma_j^2}{\sigma_j^2 + \lambda}\, U_g^\top.

    Leaving the group out subtracts :math:`r_g^\top M^{-1} r_g` from S and adds
    :math:`\log \det M` to :math:`\sum_j \log(1 + \sigma_j^2 / \lambda)`. Both are exact.
    """
    geometry, n = problem.geometry, len(problem)
    values, vectors = geometry.raw_spectrum
    positive = _positive(values)
    V = vectors[:, positive]
    U = (geometry.centred @ V + geometry.mean @ V) / values[positive].sqrt()  # (N, k)
    T = problem.one_hot[None] if targets is None else targets[..., None]  # (1 or G, N, T)
    weights = U.T @ T  # (1 or G, k, T)
    # The features span the space of all targets, and U is orthogonal.
    spans = U.shape[1] == n and bool(values[0] > _WELL_CONDITIONED * values[-1])
    residuals = torch.zeros_like(T) if spans else T - U @ weights
    # Not the squares of the residuals: U is orthogonal only up to rounding, and S must match M.
    lengths = T.square().sum(1)  # (1 or G, T)
    explained = weights.square()
    unexplained = torch.zeros_like(lengths) if spans else lengths - explained.sum(1)
    eigenvalues = values[positive] / values[positive].mean()
    sizes = torch.bincount(groups).double()
    scores = torch.full_like(sizes, math.nan)
    beside = residuals.movedim(0, 1).reshape(n, -1)
    for stack in stacks(torch.cat([U, beside], 1), groups, sizes):
        rows = stack.rows[..., : U.shape[1]].contiguous()
        own = stack.rows[..., U.shape[1] :]
        members = torch.arange(rows.shape[1], device=rows.device) < stack.counts[:, None]
        # Padding has ones on the diagonal of M.
        complement = torch.diag_embed(
            (~members).double() if spans else torch.ones_like(rows[..., 0])
        )
        if not spans:
            complement.baddbmm_(rows, rows.mT, alpha=-1)
        chosen: slice | Tensor = slice(None)
        if targets is not None:
            chosen = stack.classes
            own = own.gather(2, chosen[:, None, None].expand(-1, own.shape[1], 1))
        parts = _Parts(
            eigenvalues=eigenvalues,
            rows=rows,
            right=torch.cat([rows.mT, weights[chosen].expand(len(rows), -1, -1)], 2),
            constant=torch.cat([complement, own], 2),
            explained=explained[chosen],
            unexplained=unexplained[chosen],
            cancelled=torch.zeros_like(lengths[chosen]) if spans else lengths[chosen],
            n=n - stack.counts,
        )
        scores[stack.classes] = _max_evidence_of_parts(parts)
    return scores


@register_metric(
    "logme",
    summary="Log maximum evidence of a Bayesian linear model (term for N < D included)",
    tasks=frozenset({"single-label", "multi-label", "regression", "token"}),
    cost="min(N D^2, N^2 D) + 10 min(N, D)^3 + 300 min(N, D) C",
    reference="You et al., ICML 2021, arXiv:2102.11005",
    invariant_to=frozenset({"row order", "rotation"}),
    without_groups=_without_groups,
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
    positive = _positive(eigenvalues)
    nonzero = eigenvalues[positive]
    explained = z2[positive] / nonzero[:, None]
    if len(nonzero) == n:  # The features span the space of all targets.
        residual = torch.zeros_like(t2)
    else:
        residual = torch.maximum(t2 - explained.sum(0), _ROUNDING * t2)
    return _Targets(nonzero / nonzero.mean(), explained, residual, n)


def _positive(eigenvalues: Tensor) -> Tensor:
    """(r,) which of the eigenvalues, in ascending order, are more than rounding errors."""
    rounding = torch.finfo(eigenvalues.dtype).eps * len(eigenvalues)
    return eigenvalues > rounding * eigenvalues[-1]


def _grid(like: Tensor) -> Tensor:
    """(G,) logarithms of the ratio."""
    return math.log(10) * torch.linspace(
        -_DECADES,
        _DECADES,
        2 * _DECADES * _A_DECADE + 1,
        dtype=like.dtype,
        device=like.device,
    )


def _max_evidence(targets: _Targets, max_steps: int, tolerance: float) -> tuple[Tensor, int]:
    """(T,) maximum of the evidence per sample, and the steps of the slowest column.

    Args:
        targets: The target columns.
        max_steps: At most so many steps of Newton's method.
        tolerance: Rise of the evidence below which a column is finished.
    """
    grid = _grid(targets.residual)
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


def _evidence(unexplained: Tensor, penalty: Tensor, n: int | Tensor) -> Tensor:
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


class _Parts(NamedTuple):
    """All samples except those of a group, for B groups.

    Attributes:
        eigenvalues: (k,) of X'X of all samples in units of their mean, the positive ones.
        rows: (B, n, k) left singular vectors of all samples at the samples of each group.
        right: (B, k, n + T) transposed ``rows`` and the projections of the targets of all samples.
        constant: (B, n, n + T) identity less ``rows rows'``, and the part of the targets that no
            weights explain.
        explained: (1 or B, k, T) squared projections of the targets of all samples.
        unexplained: (1 or B, T) squared length of the part that no weights explain.
        cancelled: (1 or B, T) squared lengths from which ``unexplained`` was subtracted, or zero.
        n: (B,) number of samples that are left.
    """

    eigenvalues: Tensor
    rows: Tensor
    right: Tensor
    constant: Tensor
    explained: Tensor
    unexplained: Tensor
    cancelled: Tensor
    n: Tensor

    def evidence(self, ratio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evidence at a ratio, for all groups.

        Returns:
            (B, T) evidence per sample, -inf if M is singular; (B,) penalty; and (B, T) the
            error of the evidence from rounding errors of the decomposition.
        """
        free = ratio / (ratio + self.eigenvalues)
        both = torch.baddbmm(self.constant, self.rows * free, self.right)
        n = self.rows.shape[1]
        L, info = torch.linalg.cholesky_ex(both[..., :n])
        lengths = torch.linalg.solve_triangular(L, both[..., n:], upper=False).square_().sum(1)
        unexplained = self.unexplained + free @ self.explained - lengths
        penalty = torch.log1p(self.eigenvalues / ratio).sum()
        penalty = penalty + 2 * L.diagonal(dim1=1, dim2=2).log().sum(1)
        heights = _evidence(unexplained, penalty[:, None], self.n[:, None])
        failed = (info > 0) | ~heights.isfinite().all(1)
        eps = torch.finfo(ratio.dtype).eps
        noise = eps * self.eigenvalues.max() / ratio * (self.cancelled / unexplained).clamp(min=1)
        return (
            heights.masked_fill(failed[:, None], -math.inf),
            penalty.masked_fill(failed, 0),
            noise,
        )


def _max_evidence_of_parts(parts: _Parts) -> Tensor:
    """(B,) maximum of the evidence per sample, mean over targets; NaN where it takes a refit.

    The same grid is searched as for all samples, but most of its points are ruled out. Intervals in
    which the evidence can be higher than at all points so far are halved, down to the grid.
    """
    grid = _grid(parts.rows)
    heights = grid.new_full((len(grid), len(parts.n), parts.unexplained.shape[1]), -math.inf)
    noise = torch.zeros_like(heights)
    penalties = grid.new_zeros(len(grid), len(parts.n))
    failed = torch.zeros(len(parts.n), dtype=torch.bool, device=grid.device)
    seen: list[int] = []

    def visit(points: Iterable[int]) -> None:
        for point in set(points) - set(seen):
            heights[point], penalties[point], noise[point] = parts.evidence(grid[point].exp())
            failed.logical_or_(heights[point, :, 0].isinf())
            seen.append(point)
        seen.sort()

    visit(range(0, len(grid), _FIRST_STRIDE))
    while True:
        best = heights.amax(0).masked_fill(failed[:, None], math.inf)
        middle = [
            (low + high) // 2
            for low, high in pairwise(seen)
            if high - low > 1
            and bool(
                (
                    _limit(grid, low, high, heights, penalties, parts) + noise[low] > best + _EQUAL
                ).any()
            )
        ]
        if not middle:
            break
        visit(middle)

    peaks = heights.argmax(0)
    inside = (peaks >= _REACH) & (peaks < len(grid) - _REACH)
    offsets = torch.arange(-_REACH, _REACH + 1, device=grid.device)
    windows = offsets[:, None, None] + peaks.clamp(_REACH, len(grid) - 1 - _REACH)
    visit(windows[:, inside & ~failed[:, None]].flatten().tolist())
    refined = _peak_heights(offsets, heights.gather(0, windows))
    refined = torch.where(inside, refined.maximum(best), best)
    # The other peaks: a parabola rises between points by an eighth of its second difference.
    points = torch.tensor(seen, device=grid.device)[:, None, None]
    tops = heights[seen]
    beside = torch.cat([tops[:1], tops, tops[-1:]])
    bend = 2 * tops - beside[:-2] - beside[2:]
    is_peak = (tops >= beside[:-2]) & (tops >= beside[2:]) & (points != peaks)
    rival = is_peak & (tops > best - _GRID_LOSS) & (tops + bend / 4 > refined + 10 * _EQUAL)
    imprecise = (noise > _PRECISE) & (heights + noise > best)
    failed |= rival.any(0).any(1) | imprecise.any(0).any(1)
    return refined.mean(1).masked_fill(failed, math.nan)


def _limit(
    grid: Tensor, low: int, high: int, heights: Tensor, penalties: Tensor, parts: _Parts
) -> Tensor:
    """(B, T) evidence per sample that is not exceeded between two points of the grid.

    S is concave in the ratio and lies above its chord, as do the penalty, concave in the inverse of
    the ratio, and its sum with k times the logarithm of the ratio, concave in the ratio.

    Args:
        grid: (G,) logarithms of the ratio.
        low: Index of a point.
        high: Index of a higher point.
        heights: (G, B, T) evidence per sample.
        penalties: (G, B).
        parts: The samples.
    """
    steps = torch.linspace(0, 1, _CHORD_STEPS + 1, dtype=grid.dtype, device=grid.device)
    log = (grid[high] - grid[low]) * steps
    up = (log.expm1() / log[-1].expm1())[:-1]
    down = ((-log).expm1() / (-log[-1]).expm1())[1:]
    shares = penalties / parts.n  # (G, B)
    S_low, S_high = ((-2 * heights[i] - shares[i][:, None]).exp() for i in (low, high))
    S = torch.lerp(S_low[..., None], S_high[..., None], up)  # in units of N / (2 pi e)
    first, last = shares[low][:, None], shares[high][:, None]
    rank = len(parts.eigenvalues) / parts.n[:, None]
    share = torch.maximum(
        torch.lerp(first, last, down),
        torch.lerp(first, last + rank * log[-1], up) - rank * log[1:],
    )
    return (-0.5 * (S.log() + share[:, None])).amax(-1)


def _peak_heights(offsets: Tensor, heights: Tensor) -> Tensor:
    """(B, T) maximum, between the neighbours of the middle, of polynomials through points.

    Args:
        offsets: (P,) positions of the points.
        heights: (P, B, T).
    """
    places = offsets.double() / offsets[-1]
    powers = torch.arange(len(places), device=places.device).double()
    c = torch.linalg.solve(places[:, None] ** powers, heights.flatten(1))  # coefficients
    first = c[1:] * powers[1:, None]
    second = first[1:] * powers[1:-1, None]
    x = torch.zeros_like(c[0])
    for _ in range(_NEWTON_STEPS):
        slope, curvature = _horner(first, x), _horner(second, x)
        step = torch.where(curvature < 0, -slope / curvature, 0.0)
        x = (x + step).clamp(-places[_REACH + 1], places[_REACH + 1])
    return _horner(c, x).reshape(heights.shape[1:])


def _horner(coefficients: Tensor, x: Tensor) -> Tensor:
    value = torch.zeros_like(x)
    for c in coefficients.flip(0):
        value = value * x + c
    return value
