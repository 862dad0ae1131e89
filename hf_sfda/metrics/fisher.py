"""Fisher's discriminant as SFDA uses it: shrunk within-class scatter, Bayes' rule, soft labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hf_sfda.metrics import linalg

_NO_SCATTER = 1e-12
"""Least within-class variance, as a share of the variance between classes. It replaces a variance
of zero, so that the rule is a nearest-mean rule and not 0 / 0."""


class Discriminant(NamedTuple):
    """A fitted linear rule; logits are ``X @ weights + bias``.

    Attributes:
        weights: (D, C).
        bias: (C,); minus infinity for a class that had no samples.
        jitter: Added to the diagonal so that the factorisation exists; usually 0.0.
    """

    weights: Tensor
    bias: Tensor
    jitter: float

    def probabilities(self, X: Tensor) -> Tensor:
        """(N, C) posterior of the rows of X (N, D)."""
        return self.log_probabilities(X).exp_()

    def log_probabilities(self, X: Tensor) -> Tensor:
        """(N, C) logarithm of :meth:`probabilities`."""
        return torch.log_softmax(linalg.product(X, self.weights).add_(self.bias), dim=1)

    def mixed_probabilities(self, X: Tensor, w: Tensor, y: Tensor, others: Tensor) -> Tensor:
        """(N, C) posterior of ``w_i x_i + (1 - w_i) m_{y_i}``, without computing these samples."""
        logits = linalg.product(X, self.weights).mul_(w[:, None])
        logits += ((1 - w)[:, None] * (others @ self.weights)[y]).add_(self.bias)
        return torch.softmax(logits, dim=1)


def fit(
    means: Tensor, priors: Tensor, within: Tensor, shrinkage: float, width: int
) -> Discriminant:
    """Linear discriminant analysis with covariance ``(1 - s) Sw + s (tr Sw / D) I``.

    The published SFDA projects on all generalised eigenvectors V of the shrunk problem; since
    ``V V'`` is the inverse of that covariance A, the rule is ``W = A^-1 M'`` and one Cholesky
    factorisation does it.

    Args:
        means: (C, r) class means.
        priors: (C,) class shares, 0 for absent classes.
        within: (r, r) within-class scatter Sw, biased. Overwritten.
        shrinkage: s.
        width: D, the dimension before a rotation; it divides the trace.
    """
    target = float(within.diagonal().sum()) / width
    floor = _NO_SCATTER * float(priors @ (means - priors @ means).square().sum(1)) / width
    if target <= floor:
        target, shrinkage = floor or 1.0, 1.0  # ``within`` holds rounding errors only
    A = within.mul_(1 - shrinkage)
    A.diagonal().add_(shrinkage * target)
    L, jitter = linalg.cholesky(A)
    weights = linalg.solve_lower_transposed(L, linalg.solve_lower(L, means.T))
    bias = priors.log() - 0.5 * (means.T * weights).sum(0)
    return Discriminant(weights, bias, jitter)


def other_means(means: Tensor, present: Tensor) -> Tensor:
    """(C, D) for each class the unweighted mean of the means of the other classes.

    Args:
        means: (C, D), zero for absent classes.
        present: (C,) float, 1 where the class has samples.
    """
    others = (present.sum() - present).clamp(min=1)
    return (means.sum(0) - means) / others[:, None]


def self_challenge(probabilities: Tensor, labels: Tensor) -> Tensor:
    """(N,) confidences w of ConfMix: softmax *of the probabilities*, at the true class.

    The second softmax is in the released code, not in the paper. It confines w to
    ``[1/C, e/(e + C - 1)]``: with many classes even a sample that is classified with certainty is
    mixed almost entirely with the other classes.
    """
    softened = torch.softmax(probabilities, dim=1)
    return softened.gather(1, labels[:, None])[:, 0]


class Mixed(NamedTuple):
    """Means and scatter of the training samples after ConfMix.

    Attributes:
        means: (C, D).
        within: (D, D) within-class scatter, biased.
    """

    means: Tensor
    within: Tensor


def mix(
    X: Tensor,
    w: Tensor,
    y: Tensor,
    others: Tensor,
    counts: Tensor,
    parts: Sequence[slice] = (slice(None),),
) -> Mixed:
    """Means and scatter of ``w_i x_i + (1 - w_i) m_{y_i}``, without computing these samples.

    Within class c every mixed sample is m_c + v_i with v_i = w_i (x_i - m_c), so that

        sum_i v_i v_i' = sum_i w_i^2 x_i x_i' - sum_c (b_c m_c' + m_c b_c') + sum_c q_c m_c m_c'

    where b_c = sum_{i in c} w_i^2 x_i and q_c = sum_{i in c} w_i^2.

    Args:
        X: (N, D), centred: means then are small beside the samples and nothing cancels.
        w: (N,) confidences.
        y: (N,) classes.
        others: (C, D) m, from :func:`other_means`.
        counts: (C,) samples of each class in ``parts``.
        parts: Which rows are training samples.
    """
    moments = linalg.weighted_moments(X, w, y, len(others), parts)
    sums = moments.first - moments.weight[:, None] * others  # of v
    means = sums / counts.clamp(min=1)[:, None]
    half = others.T @ (0.5 * moments.weight2[:, None] * others - moments.second)
    within = moments.gram.add_(half).add_(half.T).addmm_(sums.T, means, alpha=-1)
    present = (counts > 0).double()
    return Mixed((others + means) * present[:, None], within.div_(float(counts.sum())))
