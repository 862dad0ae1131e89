"""Stage two with a Gram matrix in float32, where this is shown to be harmless to the score.

Stage two solves ``A W = M'``, where A is the shrunk scatter of mixed samples. Its Gram matrix takes
most of the time of ``sfda_cv``, and float32 halves it: products of float32 in blocks of rows, which
are added up in float64. A bound on rounding errors for all inputs is far too large to be of use
(it has D times the condition number of A), so the error of *this* solution W is measured:

1. A is applied in float64, without its Gram matrix, to ``W z``, where z are normal draws. Every
   error is in the residual ``R z = M' z - A W z``: that of the rounded samples, of the sums, of
   the factorisation and of the solution.
2. The score is the mean of ``f(l_i)``, where f is a softmax and the logits ``l_i`` are linear in W.
   By Taylor's theorem, an error ``dW = A^-1 R`` changes it by at most
   ``|tr B| + max |f''| / 2 mean |dl_i|^2``. B is (C, C), ``Q' dW``, Q the derivative of the score
   by W, and ``|f''| <= 1/2``. No higher terms are left out.
3. The draws give ``z'B z``, whose mean is ``tr B``, and the lengths of ``B z`` and of ``dl_i' z``,
   whose mean squares are ``|B|^2`` and ``|dl_i|^2``. :func:`bound_on_trace` and
   :data:`_LEAST_SHARE` say how far a mean of draws can be from what it estimates, for every B.

So the bound holds for all features. Only unlucky draws break it, in at most one of 100,000 folds.
It assumes that float64 is exact, and that the factor in float32, by which ``A^-1 R`` is computed,
has a small relative error. The second is checked in the directions of W (:data:`_ROUGH`).

As long as the sum exceeds :data:`TOLERANCE`, W is refined: ``A^-1 R`` is added, with R in float64.
That leaves a thousandth of the error or less. Where two steps do not suffice, the fold is computed
in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hf_sfda.metrics import linalg
from hf_sfda.metrics.fisher import Discriminant

TOLERANCE = 1e-6
"""Largest error of a fold's mean probability. The standard error of a score is a thousand times
larger: 0.001 needs 100,000 samples."""

_WORTH = 1e9
"""N r^2 from which float32 saves a tenth of a second. Below, all work is in float64."""

_SAFE = 30
"""Powers of two by which samples may differ from 1 in size: their squares fit into float32."""

_STEPS = 2
_DRAWS = 24

_RARE = 13.0
"""Minus the logarithm of the probability that a mean of ``z'B z`` is too large, or too small."""

_LEAST_SHARE = 0.145
"""A mean of squared lengths of ``B z`` is at least this share of its expectation, except
with a probability of 2.5e-6. For squares of normal draws with weights a_k that add up to 1,
``E exp(-t sum a_k z_k^2) <= (1 + 2 t)^-1/2``, so Chernoff's bound is ``(s exp(1 - s))^(m/2)`` for
a share s and m draws."""

_ROUGH = 0.1
"""Largest share of ``W z`` that one refinement may change. It is the relative error of the factor
in these directions."""

_SEPARATE = 1e-6
"""Least share of the scatter of mixed samples that lies within classes. Below, differences of
nearly equal numbers decide."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Samples in float32.

    Attributes:
        X: (N, r) float32.
        unit: Power of two; the samples are ``unit * X``. It is 1 unless squares would overflow.
    """

    X: Tensor
    unit: float

    @classmethod
    def of(cls, X: Tensor) -> Rows | None:
        """Float32 copy of X (N, r), float64; ``None`` where it would not save time."""
        if X.device.type != "cpu" or X.shape[0] * X.shape[1] ** 2 < _WORTH:
            return None
        return cls.cast(X)

    @classmethod
    def cast(cls, X: Tensor) -> Rows | None:
        """The same for X of any size; ``None`` where all samples are zero."""
        size = float(torch.linalg.vector_norm(X)) / math.sqrt(X.numel())
        if not 0 < size < math.inf:
            return None
        exponent = round(math.log2(size))
        unit = 1.0 if abs(exponent) < _SAFE else 2.0**exponent
        return cls(linalg.single(X, unit), unit)


class Stage(NamedTuple):
    """What a fold's second stage is made of.

    Attributes:
        X: (N, r) float64 centred samples.
        w: (N,) confidences.
        y: (N,) classes.
        others: (C, r) what samples are mixed with.
        counts: (C,) class sizes in ``parts``.
        shrinkage: s.
        width: D, the dimension before a rotation.
        parts: Rows of the training samples.
        held: Rows of the held-out samples.
    """

    X: Tensor
    w: Tensor
    y: Tensor
    others: Tensor
    counts: Tensor
    shrinkage: float
    width: int
    parts: Sequence[slice]
    held: slice


class Answer(NamedTuple):
    """Held-out probabilities of stage two, and how wrong they may be.

    Attributes:
        probabilities: (n, C) of the held-out samples.
        bound: On the error of their mean at the true class.
    """

    probabilities: Tensor
    bound: float


def second_stage(stage: Stage, rows: Rows, steps: int = _STEPS) -> Answer | None:
    """Held-out probabilities by a Gram matrix in float32; ``None`` where float32 cannot solve it.

    Args:
        stage: The fold.
        rows: Its samples in float32.
        steps: How many times the solution is refined, as long as the bound is too large.
    """
    shrunk = _Shrunk.of(stage)
    if shrunk is None:
        return None
    solve = _solver(stage, rows, shrunk)
    if solve is None:
        return None
    held = stage.held
    X, w, y = stage.X[held], stage.w[held], stage.y[held]
    log_priors = (stage.counts / stage.counts.sum()).log()
    weights = solve(shrunk.means.T)
    while True:
        bias = log_priors - 0.5 * (shrunk.means.T * weights).sum(0)
        P = Discriminant(weights, bias, 0.0).mixed_probabilities(X, w, y, stage.others)
        answer = Answer(P, _bound(stage, shrunk, solve, weights, P))
        if answer.bound <= TOLERANCE or steps == 0:
            return answer
        steps -= 1
        weights = weights + solve((shrunk.means - shrunk(weights.T)).T)


@dataclass(frozen=True, eq=False)
class _Shrunk:
    """The matrix A of stage two in float64, as a function of vectors.

    Attributes:
        stage: The fold.
        low: (C, r) K of the terms ``others' K + K' others`` of the scatter.
        sums: (C, r) class sums of the mixed samples, from ``others``.
        shifts: (C, r) their means.
        means: (C, r) class means of the mixed samples, zero for absent classes.
        ridge: What shrinkage adds to the diagonal.
    """

    stage: Stage
    low: Tensor
    sums: Tensor
    shifts: Tensor
    means: Tensor
    ridge: float

    @classmethod
    def of(cls, stage: Stage) -> _Shrunk | None:
        others, counts = stage.others, stage.counts
        moments = linalg.weighted_sums(stage.X, stage.w, stage.y, len(others), stage.parts)
        sums = moments.first - moments.weight[:, None] * others
        shifts = sums / counts.clamp(min=1)[:, None]
        low = 0.5 * moments.weight2[:, None] * others - moments.second
        spread = moments.square + 2 * float((others * low).sum())  # about ``others``
        within = spread - float((sums * shifts).sum())
        if not within > _SEPARATE * max(spread, moments.square):
            return None
        present = (counts > 0).double()[:, None]
        ridge = stage.shrinkage * within / float(counts.sum()) / stage.width
        return cls(stage, low, sums, shifts, (others + shifts) * present, ridge)

    def __call__(self, V: Tensor) -> Tensor:
        """(m, r) product V A, V (m, r)."""
        stage, others = self.stage, self.stage.others
        out = linalg.weighted_gram_times(V, stage.X, stage.w, stage.parts)
        out += (V @ others.T) @ self.low + (V @ self.low.T) @ others
        out -= (V @ self.sums.T) @ self.shifts
        out *= (1 - stage.shrinkage) / float(stage.counts.sum())
        return out.add_(V, alpha=self.ridge)


class _Solver(NamedTuple):
    """``A^-1`` by a Cholesky factor in float32."""

    factor: Tensor
    unit: float

    def __call__(self, B: Tensor) -> Tensor:
        """(r, m) float64 solution of ``A X = B`` to the precision of float32."""
        half = linalg.solve_lower(self.factor, (B / self.unit).float())
        return linalg.solve_lower_transposed(self.factor, half).double() / self.unit


def _solver(stage: Stage, rows: Rows, shrunk: _Shrunk) -> _Solver | None:
    unit = rows.unit
    centres, shifts = ((t / unit).float() for t in (stage.others, shrunk.shifts))
    A = linalg.single_scatter(rows.X, stage.w.float(), stage.y, centres, shifts, stage.parts)
    A.mul_((1 - stage.shrinkage) / float(stage.counts.sum()))
    A.diagonal().add_(shrunk.ridge / unit**2)
    # The blocks above the diagonal are filled, so that the lower triangle is the transposed one's.
    factor, info = torch.linalg.cholesky_ex(A.float().T)
    return None if info.item() else _Solver(factor, unit)


def _bound(stage: Stage, shrunk: _Shrunk, solve: _Solver, weights: Tensor, P: Tensor) -> float:
    """Bound on the error of the mean probability at the true class, as the module explains."""
    held, others, means = stage.held, stage.others, shrunk.means
    X, w, y = stage.X[held], stage.w[held], stage.y[held]
    draws = torch.Generator().manual_seed(0)
    Z = torch.randn(_DRAWS, P.shape[1], generator=draws, dtype=torch.float64)
    # Draws in rows, here and below: (W z)', and its error, (A^-1 R z)'.
    solution = Z @ weights.T
    error = solve((Z @ means - shrunk(solution)).T).T
    if (error.norm(dim=1) > _ROUGH * solution.norm(dim=1)).any():
        return math.inf

    true = P.gather(1, y[:, None])
    slope = -true * P  # of the probability of the true class, by the logits
    slope.scatter_add_(1, y[:, None], true)
    slope /= len(P)
    # The logits are x'W + b of mixed samples x, and b = log p - 1/2 diag(M W).
    logits = w * (error @ X.T) + (1 - w) * (error @ others.T)[:, y]
    biases = -0.5 * error @ means.T
    first = bound_on_trace(Z, logits @ slope + slope.sum(0) * biases)
    # |a + b|^2 is at most 2 |a|^2 + 2 |b|^2.
    second = 0.5 * (logits.square().sum() / len(P) + biases.square().sum()) / _DRAWS
    return first + float(second) / _LEAST_SHARE


def bound_on_trace(Z: Tensor, BZ: Tensor) -> float:
    """Bound on ``|tr B|`` of a square matrix B that is known by its products with normal draws.

    With probability ``1 - 2 exp(-t)``, a mean of m draws of ``z'B z`` differs from ``tr B`` by at
    most ``(2 sqrt(t / m) + 2 t / m) |B|`` (Boucheron, Lugosi and Massart, Concentration
    Inequalities, 2013, section 2.4; the spectral norm is at most the Frobenius norm ``|B|``).

    Args:
        Z: (m, C) normal draws.
        BZ: (m, C) products ``(B z)'``.

    Returns:
        A number that is below ``|tr B|`` for at most 7e-6 of all draws, whatever B is.
    """
    rate = _RARE / len(Z)
    size = (BZ.square().sum(1).mean() / _LEAST_SHARE).sqrt()
    return float((Z * BZ).sum(1).mean().abs() + 2 * (math.sqrt(rate) + rate) * size)
