"""Which score orders checkpoints like fine-tuning does? ``python -m benchmarks.zoo.evaluate``.

Compares every column of ``scores.csv`` with the fine-tuned accuracies of ``truth.csv``, target by
target: weighted tau (:func:`hf_sfda.uncertainty.weighted_tau`) and the regret of the first pick in
points of accuracy (the expected one if several share the highest score). Means over targets have a
95% bootstrap interval over targets. A combination is also chosen on all targets but one and
evaluated on that one, for each target in turn.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.zoo import network_scores
from benchmarks.zoo.grid import TRUTH, read_truth
from hf_sfda.uncertainty import weighted_tau
from hf_sfda.validate import mean_over_targets, regret, static_list
from hf_sfda.validate.measures import tau_two_sided
from hf_sfda.validate.over_targets import noise_ceiling
from hf_sfda.validate.truth import read_seeds, run_noise

SCORES = Path(__file__).with_name("scores.csv")
FEWEST = 8
"""Checkpoints that a target needs to be evaluated."""

Floats = npt.NDArray[np.float64]
Table = Mapping[str, "Target"]

PARTS = {
    "Fisher, last": "lda_accuracy/published/last",
    "Fisher, all": "lda_accuracy/published/all",
    "logistic, last": "standardised_probe/published/last",
    "logistic, all": "logistic_probe/published/all",
    "k-NN, all": "knn/published/all",
    "SFDA cross-fitted, all": "sfda_cv/published/all",
    "SFDA cross-fitted, last": "sfda_cv/published/last",
}
"""Held-out scores in [0, 1] that a combination may average."""

CHOSEN = ("Fisher, last", "Fisher, all", "logistic, all")
"""The parts of ``three_heads``, once with published and once with measured batch norms."""

SHOWN = {
    "sfda_cv, all layers": "sfda_cv/published/all",
    "sfda_cv, last layer": "sfda_cv/published/last",
    "sfda_cv, ConfMix weight P, all layers": "sfda_cv_paper/published/all",
    "sfda_cv, ConfMix weight softmax(C P), all layers": "sfda_cv_tempered/published/all",
    "SFDA stage one, accuracy, all layers": "lda_accuracy/published/all",
    "SFDA stage one, accuracy, last layer": "lda_accuracy/published/last",
    "SFDA stage one, probability, all layers": "lda_probability/published/all",
    "SFDA stage one, log-probability, all layers": "lda_log_probability/published/all",
    "sfda as released, all layers": "sfda/published/all",
    "sfda as released, last layer": "sfda/published/last",
    "logistic probe, all layers": "logistic_probe/published/all",
    "logistic probe, standardised, last layer": "standardised_probe/published/last",
    "ridge probe, last layer": "linear_probe/published/last",
    "LogME, all layers": "logme/published/all",
    "LogME, last layer": "logme/published/last",
    "H-score, shrunk, last layer": "hscore_lw/published/last",
    "k-NN, all layers": "knn/published/all",
    "parameters": "params",
    "sfda_cv, batch norms measured, last layer": "sfda_cv/measured/last",
    "SFDA stage one, batch norms measured, last layer": "lda_accuracy/measured/last",
    "logistic probe, batch norms measured, last layer": "standardised_probe/measured/last",
    "logistic probe, batch norms measured, all layers": "logistic_probe/measured/all",
}


class Target:
    """The checkpoints of one target with their truth and their scores.

    Args:
        name: Of the target.
        accuracies: checkpoint -> fine-tuned accuracy.
        scores: checkpoint -> column -> value.
    """

    def __init__(
        self,
        name: str,
        accuracies: Mapping[str, float],
        scores: Mapping[str, Mapping[str, float]],
    ) -> None:
        self.name = name
        self.checkpoints = sorted(accuracies.keys() & scores.keys())
        self.truth = np.array([accuracies[c] for c in self.checkpoints])
        self._scores = [scores[c] for c in self.checkpoints]

    def column(self, name: str) -> Floats:
        """(n,) values; checkpoints without batch norm keep those of published features."""
        published = name.replace("/measured/", "/published/")
        return np.array([row.get(name, row.get(published, np.nan)) for row in self._scores])

    def tau(self, scores: Floats) -> float:
        """Weighted tau of scores (n,) with the truth; a missing score is the lowest."""
        tau = weighted_tau(np.nan_to_num(scores, nan=-1e9).tolist(), self.truth.tolist())
        return 0.0 if np.isnan(tau) else tau

    def regret(self, scores: Floats) -> float:
        """Points of accuracy that the first pick loses to the best checkpoint."""
        return 100 * regret(self.truth, np.nan_to_num(scores, nan=-1e9))


def read(scores: Path = SCORES) -> list[Target]:
    """The targets that have enough checkpoints with scores and truth."""
    accuracies: dict[str, dict[str, list[float]]] = {}
    for pair, row in read_truth().items():
        of_target = accuracies.setdefault(pair.target, {})
        of_target.setdefault(pair.checkpoint, []).append(float(row["accuracy"]))
    columns: dict[str, dict[str, dict[str, float]]] = {}
    with scores.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            target, checkpoint = row.pop("target"), row.pop("checkpoint")
            values = {name: float(value) for name, value in row.items() if value}
            columns.setdefault(target, {})[checkpoint] = values
    targets = [
        Target(name, {c: float(np.mean(a)) for c, a in of_target.items()}, columns.get(name, {}))
        for name, of_target in sorted(accuracies.items())
    ]
    return [target for target in targets if len(target.checkpoints) >= FEWEST]


def combined(target: Target, parts: Sequence[str], norms: str = "published") -> Floats:
    """(n,) mean of some of :data:`PARTS`, with published or measured batch norms."""
    columns = [PARTS[part].replace("/published/", f"/{norms}/") for part in parts]
    return np.mean([target.column(column) for column in columns], axis=0)


def three_heads(target: Target, *, both: bool = True) -> Floats:
    """(n,) the metric of that name, with both kinds of batch norms or only with published ones."""
    published = combined(target, CHOSEN)
    return (published + combined(target, CHOSEN, "measured")) / 2 if both else published


def static_scores(targets: Sequence[Target]) -> Callable[[Target], Floats]:
    """The order of the checkpoints on the other targets, :func:`hf_sfda.validate.static_list`."""
    names = sorted({name for target in targets for name in target.checkpoints})
    table = np.full((len(targets), len(names)), np.nan)
    for row, target in zip(table, targets, strict=True):
        row[[names.index(name) for name in target.checkpoints]] = target.truth
    lists = static_list(table)

    def scores(target: Target) -> Floats:
        row = next(i for i, other in enumerate(targets) if other is target)
        return lists[row, [names.index(name) for name in target.checkpoints]]

    return scores


def leave_one_out(targets: Sequence[Target]) -> list[tuple[tuple[str, ...], float, float]]:
    """For each target: the combination of one to three parts that is best on the others (mean
    weighted tau), and its weighted tau and regret on this one.
    """
    combinations = [c for k in (1, 2, 3) for c in itertools.combinations(PARTS, k)]
    taus = {c: [t.tau(combined(t, c)) for t in targets] for c in combinations}
    rows = []
    for i, target in enumerate(targets):
        best = max(combinations, key=lambda c: sum(taus[c]) - taus[c][i])
        rows.append((best, taus[best][i], target.regret(combined(target, best))))
    return rows


NETWORK = {
    "small fine-tuning, validation accuracy": ("small/accuracy",),
    "small fine-tuning, log-likelihood": ("small/log_likelihood",),
    "its start: logistic probe, 200 samples": ("small/start_accuracy",),
    "three_heads + small fine-tuning": ("three_heads", "small/accuracy"),
    "gradient features, logistic probe": ("gradients/logistic",),
    "gradient features, Fisher probe": ("gradients/fisher",),
    "gradients and layers, logistic probe": ("gradients_and_layers/logistic",),
    "layers, logistic probe, same samples": ("same_layers/logistic",),
    "three_heads + gradient features": ("three_heads", "gradients/logistic"),
}
"""Scores of :mod:`benchmarks.zoo.network_scores`, and sums of them with the default."""


def network_report(targets: Sequence[Target]) -> str:
    """The table of the scores that run the network again, on the targets that have them all."""
    columns = network_scores.read()
    lines = [
        "| score | targets | weighted tau | three_heads there | three_heads is ahead by | "
        "regret, points | three_heads there |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, parts in NETWORK.items():
        rows = []
        for target in targets:
            values = [columns.get((c, target.name), {}) for c in target.checkpoints]
            needed = [part for part in parts if part != "three_heads"]
            if not all(part in row for row in values for part in needed):
                continue
            default = three_heads(target)
            score = sum(
                default if part == "three_heads" else np.array([row[part] for row in values])
                for part in parts
            )
            taus = (target.tau(np.asarray(score)), target.tau(default))
            rows.append((*taus, target.regret(np.asarray(score)), target.regret(default)))
        if len(rows) < 3:
            continue
        tau, tau_default, lost, lost_default = np.transpose(rows)
        lines.append(
            f"| {name} | {len(rows)} | {_with_interval(tau, 2)} | {tau_default.mean():.2f} | "
            f"{_with_interval(tau_default - tau, 2)} | {_with_interval(lost, 1)} | "
            f"{lost_default.mean():.1f} |"
        )
    return "\n".join(lines)


def noise_of_runs() -> tuple[float, int]:
    """Standard deviation of a fine-tuned accuracy between seeds, and the pairs that have two."""
    seeds = read_seeds(TRUTH)
    repeated = sum(len(runs) > 1 for models in seeds.values() for runs in models.values())
    noise = run_noise(seeds)
    assert noise is not None, "the truth has second seeds"
    return noise, repeated


def report(targets: Sequence[Target]) -> str:
    """The tables in Markdown."""
    scores: dict[str, Callable[[Target], Floats]] = {
        "**three_heads**": three_heads,
        "three_heads, published batch norms": lambda t: three_heads(t, both=False),
        "three_heads, measured batch norms": lambda t: combined(t, CHOSEN, "measured"),
    }
    for name, column in SHOWN.items():
        scores[name] = lambda target, column=column: target.column(column)  # type: ignore[misc]
    scores["static list of the other targets"] = static_scores(targets)
    lines = [
        "| score | weighted tau | three_heads is ahead by | regret of the first pick, points | "
        + " | ".join(f"{t.name} ({len(t.checkpoints)})" for t in targets)
        + " |",
        "|---|---|---|---|" + "---|" * len(targets),
    ]
    first = [t.tau(three_heads(t)) for t in targets]
    order = sorted(scores, key=lambda name: -np.mean([t.tau(scores[name](t)) for t in targets]))
    for name in order:
        taus = [t.tau(scores[name](t)) for t in targets]
        regrets = [t.regret(scores[name](t)) for t in targets]
        ahead = np.subtract(first, taus)
        difference = "" if name == "**three_heads**" else _with_interval(ahead, 2)
        lines.append(
            f"| {name} | {_with_interval(taus, 2)} | {difference} | {_with_interval(regrets, 1)} | "
            + " | ".join(f"{tau:.2f}" for tau in taus)
            + " |"
        )
    chosen = leave_one_out(targets)
    lines += [
        "",
        "Chosen on the other targets (mean of one to three of "
        f"{len(PARTS)} held-out scores): weighted tau {_with_interval([r[1] for r in chosen], 2)}, "
        f"regret {_with_interval([r[2] for r in chosen], 1)} points. Chosen were "
        + "; ".join(
            f"{' + '.join(parts)} ({sum(r[0] == parts for r in chosen)} times)"
            for parts in dict.fromkeys(r[0] for r in chosen)
        )
        + ".",
    ]
    noise, n_pairs = noise_of_runs()
    best = [
        (
            noise_ceiling(target.truth, noise, tau_two_sided),
            100 * noise_ceiling(target.truth, noise, regret),
        )
        for target in targets
    ]
    lines += [
        "",
        f"Two seeds of {n_pairs} pairs differ with a standard deviation of {noise:.3f} a run. With "
        f"that noise a perfect score reaches a weighted tau of {np.mean([b[0] for b in best]):.2f} "
        f"and a regret of {np.mean([b[1] for b in best]):.1f} points on these targets.",
    ]
    return "\n".join(lines)


def _with_interval(values: npt.ArrayLike, digits: int) -> str:
    mean = mean_over_targets(values, resamples=10_000)
    assert mean.low is not None, "there are several targets"
    return f"{mean.value:.{digits}f} ({mean.low:.{digits}f} to {mean.high:.{digits}f})"


if __name__ == "__main__":
    print(report(read()), network_report(read()), sep="\n\n")
