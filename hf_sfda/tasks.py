"""The kinds of label: what a task is called, and how labels of each kind are divided.

``Target.label_kind`` says which kind a target has, the ``task`` of a ranking says it in results,
and the shape of a label array says it where there is nothing else. numpy and the standard library
only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hf_sfda.format import three_digits
from hf_sfda.types import IntArray, LabelArray, LabelKind, Modality, first_classes

TASK_NAMES: Mapping[LabelKind, str] = {
    "single-label": "classification",
    "multi-label": "multi-label-classification",
    "regression": "regression",
    "token": "token-classification",
}
"""Kind of label -> the task, as it follows the modality: ``text-regression``."""

_SLICES = 10
_PER_SLICE = 20  # fewest samples of a slice of a regression target


def task_name(modality: Modality, kind: LabelKind) -> str:
    """The name of a task.

    Example:
        >>> task_name("image", "single-label"), task_name("text", "multi-label")
        ('image-classification', 'text-multi-label-classification')
    """
    return f"{modality}-{TASK_NAMES[kind]}"


def kind_of_task(task: str | None) -> LabelKind:
    """The kind of label of a task that :func:`task_name` named.

    Example:
        >>> kind_of_task("text-regression"), kind_of_task("image-classification")
        ('regression', 'single-label')
    """
    _, _, name = (task or "").partition("-")
    return next((kind for kind, known in TASK_NAMES.items() if known == name), "single-label")


def has_classes(kind: LabelKind) -> bool:
    """Whether each sample has one class: its own, or the tag of a word."""
    return kind in ("single-label", "token")


def kind_of_labels(labels: LabelArray) -> LabelKind:
    """The kind of the labels of a target: (N,) ints, (N,) floats, or (N, T) zeros and ones.

    Tags of words are ints, too. They are scored, sampled and divided as classes are.
    """
    if labels.ndim == 2:
        return "multi-label"
    return "regression" if labels.dtype.kind == "f" else "single-label"


def strata_of(labels: LabelArray) -> IntArray:
    """The strata by which labels of any kind are sampled, resampled and divided into groups.

    Classes are their own strata. The values of a regression are divided by rank into at most ten
    slices, of equal size as far as equal values allow. A sample with several labels belongs to the
    rarest of them; samples without any are a stratum of their own. No stratum of a regression or of
    several labels has one member; it joins its neighbour, or the samples without labels.

    Args:
        labels: (N,) classes, (N,) floats, or (N, T) zeros and ones.

    Returns:
        (N,) int64.

    Example:
        >>> strata_of(np.array([[1, 0], [1, 1], [1, 1], [0, 0], [1, 0]]))
        array([0, 1, 1, 2, 0])
    """
    kind = kind_of_labels(labels)
    if kind == "single-label":
        classes: IntArray = labels
        return classes
    n = len(labels)
    if kind == "regression":
        return _slices(labels, max(1, min(_SLICES, n // _PER_SLICE)))
    n_labels = labels.shape[1]
    counts = labels.sum(0)
    rarity = np.where(labels > 0, counts, n + 1)
    rarest = np.where(labels.any(1), rarity.argmin(1), n_labels)
    sizes = np.bincount(rarest, minlength=n_labels + 1)
    strata: IntArray = np.where(sizes[rarest] > 1, rarest, n_labels).astype(np.int64)
    return strata


def _slices(values: LabelArray, n_slices: int) -> IntArray:
    """(N,) slice of each value, by its mid-rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    twice_middle = 2 * counts.cumsum() - counts
    slices = (n_slices * twice_middle // (2 * len(values)))[place]
    used, members = np.unique(slices, return_counts=True)
    joined: list[int] = []  # of each slice, the number of the stratum that it belongs to
    for i, size in enumerate(members):
        alone = size == 1 or (i == 1 and members[0] == 1)
        joined.append(joined[-1] if joined and alone else len(set(joined)))
    strata: IntArray = np.array(joined, dtype=np.int64)[np.searchsorted(used, slices)]
    return strata


def scored_labels(labels: LabelArray) -> LabelArray:
    """Labels as the metrics get them: the values of a regression with mean 0 and variance 1.

    Only LogME depends on it. It has no intercept, so it would spend the features on the mean.
    """
    if kind_of_labels(labels) != "regression":
        return labels
    values = labels / (np.abs(labels).max() or 1.0)  # squares of large values overflow
    spread = values.std()
    scaled: LabelArray = (values - values.mean()) / (spread if spread > 0 else 1.0)
    return scaled


def compared_classes(task: str | None, n_classes: int | None) -> int:
    """How many classes a metric tells apart at a time: each of several labels against the rest."""
    return 2 if kind_of_task(task) == "multi-label" else int(n_classes or 0)


_UNCALIBRATED: Mapping[LabelKind, str] = {
    "multi-label": "several labels a sample",
    "regression": "a regression",
    "token": "tags of words",
}


PAIRS_ARE_NOT_CALIBRATED = "P(best) was calibrated on single texts, not on pairs of texts."
"""For pairs of one class each, whose task is that of single texts."""


def has_benchmark(task: str | None) -> bool:
    """Whether the confidence is calibrated for this task: images and texts of one class each.

    Example:
        >>> has_benchmark("image-classification"), has_benchmark("audio-classification")
        (True, False)
    """
    return not _not_calibrated(task)


def _not_calibrated(task: str | None) -> list[str]:
    kind = kind_of_task(task)
    reasons = [_UNCALIBRATED[kind]] if kind in _UNCALIBRATED else []
    return [*reasons, "sounds"] if (task or "").startswith("audio-") else reasons


def calibration_warning(task: str | None) -> list[str]:
    """What to know about P(best) where it is not calibrated on fine-tuned models."""
    reasons = _not_calibrated(task)
    if not reasons:
        return []
    return [
        f"P(best) is not calibrated for {' or for '.join(reasons)}: too few fine-tuned models were "
        "measured. So P(best) and ties are about the score on other samples, not about fine-tuning."
    ]


def label_facts(data: Mapping[str, Any]) -> list[str]:
    """What a run is about, as phrases: the task and why, and how many labels there are.

    Args:
        data: :meth:`hf_sfda.types.Target.describe`, or as much of it as published rows have.
    """
    kind = kind_of_task(data.get("task"))
    reason = f", since {data['task_reason']}" if data.get("task_reason") else ""
    task = str(data["task"]).replace("-", " ").replace("multi label", "multi-label") + reason
    if kind == "regression":
        limits = map(three_digits, data.get("label_range") or ())
        span = " to ".join(limits)
        return [task, f"values from {span}"] if span else [task]
    if kind == "multi-label":
        mean = data.get("labels_per_sample")
        return [task, f"{data['n_classes']:,} labels" + (f", {mean:.2g} a sample" if mean else "")]
    if kind == "token":
        return [task, f"{data['n_classes']:,} tags", "one word of each sentence"]
    return [task, f"{data['n_classes']:,} classes"]


def columns_phrase(data: Mapping[str, Any]) -> str:
    """The columns and the first classes: ``image by label: cat, dog``; empty if not known.

    Of tags of words: ``words of tokens by tags of ner_tags: O, B-PER``.

    Args:
        data: As in :func:`label_facts`.
    """
    names, label, column = (
        data.get(key) for key in ("class_names", "label_column", "input_column")
    )
    if not (label and column) or (not names and kind_of_task(data.get("task")) != "regression"):
        return ""
    names = [str(name) for name in names or ()]
    classes = first_classes(names)
    if kind_of_task(data.get("task")) == "token":
        return f"words of {column} by tags of {label}: {classes}"
    if label == ", ".join(names):  # the label columns are the labels
        return f"{column} by {classes}"
    return f"{column} by {label}" + (f": {classes}" if classes else "")
