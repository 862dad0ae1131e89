"""Cross-fitted SFDA: the same two stages, scored on samples neither stage has seen."""

from __future__ import annotations

import math

import torch

from hf_sfda.errors import MetricError
from hf_sfda.metrics import register_metric
from hf_sfda.metrics.crossfit import Plan, held_out
from hf_sfda.metrics.folds import fold_numbers
from hf_sfda.metrics.problem import Problem
from hf_sfda.metrics.reduction import by_classes
from hf_sfda.metrics.single import Rows
from hf_sfda.types import Score

_MIN_LOG = math.log(1e-12)
_SCORED_PER_SHUFFLE = 200
"""Held-out samples behind the score of one shuffle of the labels."""


@register_metric(
    "sfda_cv",
    summary="Cross-fitted SFDA: held-out probability after self-challenge",
    tasks=frozenset({"single-label", "multi-label", "regression", "token"}),
    by_classes=frozenset({"multi-label", "regression"}),
    cost="K N D^2 + 2 K D^3/3 + (K + 1) N D C at K folds; K N^2 D where N < D",
    reference="SFDA (arXiv:2207.03036) cross-fitted, with Ledoit-Wolf shrinkage; ours",
    invariant_to=frozenset({"translation", "scale", "rotation"}),
    held_out=True,
    permutation_options={"max_scored": _SCORED_PER_SHUFFLE},
    maximum=1.0,
)
def sfda_cv(problem: Problem, *, folds: int = 5, max_scored: int | None = None) -> Score:
    """Cross-fitted SFDA: held-out probability after self-challenge.

    The released score (see ``sfda``) gives random features 1.0 once N is not much larger than D,
    and changes with the unit of the features. Three repairs:

    1. K stratified folds. Both stages are fitted on K - 1 folds; the samples of the other fold are
       mixed with *their own* stage-one confidence and scored. The training samples of stage two
       are mixed with their in-sample confidence, as in the released code.
    2. Shrinkage by Ledoit and Wolf on the within-class residuals of the training folds, in place
       of ``exp(-5 lambda)``; both stages use it, as the released code uses its own in both.
    3. The intensity has no unit, so c X scores as X.

    The score is the mean held-out probability of the true class. On noise it is at or below
    1/C (mixing pulls every sample towards the classes it is not of). ``per_sample`` holds the N
    probabilities, ``details`` the held-out accuracy and probabilities of stage one beside them.

    Class sums and Gram matrices add up over folds, so stage one reads the data once for all folds;
    stage two has its own weights in every fold and needs a Gram matrix each time. Where that takes
    long, it is in float32, see :mod:`hf_sfda.metrics.single`: a bound on the error of the score is
    computed in float64 and stays below 1e-6.

    Quirks: a class with fewer than K members is in fewer than K folds; where a class is missing
    from the training folds its held-out samples get probability 0 (nothing can be known of it).

    Regression and multi-label are ours, see :mod:`hf_sfda.metrics.reduction`.

    Args:
        problem: What to score.
        folds: K, at least 2; no more than N are made.
        max_scored: Stop after the fold with which so many samples have been scored, where the mean
            is all that is wanted and a K-th of the work gives it well enough (shuffled labels).
            ``None`` scores all; otherwise there is no ``per_sample``.

    Raises:
        MetricError: ``folds`` is smaller than 2.
    """
    return by_classes(problem, lambda part: _of_classes(part, folds, max_scored))


def _of_classes(problem: Problem, folds: int, max_scored: int | None) -> Score:
    n_folds, n_scored = _numbers(len(problem), folds, max_scored)
    plan = Plan.of(problem, n_folds, n_scored)
    rows, outcomes = Rows.of(plan.X), []
    for k in range(n_scored):
        outcomes.append(held_out(plan, k, rows))
        if not outcomes[-1].single:
            rows = None  # the other folds are much like this one
    true, first, hit, shrinkage, _ = zip(*outcomes, strict=True)

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


def _numbers(n_samples: int, folds: int, max_scored: int | None) -> tuple[int, int]:
    if folds < 2:
        raise MetricError(f"folds is {folds}; cross-fitting needs at least 2.")
    return fold_numbers(n_samples, folds, max_scored)


def _warnings(problem: Problem, folds: int) -> tuple[str, ...]:
    smallest = int(problem.counts.min())
    if smallest >= folds:
        return ()
    few = int((problem.counts < folds).sum())
    return (
        f"sfda_cv: {few} of {problem.n_classes} classes have fewer than {folds} samples "
        f"(the smallest {smallest}); their held-out probabilities rest on very little",
    )
