"""Leave-one-out accuracy of a ridge classifier, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_sfda.metrics import register_metric
from hf_sfda.metrics.problem import Problem
from hf_sfda.metrics.reduction import skill
from hf_sfda.types import Score

_ROWS = 2048
_GRID = torch.logspace(-6, 4, 81, dtype=torch.float64)
"""Penalties tried, in units of the mean eigenvalue of the scatter matrix: eight a decade."""


@register_metric(
    "linear_probe",
    summary="Leave-one-out accuracy of a ridge classifier, penalty by GCV",
    tasks=frozenset({"single-label", "multi-label", "regression", "token"}),
    cost="2 N D^2 + 10 D^3 + N D C; N^2 D where N < D",
    reference="Allen, 1974 (PRESS); Golub, Heath & Wahba, 1979 (GCV)",
    invariant_to=frozenset({"row order", "translation", "scale", "rotation"}),
    held_out=True,
    maximum=1.0,
)
def linear_probe(problem: Problem) -> Score:
    r"""Leave-one-out accuracy of a ridge classifier, penalty by GCV.

    Ridge regression on one-hot classes with an unpenalised intercept; the class with the largest
    prediction wins. With the hat matrix H of that fit, the prediction for sample i of the fit
    without it is :math:`(\hat y_i - h_{ii} y_i) / (1 - h_{ii})`, so N refits cost one
    eigen-decomposition. The penalty is the one of least generalised cross-validation error,
    which does not use the held-out predictions, so the choice does not inflate the accuracy.

    ``per_sample`` is 1 where the left-out sample was classified correctly. Regression and
    multi-label score the R^2 of the left-out predictions over the outputs.
    """
    geometry, Y = problem.geometry, problem.one_hot
    n = len(problem)
    values, vectors = geometry.spectrum
    base = Y.mean(0)
    B = vectors.T @ (geometry.centred.T @ Y)  # (r, C)
    penalty = _gcv(values, B, (Y - base).square().sum(), n)
    shrink = 1 / (values + penalty)  # (r,)
    coefficients = shrink[:, None] * B
    predictions = torch.empty_like(Y)
    for start in range(0, n, _ROWS):
        rows = slice(start, start + _ROWS)
        Z = geometry.centred[rows] @ vectors
        leverage = (1 / n + Z.square() @ shrink)[:, None].clamp(max=1 - 1e-12)
        fitted = torch.addmm(base, Z, coefficients)
        predictions[rows] = (fitted - leverage * Y[rows]) / (1 - leverage)
    if problem.kind in ("regression", "multi-label"):
        shares = skill(predictions, Y)
    else:
        shares = (predictions.argmax(1) == problem.labels).double()
    unit = float(values.mean()) or 1.0
    details = {
        "penalty": penalty,
        "relative_penalty": penalty / unit,
        "squared_error": float((predictions - Y).square().sum(1).mean()),
    }
    return Score("linear_probe", float(shares.mean()), shares.cpu().numpy(), details)


def _gcv(values: Tensor, B: Tensor, total: Tensor, n: int) -> float:
    """Penalty with the least ``RSS / (1 - df / n)^2``.

    Args:
        values: (r,) eigenvalues of the scatter matrix.
        B: (r, C) projections of X'Y on its eigenvectors.
        total: Squared length of the centred targets.
        n: Samples.
    """
    unit = float(values.mean()) or 1.0
    grid = unit * _GRID.to(values.device)
    explained = B.square().sum(1)
    # Squared projections of the targets on the principal directions of the features. A direction
    # that is only rounding explains nothing; its share stays in the unexplained part.
    positive = values > torch.finfo(torch.float64).eps * n * values.max()
    inside = torch.where(
        positive, explained / values.clamp(min=torch.finfo(torch.float64).tiny), 0.0
    )
    outside = (total - inside.sum()).clamp(min=0)
    shrunk = values[:, None] + grid  # (r, G)
    residual = outside + inside @ (grid / shrunk).square()
    freedom = 1 + (values[:, None] / shrunk).sum(0)
    spare = (1 - freedom / n).clamp(min=1e-12)
    return float(grid[(residual / spare.square()).argmin()])
