"""Stage two in float32: the bound on its error holds, and float64 takes over where it is large."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_sfda.metrics import linalg, single
from hf_sfda.metrics.crossfit import Plan, held_out, train
from hf_sfda.metrics.fisher import fit, other_means, self_challenge
from hf_sfda.metrics.single import (
    TOLERANCE,
    Answer,
    Rows,
    Stage,
    bound_on_trace,
    second_stage,
)
from hf_sfda.scoring import make_problem, score
from tests.metrics.test_contract import blobs

ROUNDING = 1e-10
"""What float64 leaves in a mean probability, where A is nearly singular."""


def planned(X, y, folds=5):
    problem = make_problem(X, y)
    return Plan.of(problem, folds, folds)


def stage_of(plan, k):
    """Stage two of fold k, as `held_out` builds it."""
    counts, priors, means, within, shrinkage = train(plan, k)
    P = fit(means, priors, within, shrinkage, plan.width).probabilities(plan.X)
    others = other_means(means, (counts > 0).double())
    w = self_challenge(P, plan.y)
    parts, held = plan.training(k), plan.held(k)
    return Stage(plan.X, w, plan.y, others, counts, shrinkage, plan.width, parts, held)


def answered(plan, k, rows, steps=0) -> tuple[float, Answer | None]:
    """The error of the mean probability of fold k, and what float32 says."""
    answer = second_stage(stage_of(plan, k), rows, steps)
    if answer is None:
        return 0.0, None
    truth = plan.y[plan.held(k), None]
    mean = float(answer.probabilities.gather(1, truth).mean())
    return abs(mean - float(held_out(plan, k).true.mean())), answer


def uneven(X, rng, decades=6):
    """Directions of very different size, in a random basis."""
    basis = np.linalg.qr(rng.normal(size=(X.shape[1], X.shape[1])))[0]
    return X * np.logspace(0, -decades, X.shape[1]) @ basis


KINDS = {
    "plain": lambda X, rng: X,
    "uneven directions": uneven,
    "duplicated columns": lambda X, rng: np.c_[X, X, X[:, :1]],
    "constant column": lambda X, rng: np.c_[X, np.ones(len(X))],
    "columns of other units": lambda X, rng: X * 10.0 ** rng.integers(-6, 7, X.shape[1]),
    "tiny": lambda X, rng: X * 1e-30,
    "huge": lambda X, rng: X * 1e30,
    "offset": lambda X, rng: X + 1e4,
    "heavy tails": lambda X, rng: X * np.exp(2 * rng.normal(size=X.shape)),
    "not negative": lambda X, rng: np.maximum(X, 0),
}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    kind=st.sampled_from(sorted(KINDS)),
    n=st.integers(40, 400),
    d=st.integers(1, 90),
    c=st.integers(2, 12),
    separation=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
    steps=st.integers(0, 2),
)
def test_the_error_is_within_the_bound(seed, kind, n, d, c, separation, steps):
    X, y = blobs(separation, n=n, d=d, c=c, seed=seed)
    y = np.unique(y, return_inverse=True)[1]
    plan = planned(KINDS[kind](X, np.random.default_rng(seed)), y)
    rows = Rows.cast(plan.X)
    for k in range(2):
        error, answer = answered(plan, k, rows, steps)
        if answer is not None:
            assert error <= answer.bound + ROUNDING


def rounded(rows, bits):
    """The same samples, with fewer digits: as if float32 were so much worse."""
    mantissa, exponent = torch.frexp(rows.X)
    return Rows(torch.ldexp((mantissa * 2**bits).round() / 2**bits, exponent), rows.unit)


@pytest.mark.parametrize("bits", [6, 9, 12])
def test_larger_errors_are_seen_and_bounded(bits):
    X, y = blobs(0.5, n=400, d=60, c=8)
    plan = planned(uneven(X, np.random.default_rng(0)), y)
    exact, rough = (Rows.cast(plan.X), rounded(Rows.cast(plan.X), bits))
    errors = []
    for k in range(5):
        error, answer = answered(plan, k, rough)
        assert error <= answer.bound
        assert answer.bound > 10 * answered(plan, k, exact)[1].bound
        errors.append(error / answer.bound)
    assert max(errors) > 1e-3  # no bound that is far from every error


def test_refinement_mends_larger_errors():
    X, y = blobs(0.5, n=400, d=60, c=8)
    plan = planned(uneven(X, np.random.default_rng(0)), y)
    for bits in (9, 12):
        rough = rounded(Rows.cast(plan.X), bits)
        for k in range(5):
            assert answered(plan, k, rough)[1].bound > TOLERANCE
            error, answer = answered(plan, k, rough, steps=2)
            assert error <= answer.bound <= TOLERANCE


def test_a_bound_too_large_means_float64():
    X, y = blobs(0.5, n=400, d=60, c=8)
    plan = planned(uneven(X, np.random.default_rng(0)), y)
    rough = rounded(Rows.cast(plan.X), 3)
    assert answered(plan, 0, rough, steps=2)[1].bound > TOLERANCE
    outcome = held_out(plan, 0, rough)
    assert not outcome.single
    torch.testing.assert_close(outcome.true, held_out(plan, 0).true, rtol=0, atol=0)


def test_classes_far_apart_mean_float64():
    X, y = blobs(1e5, n=200, d=20)
    plan = planned(X, y)
    outcome = held_out(plan, 0, Rows.cast(plan.X))
    assert not outcome.single
    torch.testing.assert_close(outcome.true, held_out(plan, 0).true, rtol=0, atol=0)


def test_a_matrix_that_float32_cannot_factorise_means_float64():
    """Almost no shrinkage, and directions that are smaller than its rounding."""
    X, y = blobs(0.5, n=400, d=40)
    plan = planned(uneven(X, np.random.default_rng(0), 10), y)
    stage = stage_of(plan, 0)._replace(shrinkage=1e-20)
    answer = second_stage(stage, Rows.cast(plan.X))
    assert answer is None or answer.bound > TOLERANCE


MATRICES = {
    "one direction": np.diag([1.0] + [0] * 19),  # where a few draws say least
    "minus": -np.diag([1.0] + [0] * 19),
    "identity": np.eye(20),
    "cancels": np.diag([1.0, -1] * 10),
    "lopsided": np.outer(np.arange(20), np.ones(20)),
    "rotation": np.eye(20)[::-1] - np.eye(20),
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_trace_is_below_its_bound_whatever_the_matrix(name):
    B = torch.from_numpy(MATRICES[name].copy())
    trace, size = abs(float(B.trace())), float(B.norm())
    draws = torch.Generator().manual_seed(1)
    bounds = []
    for _ in range(2000):
        Z = torch.randn(single._DRAWS, 20, generator=draws, dtype=torch.float64)
        bounds.append(bound_on_trace(Z, Z @ B.T))
    assert min(bounds) >= trace
    assert np.median(bounds) < trace + 8 * size  # no bound that is far from every trace


def test_the_stated_chances_are_those_of_the_constants():
    """The share is tried where it is least certain: one square, instead of a sum of them."""
    share, draws = single._LEAST_SHARE, single._DRAWS
    exact = scipy.stats.chi2.cdf(draws * share, draws)
    stated = (share * math.exp(1 - share)) ** (draws / 2)
    assert exact < stated < 2.5e-6
    assert 2 * math.exp(-single._RARE) + 2 * stated < 1e-5


CHANGES = {
    "none": lambda X: X,
    "rows reversed": lambda X: X[::-1].copy(),
    "another unit": lambda X: X * 1e-4 + 3,
    "fewer samples than dimensions": lambda X: np.tile(X, (1, 9)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_score_hardly_changes(change, monkeypatch):
    X, y = blobs(0.3, n=600, d=80, c=9, seed=3)
    y = np.unique(y, return_inverse=True)[1]
    X = CHANGES[change](X)
    double = score(X, y, "sfda_cv")
    monkeypatch.setattr(single, "_WORTH", 0)
    ours = score(X, y, "sfda_cv")
    assert ours.value == pytest.approx(double.value, abs=TOLERANCE)
    assert ours.value != double.value  # it was float32
    assert ours.details == pytest.approx(double.details, rel=1e-12)  # stage one was not
    assert ours.value == score(X, y, "sfda_cv").value


def test_threads_change_nothing_that_matters():
    X, y = blobs(0.3, n=3000, d=200, c=5)
    plan = planned(X, y)
    rows, before = Rows.cast(plan.X), torch.get_num_threads()
    means = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            outcome = held_out(plan, 0, rows)
            assert outcome.single
            means.append(float(outcome.true.mean()))
    finally:
        torch.set_num_threads(before)
    assert means[0] == pytest.approx(means[1], abs=TOLERANCE)


def test_only_large_problems_are_worth_it():
    X = torch.randn(1000, 1000, dtype=torch.float64)
    assert Rows.of(X[:900]) is None
    rows = Rows.of(1e40 * X)
    assert rows.X.dtype == torch.float32
    torch.testing.assert_close(rows.unit * rows.X.double() / 1e40, X, rtol=1e-7, atol=0)
    assert Rows.of(torch.zeros_like(X)) is None


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), n=st.integers(1, 400), d=st.integers(1, 200))
def test_its_routines_by_brute_force(seed, n, d):
    rng = np.random.default_rng(seed)
    X, y, w, V = (
        rng.normal(size=(n, d)),
        rng.integers(0, 3, n),
        rng.random(n),
        rng.normal(size=(4, d)),
    )
    centres, shifts = rng.normal(size=(2, 3, d))
    tensors = [torch.from_numpy(array) for array in (X, w, y)]
    parts = [slice(0, n // 3), slice(n // 2, n)]
    rows = np.r_[parts[0], parts[1]]
    R, hot = X[rows] * w[rows, None], np.eye(3)[y[rows]]

    sums = linalg.weighted_sums(*tensors, 3, parts)
    assert sums.square == pytest.approx(np.square(R).sum())
    np.testing.assert_allclose(sums.first, hot.T @ R, atol=1e-9)
    np.testing.assert_allclose(sums.second, hot.T @ (R * w[rows, None]), atol=1e-9)
    np.testing.assert_allclose(sums.weight, hot.T @ w[rows], atol=1e-9)
    np.testing.assert_allclose(sums.weight2, hot.T @ w[rows] ** 2, atol=1e-9)

    product = linalg.weighted_gram_times(torch.from_numpy(V), *tensors[:2], parts)
    np.testing.assert_allclose(product, V @ R.T @ R, atol=1e-8)

    small = [torch.from_numpy(array).float() for array in (X, w, centres, shifts)]
    scatter = linalg.single_scatter(small[0], small[1], tensors[2], small[2], small[3], parts)
    S = w[rows, None] * (X[rows] - centres[y[rows]]) - shifts[y[rows]]
    # Differences cancel, so that an error is small beside their terms, not beside the result.
    size = w[rows, None] * (np.abs(X[rows]) + np.abs(centres[y[rows]])) + np.abs(shifts[y[rows]])
    apart = np.abs(scatter.numpy() - S.T @ S)[np.triu_indices(d)]
    assert (apart <= 1e-5 * (size.T @ size)[np.triu_indices(d)]).all()

    whole, part = (linalg.upper_gram(tensors[0][: n // i]) for i in (1, 2))
    A = torch.from_numpy(centres)
    down = linalg.downdated(whole, part, A, A * torch.tensor([[1.0], [2.0], [3.0]]), 0.5)
    wanted = X[n // 2 :].T @ X[n // 2 :] - centres.T @ np.diag([1.0, 2, 3]) @ centres
    np.testing.assert_allclose(down, wanted / 2, atol=1e-8)
    np.testing.assert_array_equal(down, down.T)

    np.testing.assert_allclose(
        linalg.product(tensors[0], torch.from_numpy(V.T)), X @ V.T, atol=1e-9
    )
