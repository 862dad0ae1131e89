"""GBC: overlap between classes that are modelled as Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_sfda.errors import MetricError
from hf_sfda.metrics import linalg, register_metric
from hf_sfda.metrics.pca import principal_components
from hf_sfda.metrics.problem import Problem
from hf_sfda.types import Score

_FLOOR = 1e-4
_CELLS = 2**24


@register_metric(
    "gbc",
    summary="Minus the summed Bhattacharyya overlap of classes as Gaussians",
    tasks=frozenset({"single-label", "token"}),
    cost="N D^2 + 10 D^3 + N D d + C^2 d",
    reference="Pandy et al., CVPR 2022, arXiv:2111.12780",
    invariant_to=frozenset({"row order", "translation", "rotation"}),
    width_sensitive=True,
)
def gbc(problem: Problem, *, dimensions: int = 64, covariance: str = "spherical") -> Score:
    r"""Minus the summed Bhattacharyya overlap of classes as Gaussians.

    On 64 principal components, with class means :math:`\mu_c` and variances :math:`v_c` (one
    number a class, or one a dimension), :math:`\bar v = (v_a + v_b) / 2` and

    .. math::
        D_{ab} = \sum_j \frac{(\mu_{aj} - \mu_{bj})^2}{8 \bar v_j}
        + \frac12 \log \bar v_j - \frac14 \log v_{aj} - \frac14 \log v_{bj},

    the score is :math:`-\sum_{a \ne b} e^{-D_{ab}}`.

    Traps: variances are at least 1e-4, so the unit of the features matters where they are small.
    The sum is not divided by the number of pairs, so scores on targets with different numbers of
    classes cannot be compared.

    Args:
        problem: What to score.
        dimensions: Principal components kept.
        covariance: ``spherical`` or ``diagonal``.

    Raises:
        MetricError: There is no such covariance.
    """
    if covariance not in ("spherical", "diagonal"):
        raise MetricError(f"covariance is {covariance!r}; allowed are spherical, diagonal.")
    Z = principal_components(problem.geometry, dimensions)
    y, counts = problem.labels, problem.counts[:, None]
    means = linalg.group_sums(Z, y, problem.n_classes) / counts
    variances = linalg.group_sums((Z - means[y]).square_(), y, problem.n_classes) / counts
    if covariance == "spherical":
        variances = variances.mean(1, keepdim=True).expand_as(means)
    return Score("gbc", -_overlap(means, variances.clamp(min=_FLOOR)))


def _overlap(means: Tensor, variances: Tensor) -> float:
    """Sum of exp(-D) over ordered pairs of different classes; (C, d) each."""
    n_classes, d = means.shape
    half = 0.25 * variances.log().sum(1)
    total = -float(n_classes)  # a class overlaps itself fully, and does not count
    rows = max(1, _CELLS // (n_classes * d))
    for start in range(0, n_classes, rows):
        some = slice(start, start + rows)
        mid = 0.5 * (variances[some, None] + variances)  # (B, C, d)
        apart = ((means[some, None] - means).square() / mid).sum(2) / 8
        distance = apart + 0.5 * mid.log().sum(2) - half[some, None] - half
        total += float(torch.exp(-distance).sum())
    return max(total, 0.0)
