"""Cross-fitting in two stages: the sums that folds share, and the score of one held-out fold."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from hf_sfda.metrics import linalg
from hf_sfda.metrics.fisher import fit, mix, other_means, self_challenge
from hf_sfda.metrics.folds import stratified_folds
from hf_sfda.metrics.problem import Problem
from hf_sfda.metrics.shrinkage import ledoit_wolf
from hf_sfda.metrics.single import TOLERANCE, Rows, Stage, second_stage


@dataclass(frozen=True, eq=False)
class Plan:
    """Samples sorted by fold, with the sums that each fold contributes.

    Attributes:
        X: (N, r) centred coordinates, folds one after the other.
        y: (N,) classes in that order.
        order: (N,) row of the problem that each row of X is.
        edges: Where the folds begin, and N.
        counts: (K, C) class sizes.
        sums: (K, C, r) class sums.
        gram: Gram matrix of all samples, as blocks of its upper half.
        grams: The same of each fold that will be held out.
        width: D before a rotation.
    """

    X: Tensor
    y: Tensor
    order: Tensor
    edges: list[int]
    counts: Tensor
    sums: Tensor
    gram: list[Tensor]
    grams: list[list[Tensor]]
    width: int

    @classmethod
    def of(cls, problem: Problem, n_folds: int, n_scored: int) -> Plan:
        """Deal the samples out to ``n_folds`` folds, of which the first ``n_scored`` count."""
        geometry, labels, n_classes = problem.geometry, problem.labels, problem.n_classes
        of_sample = stratified_folds(labels.cpu().numpy(), n_folds, problem.seed)
        fold = torch.from_numpy(of_sample).to(labels.device)
        order = torch.argsort(fold, stable=True)
        X, y, fold = geometry.rows(order), labels[order], fold[order]
        cells = fold * n_classes + y
        counts = torch.bincount(cells, minlength=n_folds * n_classes).double()
        sizes = torch.bincount(fold, minlength=n_folds).tolist()
        edges = [0, *accumulate(sizes)]
        grams = [linalg.upper_gram(X[edges[k] : edges[k + 1]]) for k in range(n_scored)]
        return cls(
            X=X,
            y=y,
            order=order,
            edges=edges,
            counts=counts.view(n_folds, n_classes),
            sums=linalg.group_sums(X, cells, n_folds * n_classes).view(n_folds, n_classes, -1),
            # Their sum costs nothing; with some folds left out, the one shared by all metrics and
            # shuffles does.
            gram=_sums(grams) if n_scored == n_folds else linalg.upper_blocks(geometry.scatter),
            grams=grams,
            width=geometry.width,
        )

    def held(self, k: int) -> slice:
        """Rows of fold k."""
        return slice(self.edges[k], self.edges[k + 1])

    def training(self, k: int) -> list[slice]:
        """Rows of the other folds."""
        return [slice(0, self.edges[k]), slice(self.edges[k + 1], len(self.X))]

    def training_scatter(self, k: int, sums: Tensor, means: Tensor, n: float) -> Tensor:
        """(r, r) within-class scatter of the other folds, biased, a new tensor.

        Args:
            k: The fold.
            sums: (C, r) class sums of the others.
            means: (C, r) their class means.
            n: How many samples they have.
        """
        return linalg.downdated(self.gram, self.grams[k], sums, means, 1 / n)


class Outcome(NamedTuple):
    """What became of one fold's held-out samples.

    Attributes:
        true: Probability of the true class after self-challenge.
        first: Its logarithm before.
        hit: 1 where stage one was right.
        shrinkage: What the training folds asked for.
        single: Whether the Gram matrix of stage two was in float32.
    """

    true: Tensor
    first: Tensor
    hit: Tensor
    shrinkage: float
    single: bool


class Training(NamedTuple):
    """The other folds: what a rule is fitted to.

    Attributes:
        counts: (C,) class sizes.
        priors: (C,) class shares.
        means: (C, r) class means, zero for absent classes.
        within: (r, r) within-class scatter, biased.
        shrinkage: What they ask for.
    """

    counts: Tensor
    priors: Tensor
    means: Tensor
    within: Tensor
    shrinkage: float


def train(plan: Plan, k: int) -> Training:
    """Moments of the folds other than k."""
    counts = plan.counts.sum(0) - plan.counts[k]
    sums = plan.sums.sum(0) - plan.sums[k]
    means = sums / counts.clamp(min=1)[:, None]
    n = float(counts.sum())
    within = plan.training_scatter(k, sums, means, n)
    fourth = sum(_fourth_moment(plan.X[part], means, plan.y[part]) for part in plan.training(k))
    shrinkage = ledoit_wolf(within, fourth, n, plan.width)
    return Training(counts, counts / n, means, within, shrinkage)


def held_out(plan: Plan, k: int, rows: Rows | None = None) -> Outcome:
    """Fit both stages to the folds other than k, and score fold k.

    Args:
        plan: The folds.
        k: The fold.
        rows: The samples in float32, for stage two; ``None`` for float64 throughout.
    """
    X, y, width, held = plan.X, plan.y, plan.width, plan.held(k)
    counts, priors, means, within, shrinkage = train(plan, k)
    log_P = fit(means, priors, within, shrinkage, width).log_probabilities(X)
    del within  # overwritten by the fit; the second stage needs its room
    w = self_challenge(log_P.exp(), y)

    others = other_means(means, (counts > 0).double())
    stage = Stage(X, w, y, others, counts, shrinkage, width, plan.training(k), held)
    answer = None if rows is None else second_stage(stage, rows)
    harmless = answer is not None and answer.bound <= TOLERANCE
    P = answer.probabilities if answer is not None and harmless else _in_double(stage, priors)

    truth = y[held, None]
    return Outcome(
        true=P.gather(1, truth)[:, 0],
        first=log_P[held].gather(1, truth)[:, 0],
        hit=(log_P[held].argmax(1) == y[held]).double(),
        shrinkage=shrinkage,
        single=harmless,
    )


def _in_double(stage: Stage, priors: Tensor) -> Tensor:
    """(n, C) held-out probabilities of stage two, in float64 throughout."""
    X, w, y, others, counts, shrinkage, width, parts, held = stage
    mixed = mix(X, w, y, others, counts, parts)
    second = fit(mixed.means, priors, mixed.within, shrinkage, width)
    return second.mixed_probabilities(X[held], w[held], y[held], others)


def _sums(matrices: list[list[Tensor]]) -> list[Tensor]:
    total = [block.clone() for block in matrices[0]]
    for matrix in matrices[1:]:
        for whole, part in zip(total, matrix, strict=True):
            whole += part
    return total


def _fourth_moment(X: Tensor, means: Tensor, y: Tensor) -> float:
    """Sum of the fourth powers of the residuals' lengths."""
    return float(linalg.squared_distances(X, means, y).square().sum())
