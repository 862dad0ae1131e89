r"""A hundred shuffles of the labels for less than a hundred fits of cross-fitted SFDA.

Every shuffle gives the second stage other weights and so another Gram matrix; that is its cost.
Two levels of Monte Carlo avoid it:

    score of shuffle p  =  cheap score of p  +  what the cheap score missed

The cheap score is computed for all shuffles, the second term for the first few only, by scoring
these in full. Their misses are dealt out to the other shuffles in turn. The first few values are
thus exact; the mean over all has the expectation of the exact mean, whatever the cheap score gets
wrong on average; and the spread holds the spread of the misses too, so that a high quantile is not
taken from a distribution that is too narrow.

Labels are shuffled within the folds, which keeps the folds stratified and the same for all
shuffles. (Without a relation between features and labels all such shuffles are equally likely
given the folds, which were drawn from labels and seed alone: it is a permutation test.) So one
factorisation serves them all. With the training Gram matrix :math:`G = n S_t` and

.. math:: A_0 = (1 - s) G / n + s t I = L L^\top,

samples are whitened once, :math:`z = L^{-1} x`. For class means M (C x D) and shares
:math:`p`, with P = diag(p), the matrix of stage one is :math:`I - (1 - s) M^\top P M`, of rank C
beside the identity, and its inverse is C x C work (Woodbury). The cheap score makes three
approximations:

- Shrinkage s and sphere t, on which shuffles hardly differ, are those of the first one.
- Confidences of training samples are taken as linear in how far a sample lies from its class mean
  towards that class, :math:`w = \bar w + b u + \text{rest}`, fitted on a few hundred samples. With
  :math:`q_c = b S_w g_c`, g the direction of u, the mixed means are
  :math:`o_c + \bar w (m_c - o_c) + q_c` for the mean o of the other classes' means, and the mixed
  scatter is, with :math:`e_c = m_c - o_c`,

  .. math::
      \overline{w^2} S_w + \mathrm{var}(w) \sum_c p_c e_c e_c^\top
      + \bar w \sum_c p_c (q_c e_c^\top + e_c q_c^\top) - \sum_c p_c q_c q_c^\top,

  which is of rank 2C beside the identity.
- It works in single precision; whitened coordinates have no scale to lose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hf_sfda.metrics import linalg
from hf_sfda.metrics.crossfit import Plan, held_out, train
from hf_sfda.metrics.fisher import self_challenge

_EXACT, _EXACT_OF_SMALL, _SMALL = 2, 8, 512
"""Shuffles scored in full; more of them up to 512 dimensions, where that costs little. The spread
of the misses is a tenth to two thirds of that of the scores, so two put the mean within half a
spread, eight within a quarter."""

_ROUNDING = 1e-9
_FEW = 256
"""At most so many training samples estimate the confidences, and so many held-out samples are
scored."""


def shuffled_scores(
    plan: Plan, n_scored: int, n_shuffles: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Mean held-out probability on labels shuffled within the folds.

    Args:
        plan: Folds of the true labels.
        n_scored: Hold out so many of them, the first ones.
        n_shuffles: P.
        rng: Of the shuffles.

    Returns:
        (P,) scores; the first few are exact.
    """
    shuffles = [_shuffle(plan, rng) for _ in range(n_shuffles)]
    exact = min(_EXACT if plan.X.shape[1] > _SMALL else _EXACT_OF_SMALL, n_shuffles)
    relabelled = [plan.relabelled(y) for y in shuffles[:exact]]
    total, samples = np.zeros(n_shuffles), 0
    for k in range(n_scored):
        fold = _Fold.of(relabelled[0], k)
        cheap = np.array([fold.score(y) for y in shuffles])
        true = np.array([float(held_out(p, k).true[: fold.n_scored].mean()) for p in relabelled])
        misses = true - cheap[:exact]
        total += fold.n_scored * (cheap + misses[np.arange(n_shuffles) % exact])
        samples += fold.n_scored
    return total / samples


def _shuffle(plan: Plan, rng: np.random.Generator) -> Tensor:
    """(N,) classes, permuted within each fold."""
    parts = [plan.y[plan.held(k)] for k in range(len(plan.edges) - 1)]
    return torch.cat([y[torch.from_numpy(rng.permutation(len(y))).to(y.device)] for y in parts])


class _Rule(NamedTuple):
    """A fitted rule in whitened coordinates.

    Attributes:
        weights: (r, C).
        bias: (C,).
    """

    weights: Tensor
    bias: Tensor

    def logits(self, Z: Tensor) -> Tensor:
        return torch.addmm(self.bias, Z, self.weights)


@dataclass(frozen=True, eq=False)
class _Fold:
    """One fold held out and the others whitened, for any labels.

    Attributes:
        train: (n, r) float32 whitened training samples.
        held: (h, r) the same of held-out ones, those that are scored.
        rows: Training rows and scored rows of the plan.
        total: (r, r) float32 total scatter, whitened.
        shrinkage: s.
        priors: (C,) float32 shares.
    """

    train: Tensor
    held: Tensor
    rows: tuple[list[slice], slice]
    total: Tensor
    shrinkage: float
    priors: Tensor

    @classmethod
    def of(cls, plan: Plan, k: int) -> _Fold:
        fitted = train(plan, k)
        target = float(fitted.within.diagonal().sum()) / plan.width
        s = fitted.shrinkage
        if target <= 0:
            s, target = 1.0, 1.0  # constant features
        # G / n: the within-class scatter was computed from the Gram matrix G.
        A = fitted.within.addmm_(fitted.means.T * fitted.priors, fitted.means).mul_(1 - s)
        A.diagonal().add_(s * target)
        L, _ = linalg.cholesky(A)
        inverse = torch.linalg.solve_triangular(L, torch.eye(len(L)).to(L), upper=False)
        # Whitened, (A_0 - s t I) / (1 - s) = G / n. With s = 1 nothing is left of it but rounding.
        total = linalg.gram(inverse.T).mul_(-s * target)
        total.diagonal().add_(1)
        high = min(plan.held(k).stop, plan.held(k).start + _FEW)
        scored = slice(plan.held(k).start, high)
        whitened = inverse.T.float()
        return cls(
            train=torch.cat([plan.X[part].float() @ whitened for part in plan.training(k)]),
            held=plan.X[scored].float() @ whitened,
            rows=(plan.training(k), scored),
            total=total.div_(max(1 - s, _ROUNDING)).float(),
            shrinkage=s,
            priors=fitted.priors.float(),
        )

    @property
    def n_scored(self) -> int:
        return len(self.held)

    def score(self, labels: Tensor) -> float:
        """Mean probability of the scored samples' classes, cheaply."""
        y = torch.cat([labels[part] for part in self.rows[0]])
        p, C = self.priors, len(self.priors)
        counts = (p * len(y)).clamp(min=1)
        M = linalg.group_sums(self.train, y, C) / counts[:, None]
        eye = torch.eye(C).to(M)
        present = (p > 0).to(M)
        others = present / (present.sum() - present).clamp(min=1)[:, None] * (1 - eye)
        E = eye - others  # E M = M - O
        first = self._rule(M, -torch.diag(p), M, 1.0)

        # How the confidences of training samples depend on their position.
        few = torch.arange(0, len(y), max(1, len(y) // _FEW), device=y.device)
        Z, of = self.train[few], y[few]
        w = self_challenge(torch.softmax(first.logits(Z), 1), of)
        directions = E @ first.weights.T  # (C, r)
        u = ((Z - M[of]) * directions[of]).sum(1)
        mean, square = w.mean(), w.square().mean()
        slope = ((w - mean) * u).mean() / u.square().mean().clamp(min=1e-30)
        Q = slope * (directions @ self.total - (directions @ M.T * p) @ M)  # b Sw g

        basis = torch.cat([M, Q])  # everything below is a form in these 2C vectors
        zero = torch.zeros_like(eye)
        to_m, to_q = torch.cat([eye, zero], 1), torch.cat([zero, eye], 1)
        to_e, P = torch.cat([E, zero], 1), torch.diag(p)
        cross = to_q.T @ P @ to_e
        form = (square - mean**2) * to_e.T @ P @ to_e - square * to_m.T @ P @ to_m
        form += mean * (cross + cross.T) - to_q.T @ P @ to_q
        mixed = others @ M + mean * E @ M + Q
        second = self._rule(basis, form, mixed, float(square))

        Z, of = self.held, labels[self.rows[1]]
        w = self_challenge(torch.softmax(first.logits(Z), 1), of)[:, None]
        elsewhere = (others @ M @ second.weights)[of]
        logits = w * (Z @ second.weights) + (1 - w) * elsewhere + second.bias
        return float(torch.softmax(logits, 1).gather(1, of[:, None]).double().mean())

    def _rule(self, basis: Tensor, form: Tensor, means: Tensor, scale: float) -> _Rule:
        """Rule with covariance ``scale A_0 + (1 - s) basis' form basis``, by Woodbury."""
        eye = torch.eye(len(basis)).to(basis).double()
        inner = (1 - self.shrinkage) / scale * form.double()
        small = torch.linalg.solve(
            eye + inner @ (basis @ basis.T).double(), inner @ (basis @ means.T).double()
        )
        weights = (means.T - basis.T @ small.to(basis)) / scale
        return _Rule(weights, self.priors.log() - 0.5 * (means.T * weights).sum(0))
