"""Many shuffles by the shortcut against the same shuffles scored in full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hf_sfda.metrics import shuffles
from hf_sfda.metrics.crossfit import Plan, held_out
from hf_sfda.metrics.problem import Geometry, Problem
from hf_sfda.scoring import make_problem, permuted_scores, score
from tests.metrics.test_contract import blobs

GOLDEN = Path(__file__).parent / "golden"
P = 60


@pytest.fixture
def exactly(monkeypatch):
    """Set how many shuffles are scored in full."""

    def set_number(number):
        monkeypatch.setattr(shuffles, "_EXACT", number)
        monkeypatch.setattr(shuffles, "_EXACT_OF_SMALL", number)

    return set_number


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.npz")))
def test_shortcut_has_mean_and_spread_of_full_scores(name, exactly):
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        X, y = arrays["features"], arrays["labels"]
    problem = make_problem(X, y, seed=3)
    short = permuted_scores(problem, n_permutations=P)
    exactly(P)
    full = permuted_scores(problem, n_permutations=P)
    exactly(1)
    cheap = permuted_scores(problem, n_permutations=P)
    np.testing.assert_array_equal(short[:8], full[:8])  # those scored in full
    misses = full - cheap
    assert misses.std() < 0.7 * full.std()
    assert abs(short.mean() - full.mean()) < 3 * misses.std() / np.sqrt(8)
    assert short.std() == pytest.approx(full.std(), rel=0.35)


def test_full_scores_are_those_of_sfda_cv():
    """A shuffle within folds is a relabelled plan, and that is the metric on these labels."""
    X, y = blobs(0.3, n=120, d=9)
    problem = Problem(Geometry(torch.from_numpy(X)), torch.from_numpy(y), 4, seed=5)
    plan = Plan.of(problem, 5, 5)
    assert score(X, y, seed=5).value == pytest.approx(
        float(torch.cat([held_out(plan, k).true for k in range(5)]).mean()), abs=1e-12
    )
    y_new = shuffles._shuffle(plan, np.random.default_rng(0))
    made = plan.relabelled(y_new)
    assert (y_new != plan.y).any()
    for k in range(5):
        rows = plan.held(k)
        assert (torch.bincount(y_new[rows], minlength=4) == plan.counts[k]).all()
        for c in range(4):
            wanted = plan.X[rows][y_new[rows] == c].sum(0)
            np.testing.assert_allclose(made.sums[k, c], wanted, atol=1e-12)


@pytest.mark.parametrize(
    "case", ["spherical", "class missing from a fold", "constant", "few", "separate"]
)
def test_hard_inputs(case):
    X, y = blobs(0.3)
    if case == "spherical":  # shrinkage 1
        X = np.random.default_rng(0).normal(size=(60, 200))
        y = np.arange(60) % 3
    elif case == "constant":
        X = np.full_like(X, 2.0)
    elif case == "separate":
        X = np.eye(4)[y]
    elif case == "few":
        X, y = X[:8], y[:8]
    else:
        y = np.where(np.arange(len(y)) == 0, 9, y)
    floor = permuted_scores(make_problem(X, y, min_class_size=1), n_permutations=25)
    assert np.isfinite(floor).all()
    assert (floor >= -0.05).all() and floor.mean() < 0.6


def test_regression_takes_slices_and_tags_the_long_way():
    X, y = blobs(0.5)
    target = X[:, 0] + y
    shuffled = permuted_scores(make_problem(X, target), n_permutations=20)
    assert shuffled.mean() < score(X, target).value
    tags = make_problem(X, np.stack([y == 0, y > 1], axis=1).astype(int))
    by_hand = permuted_scores(tags, n_permutations=20)[:3]
    np.testing.assert_array_equal(by_hand, permuted_scores(tags, n_permutations=3))


def test_options_reach_the_shortcut():
    problem = make_problem(*blobs(0.5))
    three = permuted_scores(problem, n_permutations=20, folds=3)
    assert (three != permuted_scores(problem, n_permutations=20)).all()
    with pytest.raises(Exception, match="folds is 1"):
        permuted_scores(problem, n_permutations=20, folds=1)
