"""Learn the coefficients of the metric ``prior``, and say how well it predicts.

    python benchmarks/learn_prior.py

Prints what ``hf_sfda/metrics/prior.py`` holds. Validation leaves out the data set *and* a tenth of
the models at a time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from hf_sfda.metrics.prior import HINTS, hints
from hf_sfda.uncertainty import weighted_tau

TABLE = Path(__file__).parent / "ground_truth" / "hub_models_180x13.csv"
PENALTY = 2.0
"""In models: a hint seen twice is believed by half. Not tuned."""


def standardised() -> tuple[pd.DataFrame, pd.DataFrame]:
    """(13, 180) accuracies, and the same standardised within each data set."""
    table = pd.read_csv(TABLE).pivot(index="dataset", columns="model", values="accuracy")
    return table, table.sub(table.mean(axis=1), axis=0).div(table.std(axis=1, ddof=0), axis=0)


def design(models: pd.Index) -> np.ndarray:
    """(M, H) whether a name gives a hint."""
    return np.array([[float(hint in hints(model)) for hint in HINTS] for model in models])


def ridge(F: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and intercept."""
    G = F - F.mean(0)
    weights = np.linalg.solve(G.T @ G + PENALTY * np.eye(F.shape[1]), G.T @ (t - t.mean()))
    return weights, float(t.mean() - F.mean(0) @ weights)


def learn() -> tuple[dict[str, float], float]:
    """Hint -> weight, and the intercept, from the whole table."""
    _, Z = standardised()
    weights, intercept = ridge(design(Z.columns), Z.mean(axis=0).to_numpy())
    return dict(zip(HINTS, weights.tolist(), strict=True)), intercept


def validate(seed: int = 0) -> dict[str, tuple[float, float]]:
    """Data set -> weighted tau of the prior, and of the mean over the other data sets, with it."""
    accuracy, Z = standardised()
    F = design(Z.columns)
    fold = np.random.default_rng(seed).permutation(len(F)) % 10
    found = {}
    for dataset in Z.index:
        t = Z.drop(index=dataset).mean(axis=0).to_numpy()
        predicted = np.empty(len(F))
        for k in range(10):
            weights, intercept = ridge(F[fold != k], t[fold != k])
            predicted[fold == k] = F[fold == k] @ weights + intercept
        true = accuracy.loc[dataset].to_numpy()
        found[dataset] = weighted_tau(predicted, true), weighted_tau(t, true)
    return found


def main() -> None:
    for dataset, (ours, mean) in (found := validate()).items():
        print(f"{dataset:32s} prior {ours:5.2f}   mean of the others {mean:5.2f}")
    ours, mean = np.mean(list(found.values()), axis=0)
    print(f"{'mean':32s} prior {ours:5.2f}   mean of the others {mean:5.2f}\n")
    weights, intercept = learn()
    print("WEIGHTS = {")
    for hint, weight in weights.items():
        print(f'    "{hint}": {weight:.4f},')
    print(f"}}\nINTERCEPT = {intercept:.4f}")


if __name__ == "__main__":
    main()
