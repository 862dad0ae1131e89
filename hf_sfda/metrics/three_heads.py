"""Mean held-out accuracy of three linear heads: the score that orders a run by default."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hf_sfda.errors import MetricError
from hf_sfda.metrics import register_metric
from hf_sfda.metrics.crossfit import Plan, train
from hf_sfda.metrics.fisher import fit
from hf_sfda.metrics.folds import fold_numbers
from hf_sfda.metrics.logistic_probe import logistic_probe
from hf_sfda.metrics.problem import Problem
from hf_sfda.types import Score


@register_metric(
    "three_heads",
    summary="Mean held-out accuracy of three linear heads, two of them SFDA's (default)",
    tasks=frozenset({"single-label", "token"}),
    cost="those of sfda_cv and logistic_probe",
    reference="ours; chosen on benchmarks/zoo/truth.csv",
    invariant_to=frozenset({"translation", "scale", "rotation"}),
    held_out=True,
    permutation_options={"max_scored": 200},
    maximum=1.0,
)
def three_heads(problem: Problem, *, folds: int = 5, max_scored: int | None = None) -> Score:
    r"""Mean held-out accuracy of three linear heads, two of them SFDA's (default).

    On K stratified folds, the same for all heads,

    .. math::
        \frac13 \left( a_\text{Fisher, last layer} + a_\text{Fisher, all layers}
        + a_\text{logistic, all layers} \right)

    where a Fisher head is the first stage of ``sfda_cv``: the class posterior in SFDA's Fisher
    space, with Ledoit-Wolf shrinkage. The logistic head is ``logistic_probe``. ``per_sample`` is
    the share of the three heads that predict the class of a held-out sample; ``details`` has the
    accuracies.

    Where the batch norms of the network were measured on the target too (``batch_norms: both``),
    the score is the mean of two such values: one for the published statistics and one for those of
    the target. Fine-tuning adapts the statistics, and frozen features do not show it.

    Why three: each head is poor on some targets, and their mean orders checkpoints better than any
    of them alone. The weighted tau with fine-tuned accuracy and its interval are in
    benchmarks/zoo/README.md. The second stage of SFDA is left out: the released ConfMix weight
    hardly depends on the features when classes are few, and costs accuracy of the order there.

    If the features are those of one layer, there are two heads, one of each type.

    Traps: it is an accuracy, so differences between checkpoints are multiples of 1 / (6 N), and it
    saturates at 1 on easy targets. It ranks frozen features: a damaged checkpoint with good first
    layers scores too high.

    Args:
        problem: What to score. ``last`` holds the features of the last layer, ``measured`` those
            with measured batch norms.
        folds: K, at least 2; no more than N are made.
        max_scored: Stop after the fold with which so many samples have been scored.

    Raises:
        MetricError: ``folds`` is smaller than 2.
    """
    if folds < 2:
        raise MetricError(f"folds is {folds}; cross-fitting needs at least 2.")
    score = _heads(problem, folds, max_scored)
    if problem.measured is None:
        return score
    measured = _heads(problem.measured, folds, max_scored)
    details = {
        **score.details,
        **{f"{name}_measured": accuracy for name, accuracy in _accuracies(measured).items()},
    }
    per_sample = None
    if score.per_sample is not None and measured.per_sample is not None:
        per_sample = (score.per_sample + measured.per_sample) / 2
    return Score("three_heads", (score.value + measured.value) / 2, per_sample, details)


def _heads(problem: Problem, folds: int, max_scored: int | None) -> Score:
    """The mean of the heads for one kind of statistics in the batch norms."""
    n_folds, n_scored = fold_numbers(len(problem), folds, max_scored)
    details: dict[str, float] = {"folds": float(n_folds)}
    if problem.last is None:
        heads = [_fisher_hits(problem, n_folds, n_scored)]
        details["fisher"] = _mean(heads[0])
    else:
        last = replace(problem, geometry=problem.last)
        heads = [_fisher_hits(part, n_folds, n_scored) for part in (last, problem)]
        details["fisher_last"], details["fisher_all"] = map(_mean, heads)
    logistic = logistic_probe(problem, folds=folds, max_scored=max_scored)
    details["logistic"] = logistic.value
    value = (sum(map(_mean, heads)) + logistic.value) / (len(heads) + 1)
    per_sample = None
    if logistic.per_sample is not None:
        per_sample = (sum(heads) + logistic.per_sample) / (len(heads) + 1)
    return Score("three_heads", value, per_sample, details)


def _accuracies(score: Score) -> dict[str, float]:
    return {name: value for name, value in score.details.items() if name != "folds"}


def _mean(hits: npt.NDArray[np.float64]) -> float:
    return float(np.nanmean(hits))


def _fisher_hits(problem: Problem, n_folds: int, n_scored: int) -> npt.NDArray[np.float64]:
    """(N,) 1 where the discriminant of the other folds is right, 0 where it is wrong, NaN in folds
    that are not scored.
    """
    plan = Plan.of(problem, n_folds, n_scored)
    hits: Tensor = plan.X.new_full((len(plan.X),), torch.nan)
    for k in range(n_scored):
        _, priors, means, within, shrinkage = train(plan, k)
        rule = fit(means, priors, within, shrinkage, plan.width)
        held = plan.held(k)
        right = rule.log_probabilities(plan.X[held]).argmax(1) == plan.y[held]
        hits[plan.order[held]] = right.double()
    return hits.cpu().numpy()
