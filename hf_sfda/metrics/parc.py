"""PARC: do samples that look alike to the network have the same labels?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata
from torch import Tensor

from hf_sfda.errors import MetricError
from hf_sfda.metrics import register_metric
from hf_sfda.metrics.pca import principal_components
from hf_sfda.metrics.problem import Problem
from hf_sfda.types import Score


@register_metric(
    "parc",
    summary="Rank correlation of pairwise distances of features and of labels",
    tasks=frozenset({"single-label", "multi-label", "regression", "token"}),
    cost="N D^2 + 10 D^3 + N^2 (d + C) + N^2 log N, at most 5,000 samples",
    reference="Bolya et al., NeurIPS 2021, arXiv:2111.06977",
    invariant_to=frozenset({"row order", "translation", "scale", "rotation"}),
)
def parc(problem: Problem, *, dimensions: int | None = 32, max_samples: int = 5000) -> Score:
    r"""Rank correlation of pairwise distances of features and of labels.

    Features are reduced to 32 principal components and standardised; distances are
    :math:`1 - \mathrm{corr}` between samples, for one-hot labels likewise; the score is 100 times
    Spearman's correlation of the two upper triangles. Regression takes the difference of targets
    as distance.

    Traps: components are known up to their sign, and the correlation *between samples* depends on
    it; here the largest coordinate of each is made positive, which no rotation changes (as released
    it comes from a randomised solver and depends on its seed). One-hot labels have two distances
    only, so the score is an AUC in disguise, and the released code lets rounding order distances
    that are equal (4.14 for 7.11 on a golden input); here they tie. Memory is N^2: of more than
    ``max_samples`` a seeded sample is taken.

    Args:
        problem: What to score.
        dimensions: Principal components kept; ``None`` takes the features as they are.
        max_samples: Samples used.

    Raises:
        MetricError: Either number is too small to correlate anything.
    """
    if max_samples < 3 or (dimensions is not None and dimensions < 1):
        raise MetricError(
            f"dimensions is {dimensions} and max_samples {max_samples}; they must be at least 1 "
            "and 3."
        )
    X, T = problem.features, problem.one_hot
    if dimensions is not None:
        X = principal_components(problem.geometry, dimensions)
    if len(X) > max_samples:
        chosen = np.random.default_rng(problem.seed).choice(len(X), max_samples, replace=False)
        rows = torch.from_numpy(np.sort(chosen)).to(X.device)
        X, T = X[rows], T[rows]
    spread = X.std(0, correction=0)
    X = (X - X.mean(0)) / torch.where(spread > 0, spread, 1.0)
    upper = torch.triu_indices(len(X), len(X), 1, device=X.device)
    of_labels = (T - T.T).abs() if problem.kind == "regression" else _dissimilarity(T)
    pairs = (upper[0], upper[1])
    correlation = _spearman(_dissimilarity(X)[pairs], of_labels[pairs])
    return Score("parc", 100 * correlation, details={"samples": float(len(X))})


def _dissimilarity(X: Tensor) -> Tensor:
    """(N, N) one minus the correlation of rows; a constant row correlates with nothing."""
    R = X - X.mean(1, keepdim=True)
    lengths = torch.linalg.vector_norm(R, dim=1, keepdim=True)
    # A row of rounding errors is a constant row.
    is_constant = lengths <= 1e-12 * torch.linalg.vector_norm(X, dim=1, keepdim=True)
    R = torch.where(is_constant, 0.0, R / lengths)
    return 1 - R @ R.T


def _spearman(a: Tensor, b: Tensor) -> float:
    """Spearman's correlation; 0 where one side is constant."""
    ranks = [_ranks(values) for values in (a, b)]
    deviations = [rank - rank.mean() for rank in ranks]
    lengths = [float(np.linalg.norm(deviation)) for deviation in deviations]
    if min(lengths) == 0:
        return 0.0
    return float(deviations[0] @ deviations[1]) / (lengths[0] * lengths[1])


def _ranks(values: Tensor) -> npt.NDArray[np.float64]:
    # Label distances that are equal must tie; rounding in the last digits would order them.
    ranks: npt.NDArray[np.float64] = rankdata(np.round(values.cpu().numpy(), 12))
    return ranks
