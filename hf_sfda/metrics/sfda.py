"""SFDA exactly as its authors released it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hf_sfda.metrics import register_metric
from hf_sfda.metrics.fisher import fit, mix, other_means, self_challenge
from hf_sfda.metrics.problem import Problem
from hf_sfda.metrics.reduction import by_classes
from hf_sfda.types import Score

_STRENGTH = 5.0
_MIN_SHRINKAGE = 1e-10
_SATURATED = 0.99


@register_metric(
    "sfda",
    summary="SFDA as released: in-sample probability after self-challenge (saturates)",
    tasks=frozenset({"single-label", "multi-label", "regression", "token"}),
    by_classes=frozenset({"multi-label", "regression"}),
    cost="2 N D^2 + 2 D^3/3 + 2 N D C; N^2 D where N < D",
    reference="Shao et al., ECCV 2022, arXiv:2207.03036; TencentARC/SFDA metrics.py",
    invariant_to=frozenset({"row order", "translation"}),
    maximum=1.0,
    width_sensitive=True,
)
def sfda(problem: Problem) -> Score:
    r"""SFDA as released: in-sample probability after self-challenge (saturates).

    With class means M, shares p and within-class scatter :math:`S_w` (biased, pooled):

    1. :math:`\lambda` = largest eigenvalue of :math:`S_w` by six power steps from its row sums;
       :math:`s = \max(e^{-5\lambda}, 10^{-10})`;
       :math:`A = (1-s) S_w + s \frac{\mathrm{tr} S_w}{D} I`.
    2. :math:`P = \mathrm{softmax}(X A^{-1} M^\top + b)` with
       :math:`b_c = -\frac12 m_c^\top A^{-1} m_c + \log p_c`.
    3. ConfMix: :math:`x_i \leftarrow w_i x_i + (1 - w_i) m_{y_i}`, where
       :math:`w_i = \mathrm{softmax}(P_i)_{y_i}` and :math:`m_c` is the unweighted mean of the
       means of the classes other than c.
    4. Fit again with the same s; the score is the mean probability of the true class.

    The paper states :math:`\lambda` in three ways, projects to C - 1 dimensions, mixes with P in
    place of softmax(P) and scores a log-likelihood; the released code, followed here to rounding,
    computes the above.

    Traps: the score is in-sample and goes to 1 on *random* labels when N is not much larger than
    D; through s it depends on the scale of the features. Use ``sfda_cv`` to rank. The power
    iteration starts from row sums, so s also depends slightly on the choice of basis.

    Regression and multi-label are ours, see :mod:`hf_sfda.metrics.reduction`.
    """
    return by_classes(problem, _of_classes)


def _of_classes(problem: Problem) -> Score:
    geometry, y, counts = problem.geometry, problem.labels, problem.counts
    X, n, width = geometry.centred, len(problem), geometry.width
    priors, means = counts / n, problem.class_means

    within = problem.within / n
    largest = _power_iteration(within, _row_sums_of_within(problem))
    shrinkage = max(math.exp(-_STRENGTH * largest), _MIN_SHRINKAGE)
    first = fit(means, priors, within, shrinkage, width)
    P = first.probabilities(X)
    w = self_challenge(P, y)

    others = other_means(means, torch.ones_like(counts))
    mixed = mix(X, w, y, others, counts)
    second = fit(mixed.means, priors, mixed.within, shrinkage, width)
    true = second.mixed_probabilities(X, w, y, others).gather(1, y[:, None])[:, 0]

    stage_one = float(P.gather(1, y[:, None]).mean())
    value = float(true.mean())
    warnings = []
    if value > _SATURATED:
        warnings.append(
            f"sfda is saturated at {value:.4f}: with {n} samples in {width} dimensions it may "
            "give random features as much"
        )
    if first.jitter or second.jitter:
        warnings.append("sfda: the within-class scatter is singular to machine precision")
    details = {
        "shrinkage": shrinkage,
        "largest_eigenvalue": largest,
        "stage_one_probability": stage_one,
        "mean_confidence": float(w.mean()),
    }
    return Score("sfda", value, true.cpu().numpy(), details, tuple(warnings))


def _row_sums_of_within(problem: Problem) -> Tensor:
    """(r,) Sw 1 in the rotated basis, where 1 is the all-ones vector of the *original* one."""
    sums, y, n = problem.geometry.row_sums, problem.labels, len(problem)
    by_class = sums.new_zeros(problem.n_classes).index_add_(0, y, sums) / problem.counts
    # sum_i (x_i - mu_{y_i}) r_i = sum_i x_i r_i, for the r of a class add up to zero.
    return problem.geometry.centred.T @ (sums - by_class[y]) / n


def _power_iteration(S: Tensor, start: Tensor) -> float:
    x = start
    for _ in range(3):
        u = _unit(S @ x)
        x = _unit(S @ u)
    return float(x @ (S @ u))


def _unit(t: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(t)
    return t / norm if norm > 0 else t  # no scatter at all: the eigenvalue is 0, not NaN
