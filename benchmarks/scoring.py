"""How fast are the metrics, beside the least arithmetic they can do and beside the textbook way?

    python benchmarks/scoring.py                          # one thread, 10,000 x 2,048, 100 classes
    python benchmarks/scoring.py --threads 2
    python benchmarks/scoring.py --samples 2000 --width 8192 --no-textbook
    python benchmarks/scoring.py --memory                 # peak memory, one child process a metric
    python benchmarks/scoring.py --intervals              # the jackknife, with refits and without

All functions run in one process, in turns, and the best of the rounds counts, so that a noisy
neighbour falls on all of them alike. The floor of SFDA is the arithmetic it cannot avoid: two Gram
matrices, two Cholesky factors and two N x D x C products of the same size and precision, each by
the fastest routine we have (half a product for a Gram matrix). With N < D all of it is at width N.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from scipy.special import softmax

from hf_sfda.config import RankConfig
from hf_sfda.metrics import Metric, linalg, list_metrics, single
from hf_sfda.ranking.assemble import _contributions as contributions_of_groups
from hf_sfda.scoring import (
    make_problem,
    permuted_scores,
    score,
    score_problem,
    score_problem_by_all,
)
from hf_sfda.tasks import scored_labels

SLOW = ("nleep", "parc")
DEFAULT = ("sfda_cv", "knn", "linear_probe", "logme")
"""Some metrics of one run."""


def make(n: int, d: int, c: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Float64 features with class means that overlap, and labels."""
    rng = np.random.default_rng(seed)
    y = np.r_[np.repeat(np.arange(c), 2), rng.integers(0, c, n - 2 * c)]
    return rng.normal(size=(n, d)) + 0.3 * rng.normal(size=(c, d))[y], y


def uneven(X: np.ndarray) -> np.ndarray:
    """Features of which few directions have most of the variance, as in layers of networks."""
    return X / np.arange(1, X.shape[1] + 1)


def floor(X: torch.Tensor, c: int) -> None:
    """The arithmetic of SFDA and nothing else."""
    X = X[:, : min(X.shape)]
    ridge = torch.eye(X.shape[1], dtype=X.dtype)
    W = torch.ones(X.shape[1], c, dtype=X.dtype)
    for _ in range(2):
        torch.linalg.cholesky(linalg.gram(X).add_(ridge))
        linalg.product(X, W)


def textbook(X: np.ndarray, y: np.ndarray, *, projected: bool = False) -> float:
    """SFDA by covariances class by class and generalised eigenvectors, twice.

    Samples are classified as in the released code, by the coefficients M V V', or as in the paper:
    samples and means are projected on all eigenvectors V and classified there.
    """
    n, d = X.shape
    classes = np.unique(y)

    def posterior(X: np.ndarray, shrinkage: float | None) -> tuple[np.ndarray, np.ndarray, float]:
        means = np.stack([X[y == k].mean(0) for k in classes])
        priors = np.array([np.mean(y == k) for k in classes])
        within = np.zeros((d, d))
        for p, k in zip(priors, classes, strict=True):
            within += p * np.cov(X[y == k].T, bias=True)
        if shrinkage is None:
            x = within.sum(1)
            for _ in range(3):
                u = within @ x
                u /= np.linalg.norm(u)
                x = within @ u
                x /= np.linalg.norm(x)
            shrinkage = max(np.exp(-5 * (x @ within @ u)), 1e-10)
        A = (1 - shrinkage) * within + shrinkage * np.trace(within) / d * np.eye(d)
        _, V = scipy.linalg.eigh(np.cov(X.T, bias=True) - A, A)
        if projected:
            seen, centres = X @ V, means @ V
        else:
            seen, centres = X, means @ V @ V.T
        bias = np.log(priors) - 0.5 * np.square(means @ V).sum(1)
        return means, softmax(seen @ centres.T + bias, axis=1), shrinkage

    means, P, shrinkage = posterior(X, None)
    w = softmax(P, axis=1)[np.arange(n), y][:, None]
    others = (means.sum(0) - means) / (len(classes) - 1)
    P = posterior(w * X + (1 - w) * others[y], shrinkage)[1]
    return float(P[np.arange(n), y].mean())


def best(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Name -> least wall and least processor seconds over the rounds, taken in turns."""
    times = {name: (float("inf"), float("inf")) for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            wall, cpu = time.perf_counter(), time.process_time()
            function()
            spent = time.perf_counter() - wall, time.process_time() - cpu
            times[name] = (min(times[name][0], spent[0]), min(times[name][1], spent[1]))
    return times


def in_double(X: np.ndarray, y: np.ndarray) -> None:
    """``sfda_cv`` without products in float32, whatever the size."""
    worth, single._WORTH = single._WORTH, float("inf")
    try:
        score(X, y, "sfda_cv")
    finally:
        single._WORTH = worth


def candidate_apart(X: np.ndarray, y: np.ndarray) -> None:
    """A candidate as it was scored before: the noise floor casts and rotates once more."""
    score_problem_by_all(make_problem(X, y), DEFAULT)
    permuted_scores(make_problem(X, y), "sfda_cv", n_permutations=5)


def candidate_together(X: np.ndarray, y: np.ndarray) -> None:
    """A candidate as `hf-sfda rank` scores it: one problem for metrics and noise floor."""
    problem = make_problem(X, y)
    score_problem_by_all(problem, DEFAULT)
    permuted_scores(problem, "sfda_cv", n_permutations=5)


def speed(args: argparse.Namespace) -> None:
    X, y = make(args.samples, args.width, args.classes)
    few = uneven(X)
    tensor = torch.from_numpy(X)
    names = [m.name for m in list_metrics() if m.needs == "features" and m.name not in SLOW]
    functions: dict[str, Callable[[], object]] = {
        "floor": lambda: floor(tensor, args.classes),
        "sfda": lambda: score(X, y, "sfda"),
        "sfda_cv": lambda: score(X, y, "sfda_cv"),
        "sfda_cv, uneven directions": lambda: score(few, y, "sfda_cv"),
        "sfda_cv, float64 throughout": lambda: in_double(X, y),
    }
    times = best(functions, args.rounds)
    others: dict[str, Callable[[], object]] = {
        name: (lambda name=name: score(X, y, name)) for name in names if name not in times
    }
    others["all of the above together"] = lambda: score_problem_by_all(make_problem(X, y), names)
    for name in ("sfda", "sfda_cv", "logme", "hscore"):
        others[f"{name}, 5 shuffles"] = lambda name=name: permuted_scores(
            make_problem(X, y), name, n_permutations=5
        )
    others["a candidate, floor apart"] = lambda: candidate_apart(X, y)
    others["a candidate, one problem"] = lambda: candidate_together(X, y)
    if not args.no_others:
        times |= best(others, 1)
    if not args.no_textbook:
        ours = score(X, y, "sfda").value
        for name, projected in (("textbook, as released", False), ("textbook, as in paper", True)):
            theirs = []
            run = partial(textbook, X, y, projected=projected)
            times |= best({name: lambda run=run, to=theirs: to.append(run())}, 1)
            assert abs(ours - theirs[0]) < 1e-9, (ours, theirs)
    print(f"N {args.samples}, D {args.width}, C {args.classes}, float64, {_machine()}")
    print("\n| | wall s | processor s | x floor |\n|---|---|---|---|")
    # One thread: processor time, which other processes disturb least. More: only wall time counts.
    which = 1 if args.threads == 1 else 0
    for name, spent in times.items():
        ratio = spent[which] / times["floor"][which]
        print(f"| {name} | {spent[0]:.2f} | {spent[1]:.2f} | {ratio:.2f} |")


def intervals(args: argparse.Namespace) -> None:
    """Time of the jackknife beside one score: refits of all groups, and what the metric shares.

    Both start from the problem of a score, whose decomposition is there, as in a run. They must
    agree.
    """
    X, y = make(args.samples, args.width, args.classes)
    X = X.astype(np.float32)  # as features are stored
    rng = np.random.default_rng(1)
    value = X[:, :50].sum(1) + 5 * rng.normal(size=len(X))
    tags = (X[:, :10] + rng.normal(size=(len(X), 10)) > 1).astype(np.float64)
    print(f"N {args.samples}, D {args.width}, C {args.classes}, float32, {_machine()}")
    print("\n| | score s | refits | shared | refits / shared | largest difference |")
    print("|---|---|---|---|---|---|")
    for metric in (entry for entry in list_metrics() if entry.without_groups):
        for kind, labels in (("single-label", y), ("regression", value), ("multi-label", tags)):
            if kind in metric.tasks:
                _interval(metric, kind, X, labels, args)


def _interval(
    metric: Metric, kind: str, X: np.ndarray, y: np.ndarray, args: argparse.Namespace
) -> None:
    config = RankConfig("benchmark", metric=metric.name, metrics=(metric.name,), layers="last")
    refitted = replace(metric, without_groups=None)
    problem = make_problem(X, scored_labels(y))
    score = score_problem(problem, metric.name)  # the decomposition is cached from here on
    results: dict[str, np.ndarray] = {}

    def jackknife(name: str, entry: Metric) -> None:
        results[name] = contributions_of_groups(entry, score, problem, X, y, None, config)

    functions: dict[str, Callable[[], object]] = {
        "score": lambda: score_problem(make_problem(X, scored_labels(y)), metric.name),
        "shared": lambda: jackknife("shared", metric),
        "refits": lambda: jackknife("refits", refitted),
    }
    times = best(functions, args.rounds)
    which = 1 if args.threads == 1 else 0
    one, shared, refits = (times[name][which] for name in ("score", "shared", "refits"))
    apart = np.abs(results["shared"] - results["refits"]).max()
    print(
        f"| `{metric.name}`, {kind} | {one:.3f} | {refits / one:.1f} | {shared / one:.2f} | "
        f"{refits / shared:.1f} | {apart:.0e} |",
        flush=True,
    )


def memory(args: argparse.Namespace) -> None:
    """Peak memory of each metric beyond the features, in multiples of the features."""
    print(f"N {args.samples}, D {args.width}, C {args.classes}; features = 1")
    for name in ("sfda", "sfda_cv", "logme", "hscore", "hscore_lw", "knn", "linear_probe"):
        command = [sys.executable, __file__, "--child", name, "--threads", str(args.threads)]
        command += ["--samples", str(args.samples), "--width", str(args.width)]
        command += ["--classes", str(args.classes)]
        print(name, subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(args: argparse.Namespace) -> None:
    small = make(200, 16, 4)
    score(*small, args.child)  # load the libraries first
    X, y = make(args.samples, args.width, args.classes)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of making the data (Linux)
    before = _peak()
    score(X, y, args.child)
    print(round((_peak() - before) / X.nbytes, 2), end="")


def _peak() -> int:
    """Bytes of the largest resident set so far."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def _machine() -> str:
    model = platform.processor() or platform.machine()
    return (
        f"torch {torch.__version__}, numpy {np.__version__}, {torch.get_num_threads()} thread(s), "
        f"{os.cpu_count()} cores, {model}, load {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=2_048)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-textbook", action="store_true")
    parser.add_argument("--no-others", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--intervals", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.child:
        child(args)
    elif args.intervals:
        intervals(args)
    elif args.memory:
        memory(args)
    else:
        speed(args)


if __name__ == "__main__":
    main()
