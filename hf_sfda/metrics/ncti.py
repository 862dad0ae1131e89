"""NCTI: how close the features are to neural collapse, relative to the other candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hf_sfda.metrics import linalg, register_metric
from hf_sfda.metrics.by_class import stacks
from hf_sfda.metrics.fisher import fit
from hf_sfda.metrics.pca import principal_components
from hf_sfda.metrics.problem import Problem
from hf_sfda.types import Score

_DIMENSIONS = 64
_EXPLAINED = 32
_MIN_SHRINKAGE = 1e-10


def rescale(scores: Sequence[Score]) -> list[float]:
    """Final scores of all candidates together: minmax(P) + minmax(F) - minmax(V).

    Args:
        scores: Of every candidate, in any order.

    Returns:
        One number a candidate, in that order. A term on which all agree counts nothing.
    """

    def minmax(key: str) -> np.ndarray:
        values = np.array([score.details[key] for score in scores])
        width = np.ptp(values)
        return (values - values.min()) / width if width > 0 else np.zeros(len(values))

    total = minmax("true_class_probability") + minmax("feature_nuclear_norm")
    return [float(value) for value in total - minmax("log_class_nuclear_norm")]


@register_metric(
    "ncti",
    summary="Neural collapse, compared over the pool of candidates",
    tasks=frozenset({"single-label", "token"}),
    cost="N D^2 + 10 D^3 + N D d + N C min(C, n_c)",
    reference="Wang et al., How Far Pre-trained Models Are from Neural Collapse, ICCV 2023",
    invariant_to=frozenset({"row order", "translation", "rotation"}),
    rescale_across_candidates=rescale,
    width_sensitive=True,
)
def ncti(problem: Problem) -> Score:
    r"""Neural collapse, compared over the pool of candidates.

    On 64 principal components, with :math:`a = \max(e^{-\sum_{j \le 32} \mathrm{var}_j}, 10^{-10})`
    as shrinkage of a linear discriminant analysis, three terms:

    - F, nuclear norm of the centred projection on its C - 1 discriminants (all features);
    - P, mean probability of the true class;
    - V, logarithm of the summed nuclear norms of each class's probabilities.

    The published score is minmax(P) + minmax(F) - minmax(V) over the candidates, so one more or one
    less changes everyone's: :func:`rescale` does it at ranking. The value of one candidate alone is
    P; all terms are in ``details``.

    Traps: F and a depend on the scale of the features; scores of different pools do not compare.
    """
    Z = principal_components(problem.geometry, _DIMENSIONS)
    y, counts, n = problem.labels, problem.counts, len(problem)
    width, n_classes = Z.shape[1], problem.n_classes
    total = linalg.gram(Z) / n
    variances = total.diagonal() * n / (n - 1)
    shrinkage = max(math.exp(-float(variances[:_EXPLAINED].sum())), _MIN_SHRINKAGE)
    means = linalg.group_sums(Z, y, n_classes) / counts[:, None]
    priors = counts / n
    within = total - (means * priors[:, None]).T @ means
    rule = fit(means, priors, within.clone(), shrinkage, width)
    P = rule.probabilities(Z)
    feature_norm = _discriminant_nuclear_norm(total, within, shrinkage, n, n_classes)
    class_norm = sum(
        float(torch.linalg.eigvalsh(stack.grams).clamp(min=0).sqrt().sum())
        for stack in stacks(P, y, counts)
    )
    true = P.gather(1, y[:, None])[:, 0]
    details = {
        "true_class_probability": float(true.mean()),
        "feature_nuclear_norm": feature_norm,
        "log_class_nuclear_norm": math.log(class_norm),
        "shrinkage": shrinkage,
    }
    return Score("ncti", float(true.mean()), details=details)


def _discriminant_nuclear_norm(
    total: Tensor, within: Tensor, shrinkage: float, n: int, n_classes: int
) -> float:
    """Sum of the singular values of the centred samples on the leading discriminants."""
    width = len(total)

    def shrunk(S: Tensor) -> Tensor:
        out = (1 - shrinkage) * S
        out.diagonal().add_(shrinkage * S.diagonal().sum() / width)
        return out

    A = shrunk(within)
    A.diagonal().clamp_(min=torch.finfo(torch.float64).tiny)
    L, _ = linalg.cholesky(A)
    between = total - within if shrinkage == 0 else shrunk(total) - A
    half = torch.linalg.solve_triangular(L, between, upper=False)
    whitened = torch.linalg.solve_triangular(L, half.mT, upper=False)
    _, vectors = torch.linalg.eigh((whitened + whitened.mT) / 2)
    keep = min(n_classes - 1, width)
    V = torch.linalg.solve_triangular(L.mT, vectors[:, -keep:], upper=True)
    spread = torch.linalg.eigvalsh(n * (V.mT @ total @ V)).clamp(min=0)
    return float(spread.sqrt().sum())
