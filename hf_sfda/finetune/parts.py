"""Train, validation and test part of a target. Pure functions of labels and a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_sfda.errors import TargetError
from hf_sfda.tasks import kind_of_labels, strata_of
from hf_sfda.types import IntArray, LabelArray, Target


@dataclass(frozen=True, eq=False)
class Part:
    """Some samples with their labels.

    Attributes:
        samples: Inputs as :class:`~hf_sfda.types.Target` holds them.
        labels: As :class:`~hf_sfda.types.Target` holds them; classes index the class names of the
            training target.
    """

    samples: Sequence[Any]
    labels: LabelArray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Number of samples in each part."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True, eq=False)
class Parts:
    """A target divided for fine-tuning; no sample is in two parts."""

    train: Part
    validation: Part
    test: Part

    @property
    def sizes(self) -> Sizes:
        """Number of samples in each part."""
        return Sizes(len(self.train), len(self.validation), len(self.test))


def divide(
    target: Target,
    *,
    validation: Target | None,
    test: Target | None,
    validation_share: float,
    test_share: float,
) -> Parts:
    """Divide a target, or take the parts that are given.

    What is not given is drawn from ``target`` by the target's own seed, so the division is the same
    for every candidate and every fine-tuning seed. Each stratum gives its share: a class, the
    rarest label of a sample, or a slice of the values of a regression.

    Args:
        target: Training samples, and those of any part that is not given.
        validation: Samples that choose learning rate and epoch.
        test: Samples that measure the result.
        validation_share: Share of what is left for training, where ``validation`` is not given.
        test_share: Share of ``target``, where ``test`` is not given.

    Raises:
        TargetError: A given part has a class that ``target`` has not, or a part is empty.
    """
    rows = np.arange(len(target))
    if test is None:
        chosen = _draw(target.labels, test_share, target.seed)
        test_part, rows = _take(target, rows[chosen]), rows[~chosen]
    else:
        test_part = _translate(test, target, "test")
    if validation is None:
        chosen = _draw(target.labels[rows], validation_share, target.seed + 1)
        validation_part, rows = _take(target, rows[chosen]), rows[~chosen]
    else:
        validation_part = _translate(validation, target, "validation")
    parts = Parts(_take(target, rows), validation_part, test_part)
    is_regression = kind_of_labels(target.labels) == "regression"
    for name in ("train", "validation", "test"):
        labels = getattr(parts, name).labels
        if len(labels) == 0:
            classes = "" if is_regression else f" in {target.n_classes:,} classes"
            raise TargetError(
                f"The {name} part of {target.dataset_id} is empty: {len(target):,} samples"
                f"{classes} are too few to divide. Use more samples."
            )
        if is_regression and labels.min() == labels.max():
            raise TargetError(
                f"All values in the {name} part of {target.dataset_id} are {labels[0]:g}, so R² "
                "has no meaning there. Use more samples."
            )
    return parts


def draw_rows(labels: LabelArray, size: int, seed: int) -> IntArray:
    """(about ``size``,) positions: of each class about the same share, and at least one sample.

    Args:
        labels: Labels of any kind.
        size: Number of samples to draw.
        seed: Random seed.
    """
    return np.flatnonzero(~_draw(labels, 1 - min(size / len(labels), 1.0), seed))


def _draw(labels: LabelArray, share: float, seed: int) -> np.ndarray:
    """(N,) bool: of each class the given share, rounded; one sample of a class always stays."""
    order = np.random.default_rng(seed).permutation(len(labels))
    strata = strata_of(labels)
    chosen = np.zeros(len(labels), dtype=bool)
    for code in np.unique(strata):
        members = order[strata[order] == code]
        chosen[members[: min(round(share * len(members)), len(members) - 1)]] = True
    return chosen


def _take(target: Target, rows: IntArray) -> Part:
    return Part([target.samples[row] for row in rows], target.labels[rows])


def _translate(part: Target, target: Target, name: str) -> Part:
    """A given part, its labels as indices into the training target's class names.

    Classes are compared by what the label columns hold: maybe only one part has names for it.
    """
    if kind_of_labels(target.labels) == "regression":
        return Part(part.samples, part.labels)
    codes = {label: code for code, label in enumerate(target.class_numbers or target.class_names)}
    labels_of_part = part.class_numbers or part.class_names
    if unknown := [label for label in labels_of_part if label not in codes]:
        raise TargetError(
            f"The {name} part has {len(unknown)} classes that the training part lacks "
            f"(the first is {unknown[0]!r}). Train and {name} must share their classes."
        )
    translation = np.array([codes[label] for label in labels_of_part], dtype=np.int64)
    if part.labels.ndim == 1:
        return Part(part.samples, translation[part.labels])
    labels = np.zeros((len(part), target.n_classes), dtype=np.int64)
    labels[:, translation] = part.labels
    return Part(part.samples, labels)
