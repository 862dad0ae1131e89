"""Held-out class probabilities of one checkpoint: what its features would predict, sample by
sample.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hf_sfda.errors import MetricError
from hf_sfda.metrics import linalg
from hf_sfda.metrics.fisher import Discriminant, fit
from hf_sfda.metrics.folds import stratified_folds
from hf_sfda.metrics.problem import Problem
from hf_sfda.metrics.shrinkage import ledoit_wolf


def log_posteriors(problem: Problem, *, folds: int = 5) -> Tensor:
    """(N, C) logarithm of the posterior of each sample, by a fit that has not seen it.

    It is the first stage of ``sfda_cv``, on the same folds: linear discriminant analysis with
    Ledoit and Wolf's shrinkage on K - 1 folds, applied to the other one. The second stage is of no
    use here: it mixes a sample towards the classes it is *not* of, so it needs to know the answer.

    The folds depend on labels and seed alone, so the posteriors of several checkpoints can be
    combined and compared sample by sample.

    Args:
        problem: Features and labels.
        folds: K, at least 2; no more than N are made.

    Returns:
        (N, C) float64, rows add up to one after ``exp``. A class that is missing from the training
        folds has minus infinity.

    Raises:
        MetricError: ``folds`` is smaller than 2.
    """
    if folds < 2:
        raise MetricError(f"folds is {folds}; cross-fitting needs at least 2.")
    geometry, y = problem.geometry, problem.labels
    n_folds, n_classes = min(folds, len(problem)), problem.n_classes
    of_sample = stratified_folds(y.cpu().numpy(), n_folds, problem.seed)
    fold = torch.from_numpy(of_sample).to(y.device)
    X = geometry.coordinates - geometry.mean
    cells = fold * n_classes + y
    sums = linalg.group_sums(X, cells, n_folds * n_classes).view(n_folds, n_classes, -1)
    counts = torch.bincount(cells, minlength=n_folds * n_classes).double().view(n_folds, -1)
    grams = [linalg.gram(X[fold == k]) for k in range(n_folds)]

    out = X.new_empty(len(X), n_classes)
    for k in range(n_folds):
        others = [j for j in range(n_folds) if j != k]
        scatter = torch.zeros_like(grams[k])
        for j in others:  # added up anew, not taken off the total, so that nothing cancels
            scatter += grams[j]
        train = fold != k
        rule = _fit(X[train], y[train], sums[others].sum(0), counts[others].sum(0), scatter,
                    geometry.width)  # fmt: skip
        out[~train] = rule.log_probabilities(X[~train])
    return out


def _fit(
    X: Tensor, y: Tensor, sums: Tensor, counts: Tensor, scatter: Tensor, width: int
) -> Discriminant:
    """The rule of the training samples X (n, r), of which class sums and scatter are known."""
    means = sums / counts.clamp(min=1)[:, None]
    within = scatter.sub_((means * counts[:, None]).T @ means).div_(len(X))
    fourth = float(linalg.squared_distances(X, means, y).square().sum())
    shrinkage = ledoit_wolf(within, fourth, len(X), width)
    return fit(means, counts / len(X), within, shrinkage, width)
