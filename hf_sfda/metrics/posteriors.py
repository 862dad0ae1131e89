"""Held-out class probabilities of each sample, predicted from the features of one checkpoint."""

from __future__ import annotations

import math

import torch
from scipy.optimize import brentq
from torch import Tensor

from hf_sfda.errors import MetricError
from hf_sfda.metrics import linalg
from hf_sfda.metrics.fisher import Discriminant, fit
from hf_sfda.metrics.folds import stratified_folds
from hf_sfda.metrics.problem import Problem
from hf_sfda.metrics.shrinkage import ledoit_wolf

_SHARPEST, _FLATTEST = math.log(10.0), math.log(1e-3)
"""Limits of the exponent. Without them a posterior that is always right would become infinitely
sharp, and one that is worse than chance would be inverted."""
_LOWEST = -700.0
"""Replaces minus infinity, which cannot be multiplied by an exponent of zero."""


def log_posteriors(problem: Problem, *, folds: int = 5) -> Tensor:
    """(N, C) logarithm of the posterior of each sample, by a fit that has not seen it.

    It is the first stage of ``sfda_cv``, on the same folds: linear discriminant analysis with
    Ledoit and Wolf's shrinkage on K - 1 folds, applied to the other one. The second stage is not
    used: it mixes a sample with the other classes, so it needs the label that is to be predicted.

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
    n_classes = problem.n_classes
    fold = _folds(problem, folds)
    n_folds = int(fold.max()) + 1
    X = geometry.coordinates - geometry.mean
    cells = fold * n_classes + y
    sums = linalg.group_sums(X, cells, n_folds * n_classes).view(n_folds, n_classes, -1)
    counts = torch.bincount(cells, minlength=n_folds * n_classes).double().view(n_folds, -1)
    grams = [linalg.gram(X[fold == k]) for k in range(n_folds)]

    out = X.new_empty(len(X), n_classes)
    for k in range(n_folds):
        others = [j for j in range(n_folds) if j != k]
        scatter = torch.zeros_like(grams[k])
        for j in others:  # summed anew: a subtraction from the total would lose digits
            scatter += grams[j]
        train = fold != k
        rule = _fit(X[train], y[train], sums[others].sum(0), counts[others].sum(0), scatter,
                    geometry.width)  # fmt: skip
        out[~train] = rule.log_probabilities(X[~train])
    return out


def calibrated(problem: Problem, log_P: Tensor, *, folds: int = 5) -> Tensor:
    """(N, C) log-posteriors multiplied by the exponent that is most likely on the other folds.

    A discriminant in many dimensions is overconfident: on the emoji of the demo it is right for
    three samples in four and gives all of them a probability near one. Such posteriors cannot be
    averaged: where two models disagree, the more confident one wins and not the better one, and any
    model that adds uncertainty raises the likelihood, random weights too. One exponent a model
    (temperature scaling, Guo et al., ICML 2017, arXiv:1706.04599) keeps all decisions and
    calibrates the probabilities.

    Args:
        problem: Labels and seed.
        log_P: (N, C) from :func:`log_posteriors`.
        folds: The same K; the exponent of a fold is chosen on the others.
    """
    fold, y, z = _folds(problem, folds), problem.labels, log_P.clamp(min=_LOWEST)
    out = torch.empty_like(z)
    for k in range(int(fold.max()) + 1):
        held_out = fold == k
        power = _likeliest_power(z[~held_out], y[~held_out])
        out[held_out] = torch.log_softmax(power * z[held_out], dim=1)
    return out


def _likeliest_power(z: Tensor, y: Tensor) -> float:
    """The root of the slope of the log-likelihood, which is concave in the power."""
    true = float(z.gather(1, y[:, None]).mean())

    def slope(log_power: float) -> float:
        p = torch.softmax(math.exp(log_power) * z, dim=1)
        return true - float(p.mul_(z).sum(1).mean())

    if slope(_FLATTEST) <= 0:
        return math.exp(_FLATTEST)
    if slope(_SHARPEST) >= 0:
        return math.exp(_SHARPEST)
    return math.exp(brentq(slope, _FLATTEST, _SHARPEST, xtol=1e-3))


def _folds(problem: Problem, folds: int) -> Tensor:
    labels = problem.labels
    of_sample = stratified_folds(labels.cpu().numpy(), min(folds, len(problem)), problem.seed)
    return torch.from_numpy(of_sample).to(labels.device)


def _fit(
    X: Tensor, y: Tensor, sums: Tensor, counts: Tensor, scatter: Tensor, width: int
) -> Discriminant:
    """The rule of the training samples X (n, r), of which class sums and scatter are known."""
    means = sums / counts.clamp(min=1)[:, None]
    within = scatter.sub_((means * counts[:, None]).T @ means).div_(len(X))
    fourth = float(linalg.squared_distances(X, means, y).square().sum())
    shrinkage = ledoit_wolf(within, fourth, len(X), width)
    return fit(means, counts / len(X), within, shrinkage, width)
