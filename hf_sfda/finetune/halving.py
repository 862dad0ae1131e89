"""Successive halving: which models get how much training. Pure functions of numbers.

All models are trained briefly on few samples; the better half goes on with twice the samples and
twice the epochs, four times the training; the last ones get the whole recipe (Jamieson and
Talwalkar, AISTATS 2016, arXiv:1502.07943). Models are compared on the validation part: the test
part measures the last ones only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

SMALLEST_CLASS = 4
"""Training samples per class in the first round, at least: fewer say little about a checkpoint."""


REGRESSION_STRATA = 10
"""A regression has no classes; its values count as so many."""


@dataclass(frozen=True, slots=True)
class Round:
    """A round of the plan.

    Attributes:
        models: Number of models that are trained in it.
        n_train: Training samples of each.
        epochs: Most passes over them.
    """

    models: int
    n_train: int
    epochs: int


def plan_rounds(
    models: int, finalists: int, *, n_train: int, n_classes: int, epochs: int
) -> tuple[Round, ...]:
    """The rounds before the whole recipe, from small to large.

    Args:
        models: Number of models at the start.
        finalists: Number of models that get the whole recipe.
        n_train: Training samples of the whole recipe.
        n_classes: Number of classes.
        epochs: Epochs of the whole recipe.

    >>> plan_rounds(24, 3, n_train=800, n_classes=5, epochs=8)
    (Round(models=24, n_train=100, epochs=1), Round(models=12, n_train=200, epochs=2), \
Round(models=6, n_train=400, epochs=4))
    >>> plan_rounds(3, 3, n_train=800, n_classes=5, epochs=8)
    ()
    """
    counts = []
    while models > finalists:
        counts.append(models)
        models = max(finalists, math.ceil(models / 2))
    smallest = min(n_train, SMALLEST_CLASS * n_classes)
    rounds = []
    for index, count in enumerate(counts):
        divisor = 2 ** (len(counts) - index)
        size, length = round(n_train / divisor), round(epochs / divisor)
        rounds.append(Round(count, max(smallest, size), max(1, length)))
    return tuple(rounds)


def best(models: Sequence[T], values: Mapping[T, float], keep: int) -> list[T]:
    """The models that go on, in the order in which they were given.

    Args:
        models: The models of a round, best predicted first: of equal values the first goes on.
        values: Model -> its value on the validation part; a model without one does not go on.
        keep: How many go on.

    >>> best(["a", "b", "c", "d"], {"a": 0.5, "b": 0.7, "c": 0.5}, 2)
    ['a', 'b']
    """
    measured = [model for model in models if model in values]
    chosen = sorted(measured, key=lambda model: -values[model])[:keep]
    return [model for model in measured if model in chosen]


def share_of_training(
    rounds: Sequence[Round], models: int, finalists: int, *, n_train: int, epochs: int
) -> float:
    """Training of the plan, relative to the whole recipe for all models."""
    work = sum(round_.models * round_.n_train * round_.epochs for round_ in rounds)
    whole = n_train * epochs
    return (work + min(finalists, models) * whole) / (models * whole)
