"""A target out of plain samples, for tests of the stages behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hf_sfda.tasks import kind_of_labels
from hf_sfda.types import Modality, Target


def make_target(
    samples: Sequence[Any], modality: Modality = "image", name: str = "inputs"
) -> Target:
    """A target of three classes; ``name`` stands for the fingerprint of the inputs."""
    n = len(samples)
    return Target(
        dataset_id="me/test",
        revision=None,
        config=None,
        split="train",
        modality=modality,
        task=f"{modality}-classification",
        label_kind="single-label",
        input_column=modality,
        label_column="label",
        samples=samples,
        sample_ids=tuple(f"train/{i}" for i in range(n)),
        labels=np.arange(n, dtype=np.int64) % 3,
        class_names=("a", "b", "c"),
        n_available=n,
        left_out={},
        inputs_fingerprint=f"{name}-{n}",
        fingerprint=f"{name}-{n}-labels",
        seed=0,
    )


def target_with(labels: np.ndarray, n_classes: int) -> Target:
    """A target of empty texts with labels of any kind."""
    names = tuple(f"label {k}" for k in range(n_classes))
    target = make_target([""] * len(labels), "text")
    return replace(target, labels=labels, class_names=names, label_kind=kind_of_labels(labels))
