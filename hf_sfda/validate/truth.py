"""Read accuracies after fine-tuning from a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hf_sfda.errors import ConfigError

Truth = Mapping[str, Mapping[str, float]]
"""Target -> model -> accuracy, the mean over seeds."""

_TARGET, _MODEL = ("target", "dataset"), ("checkpoint", "model")


Seeds = Mapping[str, Mapping[str, list[float]]]
"""Target -> model -> accuracy of each fine-tuning run."""


def read_seeds(path: Path) -> Seeds:
    """Read a truth file: the columns ``target`` (or ``dataset``), ``checkpoint`` (or ``model``) and
    ``accuracy``. Several rows of one pair are several seeds.

    Raises:
        ConfigError: The file cannot be read, lacks a column, or has an accuracy that is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            target = next((name for name in _TARGET if name in columns), None)
            model = next((name for name in _MODEL if name in columns), None)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"Cannot read the truth file {path}: {error}.") from error
    if target is None or model is None or "accuracy" not in columns:
        raise ConfigError(
            f"{path} has the columns {', '.join(columns) or 'none'}. A truth file needs target (or "
            "dataset), checkpoint (or model) and accuracy."
        )
    values: dict[str, dict[str, list[float]]] = {}
    for number, row in enumerate(rows, start=2):
        try:
            accuracy = float(row["accuracy"])
        except (TypeError, ValueError):
            accuracy = float("nan")
        if not np.isfinite(accuracy):
            raise ConfigError(
                f"{path}, row {number}: accuracy is {row['accuracy']!r}. Give a finite number."
            )
        values.setdefault(row[target], {}).setdefault(row[model], []).append(accuracy)
    return values


def mean_over_seeds(seeds: Seeds) -> Truth:
    """One accuracy a model and target."""
    return {
        name: {m: float(np.mean(runs)) for m, runs in models.items()}
        for name, models in seeds.items()
    }


def run_noise(seeds: Seeds) -> float | None:
    """Standard deviation of the accuracy between runs that differ in the seed only, pooled over all
    pairs; ``None`` if no pair has two runs.
    """
    repeated = [np.array(r) for models in seeds.values() for r in models.values() if len(r) > 1]
    if not repeated:
        return None
    squares = sum(float(((runs - runs.mean()) ** 2).sum()) for runs in repeated)
    return float(np.sqrt(squares / sum(len(runs) - 1 for runs in repeated)))


def match(names: list[str], wanted: list[str]) -> dict[str, str]:
    """Match names to those of the truth: equal, or equal in the part after the last slash.

    A last part that two names share matches nothing, because the choice would be a guess.

    >>> match(["acme/vit", "b/net", "c/net"], ["vit", "net"])
    {'acme/vit': 'vit'}
    """
    matched = {name: name for name in names if name in wanted}
    last = [name.rstrip("/").rsplit("/", 1)[-1] for name in names]
    free = [name.rsplit("/", 1)[-1] for name in wanted]
    for name, part in zip(names, last, strict=True):
        if name not in matched and last.count(part) == 1 and free.count(part) == 1:
            other = wanted[free.index(part)]
            if other not in matched.values():
                matched[name] = other
    return matched
