"""Does ``--candidates diverse`` find better checkpoints than ``popular``?

    python -m benchmarks.choosing

180 image checkpoints of the Hub were fine-tuned on 13 datasets (``ground_truth/``). Both choices
take a few of the 180, and the best accuracy among these is compared with the best of all. What is
lost is the price of the choice alone: no score is involved. One dataset is left out, because a
third of the checkpoints has no accuracy on it.

The number of downloads is not in the table. Two orders stand for it, each in 200 versions: by
chance, and checkpoints that were trained on ImageNet before all others. Neither is the Hub's. The
table does not say either what a checkpoint was fine-tuned from, which most cards of today do. So
``diverse`` is tried without such a statement, and with one for all that were not trained on
ImageNet: a base of the same family and size.
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from hf_sfda.scan.choose import Entry, choose
from hf_sfda.types import Candidate
from hf_sfda.validate import mean_over_targets

_FOLDER = Path(__file__).with_name("ground_truth")
_BUDGETS = (5, 10, 20, 40)
_VERSIONS = 200
_LEAST_MEASURED = 0.9


def is_general(row: dict[str, str]) -> bool:
    """Whether a checkpoint was trained on ImageNet."""
    return "imagenet" in row["trained_on"]


def entry(row: dict[str, str], downloads: int, *, states_base: bool) -> Entry:
    """A checkpoint as the Hub would list it."""
    params = int(row["parameters"] or 0) or None
    tags = [f"dataset:{row['trained_on']}"] if row["trained_on"] else []
    if states_base and not is_general(row):
        step = round(np.log(params or 1) / np.log(4))
        tags.append(f"base_model:finetune:base/{row['family']}-{step}")
    candidate = Candidate(row["model"], "hub", params=params, downloads=downloads)
    return Entry(candidate, row["family"], tuple(tags), {"F32": params} if params else {})


def lost(
    rows: Sequence[dict[str, str]],
    accuracy: np.ndarray,
    top: int,
    *,
    diverse: bool,
    general_first: bool,
    states_base: bool,
) -> np.ndarray:
    """(targets,) points that the best of ``top`` chosen checkpoints loses, over all versions."""
    means = []
    for seed in range(_VERSIONS):
        order = list(range(len(rows)))
        random.Random(seed).shuffle(order)
        if general_first:
            order.sort(key=lambda i: not is_general(rows[i]))
        entries = [
            entry(rows[i], len(rows) - place, states_base=states_base)
            for place, i in enumerate(order)
        ]
        chosen = choose(entries, top=top, diverse=diverse).candidates
        taken = {candidate.model_id for candidate in chosen}
        which = [i for i, row in enumerate(rows) if row["model"] in taken]
        means.append(accuracy.max(1) - accuracy[:, which].max(1))
    return 100 * np.mean(means, 0)


def main() -> None:
    rows = list(csv.DictReader((_FOLDER / "hub_models.csv").open()))
    measured: dict[str, dict[str, float]] = defaultdict(dict)
    for row in csv.DictReader((_FOLDER / "hub_models_180x13.csv").open()):
        measured[row["dataset"]][row["model"]] = float(row["accuracy"])
    least = _LEAST_MEASURED * len(rows)
    targets = [name for name, values in measured.items() if len(values) >= least]
    # A checkpoint without an accuracy is never the best.
    accuracy = np.array([[measured[t].get(row["model"], 0.0) for row in rows] for t in targets])
    print(f"{len(rows)} checkpoints, {len(targets)} datasets, points lost to the best of all\n")
    print("| order | base stated | chosen | popular | diverse | gain of diverse [95%] |")
    print("|---|---|---|---|---|---|")
    for general_first, states_base, top in product((False, True), (False, True), _BUDGETS):
        popular, diverse = (
            lost(
                rows,
                accuracy,
                top,
                diverse=diverse,
                general_first=general_first,
                states_base=states_base,
            )
            for diverse in (False, True)
        )
        gain = mean_over_targets(popular - diverse)
        print(
            f"| {'ImageNet first' if general_first else 'chance'} "
            f"| {'yes' if states_base else 'no'} | {top} "
            f"| {popular.mean():.1f} | {diverse.mean():.1f} "
            f"| {gain.value:.1f} [{gain.low:.1f}, {gain.high:.1f}] |",
            flush=True,
        )


if __name__ == "__main__":
    main()
