"""Leave-one-out k-nearest-neighbour accuracy: the baseline that most users compute themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_sfda.errors import MetricError
from hf_sfda.metrics import register_metric
from hf_sfda.metrics.problem import Problem
from hf_sfda.metrics.reduction import skill
from hf_sfda.types import Score

_CELLS = 2**24
"""Distances held at a time (128 MB)."""


@register_metric(
    "knn",
    summary="Leave-one-out accuracy of k nearest neighbours (k = 5, Euclidean)",
    tasks=frozenset({"single-label", "multi-label", "regression", "token"}),
    cost="N^2 min(N, D)",
    reference="Cover & Hart, 1967",
    invariant_to=frozenset({"row order", "translation", "scale", "rotation"}),
    held_out=True,
    maximum=1.0,
)
def knn(problem: Problem, *, k: int = 5) -> Score:
    """Leave-one-out accuracy of k nearest neighbours (k = 5, Euclidean).

    ``per_sample`` is 1 where the majority of a sample's k nearest other samples has its label. Of
    classes with equally many votes the one with the nearest voter wins. Regression and multi-label
    predict the neighbours' mean and score R^2 over the outputs, which is 0 for the overall mean.

    Args:
        problem: What to score.
        k: Neighbours; 5 is between the 1 of PARC and the 20 of self-supervised papers. At most
            N - 1 are used.

    Raises:
        MetricError: ``k`` is not positive.
    """
    if k < 1:
        raise MetricError(f"k is {k}; it must be at least 1.")
    k = min(k, len(problem) - 1)
    geometry = problem.geometry
    neighbours = geometry.cached(("knn", k), lambda: nearest(geometry.centred, k))
    if problem.kind in ("regression", "multi-label"):
        shares = skill(problem.one_hot[neighbours].mean(1), problem.one_hot)
        return Score("knn", float(shares.mean()), shares.cpu().numpy(), {"k": float(k)})
    predicted = _vote(problem.labels[neighbours], problem.n_classes)
    hit = (predicted == problem.labels).double()
    return Score("knn", float(hit.mean()), hit.cpu().numpy(), {"k": float(k)})


def nearest(X: Tensor, k: int) -> Tensor:
    """(N, k) rows nearest to each row of X, itself excluded, nearest first.

    Args:
        X: (N, D), centred, so that |x|^2 - 2 x'z + |z|^2 loses few digits.
        k: At most N - 1.
    """
    lengths = X.square().sum(1)
    n = len(X)
    rows = max(1, _CELLS // n)
    out = torch.empty(n, k, dtype=torch.int64, device=X.device)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        distances = torch.addmm(lengths, X[start:stop], X.T, alpha=-2)  # + |x|^2, the same a row
        here = torch.arange(start, stop, device=X.device)
        distances[here - start, here] = float("inf")
        out[start:stop] = distances.topk(k, largest=False, sorted=True).indices
    return out


def _vote(neighbours: Tensor, n_classes: int) -> Tensor:
    """(N,) class with most votes among (N, k) neighbour classes, ties to the nearest voter."""
    n, k = neighbours.shape
    votes = torch.zeros(n, n_classes, dtype=torch.float64, device=neighbours.device)
    # 2^-(j + 2) for neighbour j: orders ties by the nearest voter, and never sums to a whole vote.
    bonus = 0.5 ** torch.arange(2, k + 2, dtype=torch.float64, device=neighbours.device)
    votes.scatter_add_(1, neighbours, (1 + bonus).expand(n, k).contiguous())
    return votes.argmax(1)
