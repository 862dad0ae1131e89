"""``python -m benchmarks.zoo.check``: is the truth fit to judge by? Prints the README's tables.

Three questions: does fine-tuning reach the frozen probe, do two seeds agree on the order, and what
does a pair cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.zoo.grid import Pair, Row, read_truth
from hf_sfda.uncertainty import weighted_tau

FEWEST_PAIRS = 4
"""Checkpoints with two seeds that a target needs before an agreement of orders means something."""


def reaches_probe(rows: Sequence[Row]) -> tuple[int, int]:
    """Number of pairs whose fine-tuned accuracy is at least the probe's, and number of pairs."""
    reached = [float(r["accuracy"]) >= float(r["probe_accuracy"]) for r in rows]
    return sum(reached), len(reached)


def clearly_below_probe(rows: Sequence[Row]) -> list[Row]:
    """Pairs whose fine-tuned accuracy lies below the probe's by more than sampling explains.

    Both are shares of the same test samples, so two standard errors of an unpaired difference are
    a cautious limit.
    """
    below = []
    for row in rows:
        tuned, probe, n = (float(row[c]) for c in ("accuracy", "probe_accuracy", "n_test"))
        error = np.sqrt((tuned * (1 - tuned) + probe * (1 - probe)) / n)
        if probe - tuned > 2 * error:
            below.append(row)
    return below


def seed_agreement(rows: Mapping[Pair, Row], target: str) -> tuple[float, int]:
    """Weighted tau between the accuracies of seeds 0 and 1 on one target, and on how many."""
    first, second = [], []
    for pair, row in rows.items():
        other = Pair(1, pair.modality, pair.checkpoint, pair.target)
        if pair.seed == 0 and pair.target == target and other in rows:
            first.append(float(row["accuracy"]))
            second.append(float(rows[other]["accuracy"]))
    return weighted_tau(first, second), len(first)


def report(rows: Mapping[Pair, Row]) -> str:
    """The tables in Markdown."""
    lines = [
        "| target | pairs | best | worst | fine-tuned >= probe | median gain over the probe "
        "| seeds agree (weighted tau, checkpoints) | processor seconds a pair |",
        "|---|---|---|---|---|---|---|---|",
    ]
    targets = sorted({(pair.modality, pair.target) for pair in rows})
    for modality, target in targets:
        own = [row for pair, row in rows.items() if pair.target == target and pair.seed == 0]
        if not own:
            continue
        accuracies = [float(row["accuracy"]) for row in own]
        gains = [float(row["accuracy"]) - float(row["probe_accuracy"]) for row in own]
        reached, of = reaches_probe(own)
        tau, n = seed_agreement(rows, target)
        agreement = f"{tau:.2f} ({n})" if n >= FEWEST_PAIRS else f"- ({n})"
        seconds = np.median([float(row["cpu_seconds"]) for row in own])
        lines.append(
            f"| {target} ({modality}) | {of} | {max(accuracies):.3f} | {min(accuracies):.3f} "
            f"| {reached} of {of} | {np.median(gains):+.3f} | {agreement} | {seconds:.0f} |"
        )
    every = [row for pair, row in rows.items() if pair.seed == 0]
    reached, of = reaches_probe(every)
    below = clearly_below_probe(every)
    lines += [
        "",
        f"Fine-tuned >= probe in {reached} of {of} pairs ({reached / max(of, 1):.0%}); clearly "
        f"below it (two standard errors) in {len(below)}"
        + (": " + ", ".join(f"{r['checkpoint']} on {r['target']}" for r in below) if below else "")
        + ".",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(read_truth()))
