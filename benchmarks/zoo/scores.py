"""Scores of every checkpoint on every target of the zoo: the table that defaults are chosen from.

``python -m benchmarks.zoo.features`` writes the features, ``python -m benchmarks.zoo.scores``
scores them and merges all pairs into ``scores.csv``, one column a score. A column is called
``METRIC/NORMS/LAYERS``: norms ``published`` or ``measured`` (batch-norm statistics measured again
on the target; checkpoints without batch norm keep the published features), layers ``last`` or
``all``. ``python -m benchmarks.zoo.evaluate`` compares the columns with ``truth.csv``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from hf_sfda.files import write_atomically

SCORES = Path(__file__).with_name("scores.csv")
METRICS = (
    "sfda",
    "sfda_cv",
    "logme",
    "hscore",
    "hscore_lw",
    "knn",
    "linear_probe",
    "logistic_probe",
)
PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)

Floats = npt.NDArray[np.float64]


def scores_of(arrays: Mapping[str, Any]) -> dict[str, float]:
    """All columns of one pair."""
    from hf_sfda.ranking.layers import layer_features
    from hf_sfda.types import Features

    labels = np.asarray(arrays["labels"])
    out: dict[str, float] = {"params": float(arrays["params"])}
    for norms in ("published", "measured"):
        layers = {
            name.partition("/")[2]: values
            for name, values in arrays.items()
            if name.startswith(f"{norms}/")
        }
        for which in ("last", "all") if layers else ():
            X = layer_features(Features(layers), labels, which)
            scores = _scores_of_features(X, labels)
            if which == "last":
                accuracy, likelihood = standardised_probe(X, labels)
                scores["standardised_probe"] = accuracy
                scores["standardised_log_likelihood"] = likelihood
            out |= {f"{name}/{norms}/{which}": value for name, value in scores.items()}
    return out


def _scores_of_features(X: Any, labels: Any) -> dict[str, float]:
    from hf_sfda.errors import MetricError
    from hf_sfda.scoring import make_problem, score_problem_by_all

    problem = make_problem(X, labels)
    outcomes = score_problem_by_all(problem, METRICS)
    results = {name: r for name, r in outcomes.items() if not isinstance(r, MetricError)}
    out = {name: result.value for name, result in results.items()} | challenged(problem)
    details = results["sfda_cv"].details
    out["lda_accuracy"] = details["accuracy"]
    for key in ("probability", "log_probability"):
        out[f"lda_{key}"] = details[f"stage_one_{key}"]
    out["logistic_log_likelihood"] = results["logistic_probe"].details["log_likelihood"]
    return out


def challenged(problem: Any) -> dict[str, float]:
    """SFDA's score with other weights of ConfMix: the paper's P, and softmax(C P)."""
    from hf_sfda.metrics import crossfit
    from hf_sfda.scoring import score_problem

    released = crossfit.self_challenge
    ways = {
        "sfda_cv_paper": lambda P, y: P.gather(1, y[:, None])[:, 0],
        "sfda_cv_tempered": lambda P, y: released(P * P.shape[1], y),
    }
    out = {}
    for name, way in ways.items():
        crossfit.self_challenge = way
        try:
            out[name] = score_problem(problem, "sfda_cv").value
        finally:
            crossfit.self_challenge = released
    return out


def standardised_probe(X: Any, labels: Any, folds: int = 5) -> tuple[float, float]:
    """Cross-validated logistic regression on standardised features, the penalty chosen by its
    held-out log-likelihood: accuracy and log-likelihood.
    """
    import torch

    from hf_sfda.finetune.classifier import SMALLEST_SPREAD
    from hf_sfda.metrics.folds import stratified_folds
    from hf_sfda.metrics.logistic import fit_logistic, logistic_log_probabilities

    Z = torch.from_numpy(np.asarray(X, dtype=np.float64))
    y = torch.from_numpy(np.unique(labels, return_inverse=True)[1])
    C = int(y.max()) + 1
    fold = torch.from_numpy(stratified_folds(y.numpy(), folds, 0))
    log_P = {penalty: Z.new_zeros((len(y), C)) for penalty in PENALTIES}
    for k in range(folds):
        held = fold == k
        mean, spread = Z[~held].mean(0), Z[~held].std(0, correction=0)
        spread = spread.clamp_min(SMALLEST_SPREAD * float(spread.square().mean().sqrt()) or 1.0)
        A, B = (Z[~held] - mean) / spread, (Z[held] - mean) / spread
        if A.shape[1] > len(A):  # the solution lies in the span of the training samples
            basis = torch.linalg.qr(A.T).Q
            A, B = A @ basis, B @ basis
        length = float(A.square().sum(1).mean()) ** 0.5 or 1.0
        start = np.zeros((A.shape[1] + 1) * C)
        for penalty in PENALTIES:
            start, _ = fit_logistic(A, y[~held], C, penalty, length, start)
            log_P[penalty][held] = logistic_log_probabilities(B, start, y[~held], C, length)

    def likelihood(penalty: float) -> float:
        return float(log_P[penalty].gather(1, y[:, None]).clamp(min=-27.6).mean())

    best = max(PENALTIES, key=likelihood)
    return float((log_P[best].argmax(1) == y).double().mean()), likelihood(best)


def pairs_in(zoo: Path) -> Iterator[tuple[str, str, Path]]:
    """(checkpoint, target, features) of what is extracted."""
    for file in sorted((zoo / "features").glob("*--*.npz")):
        if not file.name.endswith(".tmp.npz"):
            checkpoint, _, target = file.stem.rpartition("--")
            yield checkpoint, target, file


def collect(zoo: Path, out: Path = SCORES) -> int:
    """Merge what is scored into the committed table; rows that were scored elsewhere stay."""
    table: dict[tuple[str, str], dict[str, object]] = {}
    if out.exists():
        with out.open(newline="") as stored:
            table = {
                (row["checkpoint"], row["target"]): dict(row) for row in csv.DictReader(stored)
            }
    for checkpoint, target, _ in pairs_in(zoo):
        file = zoo / "scores" / f"{checkpoint}--{target}.json"
        if file.is_file():
            pair = {"checkpoint": checkpoint, "target": target}
            table[checkpoint, target] = {**pair, **json.loads(file.read_text())}
    rows = list(table.values())
    columns = [
        "checkpoint",
        "target",
        *sorted({c for row in rows for c in row} - {"checkpoint", "target"}),
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in sorted(rows, key=lambda row: (row["target"], row["checkpoint"])):
        writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()})
    write_atomically(out, text.getvalue().encode())
    return len(rows)


def main(zoo: Annotated[Path, typer.Option()] = Path(".zoo"), share: str = "0/1") -> None:
    """Score what is missing, then merge."""
    import time

    number, of = map(int, share.split("/"))
    (zoo / "scores").mkdir(exist_ok=True)
    for checkpoint, target, file in list(pairs_in(zoo))[number::of]:
        out = zoo / "scores" / f"{checkpoint}--{target}.json"
        if out.exists():
            continue
        start = time.process_time()
        with np.load(file) as arrays:
            values = scores_of(dict(arrays))
        write_atomically(out, json.dumps(values, indent=1).encode())
        print(out.name, f"{time.process_time() - start:.1f} s", flush=True)
    print(collect(zoo), "pairs in", SCORES.name)


if __name__ == "__main__":
    typer.run(main)
