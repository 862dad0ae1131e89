"""Cross-fitted SFDA: the same two stages, scored on samples neither stage has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from hf_sfda.errors import MetricError
from hf_sfda.metrics import linalg, register_metric
from hf_sfda.metrics.fisher import fit, mix, other_means, self_challenge
from hf_sfda.metrics.folds import stratified_folds
from hf_sfda.metrics.problem import Problem
from hf_sfda.metrics.reduction import by_classes
from hf_sfda.metrics.shrinkage import ledoit_wolf
from hf_sfda.types import Score

_MIN_LOG = math.log(1e-12)
_ENOUGH = 200
"""Held-out samples behind the score of one shuffle of the labels."""


@register_metric(
    "sfda_cv",
    summary="Cross-fitted SFDA: held-out probability after self-challenge (default)",
    tasks=frozenset({"single-label", "multi-label", "regression", "token"}),
    cost="K N D^2 + 2 K D^3/3 + (K + 1) N D C at K folds; K N^2 D where N < D",
    reference="SFDA (arXiv:2207.03036) cross-fitted, with Ledoit-Wolf shrinkage; ours",
    invariant_to=frozenset({"translation", "scale", "rotation"}),
    held_out=True,
    null_options={"enough": _ENOUGH},
)
def sfda_cv(problem: Problem, *, folds: int = 5, enough: int | None = None) -> Score:
    """Cross-fitted SFDA: held-out probability after self-challenge (default).

    The released score (see ``sfda``) gives random features 1.0 once N is not much larger than D,
    and changes with the unit of the features. Three repairs:

    1. K stratified folds. Both stages are fitted on K - 1 folds; the samples of the other fold are
       mixed with *their own* stage-one confidence and scored. The training samples of stage two
       are mixed with their in-sample confidence, as in the released code.
    2. Shrinkage by Ledoit and Wolf on the within-class residuals of the training folds, in place
       of ``exp(-5 lambda)``; both stages use it, as the released code uses its own in both.
    3. The intensity has no unit, so c X scores as X.

    The score is the mean held-out probability of the true class. On noise it lies at or below
    1/C (mixing pulls every sample towards the classes it is not of). ``per_sample`` holds the N
    probabilities, ``details`` the held-out accuracy and probabilities of stage one beside them.

    Class sums and Gram matrices add up over folds, so stage one reads the data once for all folds;
    stage two has its own weights in every fold and needs a Gram matrix each time.

    Quirks: a class with fewer than K members is in fewer than K folds; where a class is missing
    from the training folds its held-out samples get probability 0 (nothing can be known of it).

    Regression and multi-label are ours, see :mod:`hf_sfda.metrics.reduction`.

    Args:
        problem: What to score.
        folds: K, at least 2; no more than N are made.
        enough: Stop after the fold with which so many samples have been scored, where the mean
            is all that is wanted and a K-th of the work gives it well enough (shuffled labels).
            ``None`` scores all; otherwise there is no ``per_sample``.

    Raises:
        MetricError: ``folds`` is smaller than 2.
    """
    if folds < 2:
        raise MetricError(f"folds is {folds}; cross-fitting needs at least 2.")
    return by_classes(problem, lambda part: _of_classes(part, folds, enough))


def _of_classes(problem: Problem, folds: int, enough: int | None) -> Score:
    n = len(problem)
    n_folds = min(folds, n)
    # Folds differ by one sample at most, and the first ones are the larger.
    n_scored = n_folds if enough is None else min(n_folds, math.ceil(n_folds * enough / n))
    plan = _Plan.of(problem, n_folds, n_scored)
    true, first, hit, shrinkage = zip(*(_held_out(plan, k) for k in range(n_scored)), strict=True)

    probability, log_probability = torch.cat(true), torch.cat(first)
    value = float(probability.mean())
    per_sample = None
    if n_scored == n_folds:
        in_order = torch.empty_like(probability).scatter_(0, plan.order, probability)
        per_sample = in_order.cpu().numpy()
    details = {
        "folds": float(n_folds),
        "shrinkage": sum(shrinkage) / n_scored,
        "accuracy": float(torch.cat(hit).mean()),
        "stage_one_probability": float(log_probability.exp().mean()),
        # A class unseen in training has probability 0; the floor keeps the mean finite.
        "stage_one_log_probability": float(log_probability.clamp(min=_MIN_LOG).mean()),
    }
    return Score("sfda_cv", value, per_sample, details, _warnings(problem, folds))


@dataclass(frozen=True, eq=False)
class _Plan:
    """Samples sorted by fold, with the sums that each fold contributes.

    Attributes:
        X: (N, r) centred coordinates, folds one after the other.
        y: (N,) classes in that order.
        order: (N,) row of the problem that each row of X is.
        edges: Where the folds begin, and N.
        counts: (K, C) class sizes.
        sums: (K, C, r) class sums.
        gram: (r, r) of all samples.
        grams: (r, r) of each fold that will be held out; used up by it.
        width: D before a rotation.
    """

    X: Tensor
    y: Tensor
    order: Tensor
    edges: list[int]
    counts: Tensor
    sums: Tensor
    gram: Tensor
    grams: list[Tensor]
    width: int

    @classmethod
    def of(cls, problem: Problem, n_folds: int, n_scored: int) -> _Plan:
        geometry, labels, n_classes = problem.geometry, problem.labels, problem.n_classes
        of_sample = stratified_folds(labels.cpu().numpy(), n_folds, problem.seed)
        fold = torch.from_numpy(of_sample).to(labels.device)
        order = torch.argsort(fold, stable=True)
        X, y, fold = geometry.rows(order), labels[order], fold[order]
        cells = fold * n_classes + y
        counts = torch.bincount(cells, minlength=n_folds * n_classes).double()
        sizes = torch.bincount(fold, minlength=n_folds).tolist()
        edges = [0, *accumulate(sizes)]
        grams = [linalg.gram(X[edges[k] : edges[k + 1]]) for k in range(n_scored)]
        return cls(
            X=X,
            y=y,
            order=order,
            edges=edges,
            counts=counts.view(n_folds, n_classes),
            sums=linalg.group_sums(X, cells, n_folds * n_classes).view(n_folds, n_classes, -1),
            # Their sum costs nothing; with some folds left out, the one shared by all metrics and
            # shuffles does.
            gram=_sum(grams) if n_scored == n_folds else geometry.scatter,
            grams=grams,
            width=geometry.width,
        )


class _Outcome(NamedTuple):
    """What became of one fold's held-out samples.

    Attributes:
        true: Probability of the true class after self-challenge.
        first: Its logarithm before.
        hit: 1 where stage one was right.
        shrinkage: What the training folds asked for.
    """

    true: Tensor
    first: Tensor
    hit: Tensor
    shrinkage: float


def _held_out(plan: _Plan, k: int) -> _Outcome:
    X, y, width = plan.X, plan.y, plan.width
    low, high = plan.edges[k], plan.edges[k + 1]
    training = [slice(0, low), slice(high, len(X))]
    held = slice(low, high)

    counts = plan.counts.sum(0) - plan.counts[k]
    sums = plan.sums.sum(0) - plan.sums[k]
    means = sums / counts.clamp(min=1)[:, None]
    n = float(counts.sum())
    priors = counts / n

    # All folds but this one. Its own matrix is not needed again, and is the size of a few others.
    within = plan.grams[k].neg_().add_(plan.gram)
    within = within.addmm_(sums.T, means, alpha=-1).div_(n)
    fourth = sum(_fourth_moment(X[part], means, y[part]) for part in training)
    shrinkage = ledoit_wolf(within, fourth, n, width)
    log_P = fit(means, priors, within, shrinkage, width).log_probabilities(X)
    w = self_challenge(log_P.exp(), y)

    others = other_means(means, (counts > 0).double())
    mixed = mix(X, w, y, others, counts, training)
    second = fit(mixed.means, priors, mixed.within, shrinkage, width)
    P = second.mixed_probabilities(X[held], w[held], y[held], others)

    truth = y[held, None]
    return _Outcome(
        true=P.gather(1, truth)[:, 0],
        first=log_P[held].gather(1, truth)[:, 0],
        hit=(log_P[held].argmax(1) == y[held]).double(),
        shrinkage=shrinkage,
    )


def _sum(matrices: list[Tensor]) -> Tensor:
    total = matrices[0].clone()
    for matrix in matrices[1:]:
        total += matrix
    return total


def _fourth_moment(X: Tensor, means: Tensor, y: Tensor) -> float:
    """Sum of the fourth powers of the residuals' lengths."""
    return float(linalg.squared_distances(X, means, y).square().sum())


def _warnings(problem: Problem, folds: int) -> tuple[str, ...]:
    smallest = int(problem.counts.min())
    if smallest >= folds:
        return ()
    few = int((problem.counts < folds).sum())
    return (
        f"sfda_cv: {few} of {problem.n_classes} classes have fewer than {folds} samples "
        f"(the smallest {smallest}); their held-out probabilities rest on very little",
    )
