"""PARC: do samples with similar features have the same labels?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hf_sfda.errors import MetricError
from hf_sfda.metrics import register_metric
from hf_sfda.metrics.pca import principal_components
from hf_sfda.metrics.problem import Geometry, Problem
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
    it comes from a randomised solver and depends on its seed). One-hot labels have only two
    distances, so the score is equivalent to an AUC. In the released code rounding errors decide the
    order of equal distances (4.14 instead of 7.11 on a golden input); here they tie. Memory is N^2:
    of more than ``max_samples`` a seeded sample is taken.

    Args:
        problem: What to score.
        dimensions: Principal components kept; ``None`` takes the features as they are.
        max_samples: Samples used.

    Raises:
        MetricError: One of the two numbers is too small for a correlation.
    """
    if max_samples < 3 or (dimensions is not None and dimensions < 1):
        raise MetricError(
            f"dimensions is {dimensions} and max_samples {max_samples}; they must be at least 1 "
            "and 3."
        )
    geometry, T = problem.geometry, problem.one_hot
    rows = _sample(len(problem), max_samples, problem.seed)
    of_features = geometry.cached(
        ("parc", dimensions, max_samples, problem.seed),
        lambda: _ranks(_upper(_dissimilarity(_standardised(geometry, dimensions, rows)))),
    )
    T = T[rows.to(T.device)]
    apart = (T - T.T).abs() if problem.kind == "regression" else _dissimilarity(T)
    correlation = _pearson(of_features, _ranks(_upper(apart)))
    return Score("parc", 100 * correlation, details={"samples": float(len(rows))})


def _sample(n: int, max_samples: int, seed: int) -> Tensor:
    """Rows to use, in order."""
    if n <= max_samples:
        return torch.arange(n)
    chosen = np.random.default_rng(seed).choice(n, max_samples, replace=False)
    return torch.from_numpy(np.sort(chosen))


def _standardised(geometry: Geometry, dimensions: int | None, rows: Tensor) -> Tensor:
    X = geometry.features if dimensions is None else principal_components(geometry, dimensions)
    X = X[rows.to(X.device)]
    spread = X.std(0, correction=0)
    return (X - X.mean(0)) / torch.where(spread > 0, spread, 1.0)


def _dissimilarity(X: Tensor) -> Tensor:
    """(N, N) one minus the correlation of rows; a constant row correlates with nothing."""
    R = X - X.mean(1, keepdim=True)
    lengths = torch.linalg.vector_norm(R, dim=1, keepdim=True)
    # A row of rounding errors is a constant row.
    is_constant = lengths <= 1e-12 * torch.linalg.vector_norm(X, dim=1, keepdim=True)
    R = torch.where(is_constant, 0.0, R / lengths)
    return 1 - R @ R.T


def _upper(M: Tensor) -> npt.NDArray[np.float64]:
    """Entries above the diagonal."""
    rows, columns = torch.triu_indices(len(M), len(M), 1, device=M.device)
    entries: npt.NDArray[np.float64] = M[rows, columns].cpu().numpy()
    return entries


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Distances that are equal must tie; rounding in the last digits would order them.
    from scipy.stats import rankdata

    ranks: npt.NDArray[np.float64] = rankdata(np.round(values, 12))
    return ranks


def _pearson(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Correlation, of ranks here and so Spearman's; 0 where one side is constant."""
    a, b = a - a.mean(), b - b.mean()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths > 0 else 0.0
