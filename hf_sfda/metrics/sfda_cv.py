"""Cross-fitted SFDA: the same two stages, scored on samples neither stage has seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hf_sfda.errors import MetricError
from hf_sfda.metrics import linalg, register_metric
from hf_sfda.metrics.fisher import fit, other_means, self_challenge
from hf_sfda.metrics.folds import stratified_folds
from hf_sfda.metrics.problem import Problem
from hf_sfda.metrics.shrinkage import ledoit_wolf
from hf_sfda.types import Score


@register_metric(
    "sfda_cv",
    summary="Cross-fitted SFDA: held-out probability after self-challenge (default)",
    tasks=frozenset({"single-label", "token"}),
    cost="K N D^2 + 2 K D^3/3 + (K + 1) N D C at K folds; K N^2 D where N < D",
    reference="SFDA (arXiv:2207.03036) cross-fitted, with Ledoit-Wolf shrinkage; ours",
    invariant_to=frozenset({"translation", "scale", "rotation"}),
    held_out=True,
)
def sfda_cv(problem: Problem, *, folds: int = 5) -> Score:
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

    Args:
        problem: What to score.
        folds: K, at least 2; no more than N are made.

    Raises:
        MetricError: ``folds`` is smaller than 2.
    """
    if folds < 2:
        raise MetricError(f"folds is {folds}; cross-fitting needs at least 2.")
    plan = _Plan.of(problem, min(folds, len(problem)))
    n_folds = len(plan.edges) - 1
    outcomes = [_held_out(plan, k) for k in range(n_folds)]

    true = torch.empty(len(problem), dtype=torch.float64, device=plan.X.device)
    first = torch.empty_like(true)
    hit = torch.empty_like(true)
    for k, outcome in enumerate(outcomes):
        rows = plan.order[plan.edges[k] : plan.edges[k + 1]]
        true[rows], first[rows], hit[rows] = outcome.true, outcome.first, outcome.hit

    details = {
        "folds": float(n_folds),
        "shrinkage": sum(outcome.shrinkage for outcome in outcomes) / n_folds,
        "accuracy": float(hit.mean()),
        "stage_one_probability": float(first.mean()),
        # A class unseen in training has probability 0; the floor keeps the mean finite.
        "stage_one_log_probability": float(first.clamp(min=1e-12).log().mean()),
    }
    return Score(
        "sfda_cv", float(true.mean()), true.cpu().numpy(), details, _warnings(problem, folds)
    )


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
        grams: (K, r, r).
        width: D before a rotation.
    """

    X: Tensor
    y: Tensor
    order: Tensor
    edges: list[int]
    counts: Tensor
    sums: Tensor
    grams: list[Tensor]
    width: int

    @classmethod
    def of(cls, problem: Problem, n_folds: int) -> _Plan:
        geometry, labels = problem.geometry, problem.labels
        device, n_classes = labels.device, problem.n_classes
        of_sample = stratified_folds(labels.cpu().numpy(), n_folds, problem.seed)
        fold = torch.from_numpy(of_sample).to(device)
        order = torch.argsort(fold, stable=True)
        X = geometry.coordinates[order].sub_(geometry.mean)
        y, fold = labels[order], fold[order]
        cells = fold * n_classes + y
        counts = torch.bincount(cells, minlength=n_folds * n_classes).double()
        sizes = torch.bincount(fold, minlength=n_folds).tolist()
        edges = [sum(sizes[:k]) for k in range(n_folds + 1)]
        grams = [linalg.gram(X[edges[k] : edges[k + 1]]) for k in range(n_folds)]
        return cls(
            X=X,
            y=y,
            order=order,
            edges=edges,
            counts=counts.view(n_folds, n_classes),
            sums=linalg.group_sums(X, cells, n_folds * n_classes).view(n_folds, n_classes, -1),
            grams=grams,
            width=geometry.width,
        )


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What became of one fold's held-out samples.

    Attributes:
        true: Probability of the true class after self-challenge.
        first: The same before it.
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
    parts = [slice(0, low), slice(high, len(X))]  # the training folds
    held = slice(low, high)
    n = len(X) - (high - low)

    counts = plan.counts.sum(0) - plan.counts[k]
    present = (counts > 0).double()
    safe = counts.clamp(min=1)[:, None]
    means = (plan.sums.sum(0) - plan.sums[k]) / safe
    priors = counts / n

    within = _sum_without(plan.grams, k)
    within.sub_((means * counts[:, None]).T @ means).div_(n)
    fourth = sum(_fourth_moment(X[part], means, y[part]) for part in parts)
    shrinkage = ledoit_wolf(within, fourth, n, width)
    log_P = fit(means, priors, within, shrinkage, width).log_probabilities(X)
    w = self_challenge(log_P.exp(), y)

    # As in ``sfda``: mixed samples are m_c + v_i, v_i = w_i (x_i - m_c), for training samples and
    # held-out ones alike.
    others = other_means(means, present)
    within = torch.zeros_like(within)
    v_sums = torch.zeros_like(means)
    for part in parts:
        within += linalg.gram(X[part], centre=others, groups=y[part], weights=w[part])
        v_sums += linalg.weighted_sums(X[part], w[part], y[part], len(means), centre=others)
    v_means = v_sums / safe
    within.sub_((v_means * counts[:, None]).T @ v_means).div_(n)
    mixed_means = (others + v_means) * present[:, None]
    second = fit(mixed_means, priors, within, shrinkage, width)
    mixed = torch.lerp(others[y[held]], X[held], w[held, None])
    P = second.probabilities(mixed)

    truth = y[held, None]
    return _Outcome(
        true=P.gather(1, truth)[:, 0],
        first=log_P[held].gather(1, truth)[:, 0].exp(),
        hit=(log_P[held].argmax(1) == y[held]).double(),
        shrinkage=shrinkage,
    )


def _sum_without(grams: list[Tensor], k: int) -> Tensor:
    """Sum of all but the k-th, added up anew so that nothing cancels."""
    total = torch.zeros_like(grams[0])
    for j, gram in enumerate(grams):
        if j != k:
            total += gram
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
