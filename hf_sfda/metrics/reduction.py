"""Other tasks reduced to classes: slices of a regression target, one tag against the rest.

This is ours, not from the papers. Slicing a target and treating the slices as classes is sliced
inverse regression (Li, JASA 1991), whose directions are Fisher's discriminants of the slices. One
against the rest is the usual way to apply a binary method to several tags.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hf_sfda.metrics.problem import Problem
from hf_sfda.tasks import has_classes
from hf_sfda.types import Score

_SLICES = 10
_PER_SLICE = 20
"""Ten slices are the usual choice of sliced inverse regression, which is known to be insensitive to
it; a slice needs enough samples for a mean."""


def by_classes(problem: Problem, metric: Callable[[Problem], Score]) -> Score:
    """Score any task with a metric of classes.

    Classes (also of tokens) are scored directly, a regression target by its slices, and each tag
    against the rest. The value and ``per_sample`` of several tags are the means over tags.
    """
    if has_classes(problem.kind):
        return metric(problem)
    if problem.kind == "regression":
        sliced = slices(problem)
        score = metric(sliced)
        details = {**score.details, "slices": float(sliced.n_classes)}
        return Score(score.metric, score.value, score.per_sample, details, score.warnings)
    scores = [metric(problem.with_classes(tag.long(), 2)) for tag in problem.targets.T]
    n_tags = len(scores)
    shares = [score.per_sample for score in scores if score.per_sample is not None]
    return Score(
        metric=scores[0].metric,
        value=sum(score.value for score in scores) / n_tags,
        per_sample=np.mean(shares, axis=0) if shares else None,
        details={
            key: sum(score.details[key] for score in scores) / n_tags for key in scores[0].details
        },
        warnings=tuple(dict.fromkeys(text for score in scores for text in score.warnings)),
    )


def indicators(problem: Problem) -> Tensor:
    """(N, R, C) float64 classes of :func:`by_classes`: one-hot classes, R = 1; each tag against the
    rest, C = 2.
    """
    if problem.kind == "multi-label":
        return torch.stack([1 - problem.targets, problem.targets], 2)
    return problem.one_hot[:, None]


def slices(problem: Problem) -> Problem:
    """Slices of a regression target as classes, of equal size as far as equal values allow.

    Samples with the same value share a slice. There are at most ten, of 20 samples or more on
    average, and at least two.
    """
    n = len(problem)
    wanted = max(2, min(_SLICES, n // _PER_SLICE))
    _, place, counts = torch.unique(problem.targets, return_inverse=True, return_counts=True)
    middle = (counts.cumsum(0) - counts / 2) / n  # mid-rank of each value, in (0, 1)
    numbers = (middle * wanted).floor().long()[place]
    used, labels = torch.unique(numbers, return_inverse=True)
    return problem.with_classes(labels, len(used))


def skill(predictions: Tensor, targets: Tensor) -> Tensor:
    """(N,) contributions of the samples to R^2, averaged over outputs; their mean is R^2.

    Args:
        predictions: (N, T) held-out predictions.
        targets: (N, T).
    """
    variance = targets.var(0, correction=0)
    return 1 - ((predictions - targets).square() / variance).mean(1)
