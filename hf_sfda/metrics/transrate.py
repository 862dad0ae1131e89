"""TransRate: coding rate of all features less that of the features of one class."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_sfda.errors import MetricError
from hf_sfda.metrics import register_metric
from hf_sfda.metrics.by_class import stacks
from hf_sfda.metrics.problem import Problem
from hf_sfda.types import Score


@register_metric(
    "transrate",
    summary="Coding rate of all features less the mean rate within classes",
    tasks=frozenset({"single-label", "token"}),
    cost="N D^2 + sum_c n_c D min(n_c, D) + D^3",
    reference="Huang et al., ICML 2022, arXiv:2106.09362",
    invariant_to=frozenset({"row order", "translation", "rotation"}),
    width_sensitive=True,
)
def transrate(problem: Problem, *, epsilon: float = 1e-4) -> Score:
    r"""Coding rate of all features less the mean rate within classes.

    For centred features Z, :math:`R(Z) = \frac12 \log\det(I + \frac{Z^\top Z}{n \epsilon})` and
    the score is :math:`R(Z) - \frac1C \sum_c R(Z_c)`. Each determinant is taken on the shorter
    side of its matrix.

    Traps: through epsilon it depends on the scale of the features; wide features have higher rates;
    all classes have the same weight, as in the released implementation (the paper weights them
    by size).

    Args:
        problem: What to score.
        epsilon: Squared distortion.

    Raises:
        MetricError: ``epsilon`` is not positive.
    """
    if epsilon <= 0:
        raise MetricError(f"epsilon is {epsilon}; it must be positive.")
    geometry, counts = problem.geometry, problem.counts
    whole = float(torch.log1p(geometry.spectrum.values / (len(problem) * epsilon)).sum()) / 2
    within = sum(
        float(_rates(stack.grams / (stack.counts[:, None, None] * epsilon)).sum())
        for stack in stacks(geometry.centred, problem.labels, counts)
    )
    mean = within / problem.n_classes
    return Score("transrate", whole - mean, details={"rate": whole, "rate_within": mean})


def _rates(grams: Tensor) -> Tensor:
    """(B,) half the log-determinant of I plus each matrix."""
    eye = torch.eye(grams.shape[1], dtype=grams.dtype, device=grams.device)
    log_determinants: Tensor = torch.linalg.slogdet(grams + eye).logabsdet
    return log_determinants / 2
