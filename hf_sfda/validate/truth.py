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


def read_truth(path: Path) -> Truth:
    """Read a truth file: the columns ``target`` (or ``dataset``), ``checkpoint`` (or ``model``) and
    ``accuracy``. Several rows of one pair, such as several seeds, are averaged.

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
    return {
        name: {m: float(np.mean(seeds)) for m, seeds in models.items()}
        for name, models in values.items()
    }


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
