"""Each metric against an independent computation: scikit-learn, scipy, or brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from hf_sfda.errors import MetricError
from hf_sfda.metrics import linalg
from hf_sfda.metrics.by_class import stacks
from hf_sfda.metrics.fisher import fit, mix, other_means, self_challenge
from hf_sfda.metrics.folds import stratified_folds
from hf_sfda.metrics.pca import principal_components
from hf_sfda.metrics.problem import Geometry, Problem
from hf_sfda.metrics.reduction import slices
from hf_sfda.metrics.shrinkage import ledoit_wolf
from hf_sfda.scoring import rescaled_across_candidates, score
from hf_sfda.types import Score
from tests.metrics.test_contract import blobs

seeds = st.integers(0, 2**16)
few = settings(max_examples=15, deadline=None)


def textbook_sfda(X, y):
    """The released score as the paper writes it: all generalised eigenvectors, class by class."""
    n, d = X.shape
    classes = np.unique(y)

    def scatters(X):
        priors = np.array([np.mean(y == c) for c in classes])
        means = np.stack([X[y == c].mean(0) for c in classes])
        within = sum(
            p * np.cov(X[y == c].T, bias=True).reshape(d, d)
            for p, c in zip(priors, classes, strict=True)
        )
        return priors, means, within

    def posterior(X, shrinkage):
        priors, means, within = scatters(X)
        A = (1 - shrinkage) * within + shrinkage * np.trace(within) / d * np.eye(d)
        _, V = scipy.linalg.eigh(np.cov(X.T, bias=True).reshape(d, d) - A, A)
        logits = (X @ V) @ (means @ V).T - 0.5 * np.square(means @ V).sum(1) + np.log(priors)
        return means, softmax(logits, axis=1)

    within = scatters(X)[2]
    x = within.sum(1)
    for _ in range(3):
        u = within @ x
        u /= np.linalg.norm(u)
        x = within @ u
        x /= np.linalg.norm(x)
    shrinkage = max(math.exp(-5 * (x @ within @ u)), 1e-10)
    means, P = posterior(X, shrinkage)
    w = softmax(P, axis=1)[np.arange(n), y][:, None]
    others = np.stack([np.delete(means, c, axis=0).mean(0) for c in range(len(classes))])
    _, P = posterior(w * X + (1 - w) * others[y], shrinkage)
    return P[np.arange(n), y]


@pytest.mark.parametrize(("n", "d", "c"), [(90, 7, 3), (120, 30, 5), (60, 4, 2), (400, 70, 12)])
def test_sfda_is_that_of_the_textbook(n, d, c):
    X, y = blobs(0.4, n=n, d=d, c=c, seed=n)
    ours = score(0.4 * X, y, "sfda")
    assert 0.01 < ours.details["shrinkage"] < 1  # not at either end, where less would be compared
    np.testing.assert_allclose(ours.per_sample, textbook_sfda(0.4 * X, y), atol=1e-10)


def test_sfda_of_few_samples_is_that_of_the_textbook():
    X, y = blobs(0.4, n=40, d=90, c=4, seed=1)
    ours = score(0.1 * X, y, "sfda")
    assert 0.01 < ours.details["shrinkage"] < 1
    np.testing.assert_allclose(ours.per_sample, textbook_sfda(0.1 * X, y), atol=1e-9)


def textbook_sfda_cv(X, y, folds):
    """Cross-fitting written down as it is told: fold by fold, sample by sample."""
    n, d = X.shape
    C = y.max() + 1
    out = np.empty(n)

    def discriminant(X, y, shrinkage=None):
        means = np.stack([X[y == c].mean(0) for c in range(C)])
        residuals = X - means[y]
        if shrinkage is None:
            shrinkage = sklearn_ledoit_wolf(residuals, assume_centered=True)[1]
        within = residuals.T @ residuals / len(X)
        A = (1 - shrinkage) * within + shrinkage * np.trace(within) / d * np.eye(d)
        W = np.linalg.solve(A, means.T)
        bias = np.log(np.bincount(y, minlength=C) / len(y)) - 0.5 * (means.T * W).sum(0)
        return means, shrinkage, lambda Z: softmax(Z @ W + bias, axis=1)

    for k in range(folds.max() + 1):
        train, held = folds != k, folds == k
        means, shrinkage, posterior = discriminant(X[train], y[train])
        others = np.stack([np.delete(means, c, axis=0).mean(0) for c in range(C)])
        P = posterior(X)
        w = np.array([softmax(p)[c] for p, c in zip(P, y, strict=True)])[:, None]
        mixed = w * X + (1 - w) * others[y]
        _, _, posterior = discriminant(mixed[train], y[train], shrinkage)
        out[held] = posterior(mixed[held])[np.arange(held.sum()), y[held]]
    return out


@pytest.mark.parametrize(("n", "d", "c", "k"), [(120, 9, 3, 5), (90, 30, 4, 3), (60, 100, 3, 4)])
def test_sfda_cv_is_the_textbook_score_of_held_out_folds(n, d, c, k):
    X, y = blobs(0.6, n=n, d=d, c=c, seed=n)
    y = np.unique(y, return_inverse=True)[1]
    ours = score(X, y, "sfda_cv", folds=k, seed=4)
    wanted = textbook_sfda_cv(X, y, stratified_folds(y, k, seed=4))
    np.testing.assert_allclose(ours.per_sample, wanted, atol=1e-9)


@few
@given(seed=seeds, d=st.integers(1, 12), shrinkage=st.floats(0.01, 1))
def test_stage_one_is_linear_discriminant_analysis(seed, d, shrinkage):
    X, y = blobs(0.7, n=60, d=d, seed=seed)
    reference = LinearDiscriminantAnalysis(
        solver="lsqr", covariance_estimator=_Shrunk(shrinkage)
    ).fit(X, y)
    counts = np.bincount(y)
    means = torch.from_numpy(np.stack([X[y == c].mean(0) for c in range(4)]))
    within = linalg.gram(torch.from_numpy(X - means.numpy()[y])) / len(X)
    rule = fit(means, torch.from_numpy(counts / len(y)), within, shrinkage, d)
    ours = rule.probabilities(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(ours, reference.predict_proba(X), atol=1e-9)


class _Shrunk:
    """Biased covariance shrunk to a sphere; scikit-learn would rescale each class first."""

    def __init__(self, shrinkage):
        self.shrinkage = shrinkage

    def fit(self, X):
        S = np.cov(X.T, bias=True).reshape(X.shape[1], X.shape[1])
        target = np.trace(S) / len(S) * np.eye(len(S))
        self.covariance_ = (1 - self.shrinkage) * S + self.shrinkage * target
        return self


@few
@given(seed=seeds, n=st.integers(2, 40), d=st.integers(1, 40))
def test_ledoit_wolf_is_scikit_learns(seed, n, d):
    X = np.random.default_rng(seed).normal(size=(n, d)) * np.linspace(0.3, 3, d)
    S = torch.from_numpy(X.T @ X / n)
    ours = ledoit_wolf(S, float(np.square(np.square(X).sum(1)).sum()), n, d)
    if d == 1:  # a variance is its own sphere; scikit-learn answers 0, the covariance is the same
        assert ours == 1.0
    else:
        assert ours == pytest.approx(sklearn_ledoit_wolf(X, assume_centered=True)[1], abs=1e-9)


def test_the_weight_of_self_challenge_stays_within_its_bounds():
    P = torch.softmax(torch.randn(50, 10, dtype=torch.float64) * 9, dim=1)
    w = self_challenge(P, P.argmax(1))
    assert (w >= 1 / 10 - 1e-12).all()
    assert (w <= math.e / (math.e + 9) + 1e-12).all()


def test_mean_of_the_other_classes_ignores_absent_ones():
    means = torch.tensor([[1.0, 0], [0, 3], [0, 0], [5, 5]]).double()
    others = other_means(means, torch.tensor([1.0, 1, 0, 1]).double())
    np.testing.assert_allclose(others[0], [2.5, 4])
    np.testing.assert_allclose(others[2], [2, 8 / 3])


def log_evidence(X, t, alpha, beta):
    """log N(t; 0, I / beta + X X' / alpha), by an N x N determinant."""
    covariance = np.eye(len(t)) / beta + X @ X.T / alpha
    _, logdet = np.linalg.slogdet(covariance)
    fit = t @ np.linalg.solve(covariance, t)
    return -0.5 * (logdet + fit + len(t) * math.log(2 * math.pi))


# Where N < D the noise-free limit can win, which has no finite maximum: these have an inner one.
@pytest.mark.parametrize(("n", "d", "seed"), [(50, 8, 8), (40, 40, 40), (30, 45, 7)])
def test_logme_is_the_maximum_of_the_evidence(n, d, seed):
    X, y = blobs(0.5, n=n, d=d, c=3, seed=seed)
    best = []
    for c in range(3):
        t = (y == c).astype(float)

        def negative(logs, t=t):
            return -log_evidence(X, t, *np.exp(logs))

        optimum = min(
            (
                scipy.optimize.minimize(negative, start, method="Nelder-Mead", tol=1e-10)
                for start in ([0, 0], [5, 2], [-3, 5])
            ),
            key=lambda result: result.fun,
        )
        best.append(-optimum.fun / n)
    assert score(X, y, "logme").value == pytest.approx(np.mean(best), abs=1e-8)


def uneven_problem(seed):
    """Features whose dimensions differ by orders of magnitude: often there are two maxima."""
    rng = np.random.default_rng(seed)
    n, d = rng.integers(10, 40), rng.integers(3, 60)
    X = rng.normal(size=(n, d)) * np.exp(rng.normal(size=d) * rng.uniform(0, 4))
    signal = X @ (rng.normal(size=d) * np.exp(rng.normal(size=d) * 2)) * rng.choice([0, 0.01, 1])
    return X, signal + rng.normal(size=n) * np.exp(rng.normal() * 3)


def evidence_by_optimiser(X, t):
    """Highest evidence per sample that L-BFGS finds from nine starts, and log(alpha / beta)."""
    n = len(t)
    U, s, _ = np.linalg.svd(X, full_matrices=True)
    s = np.r_[s, np.zeros(n)][:n]
    c2 = np.square(U.T @ t)

    def negative(logs):
        variance = np.exp(-logs[1]) + np.square(s) * np.exp(-logs[0])
        density = np.log(variance) + c2 / variance + math.log(2 * math.pi)
        by_variance = (1 / variance - c2 / variance**2) / 2
        gradient = -by_variance @ np.c_[np.square(s) * np.exp(-logs[0]), np.exp(0 * s - logs[1])]
        return density.sum() / 2 / n, gradient / n

    unit, noise = math.log(np.square(s).mean()), -math.log(np.square(t).mean())
    ends = [
        scipy.optimize.minimize(
            negative, [unit + noise + log, noise], jac=True, method="L-BFGS-B",
            bounds=[(unit + noise - 40, unit + noise + 40), (noise - 20, noise + 20)],
            options={"ftol": 0, "gtol": 1e-10, "maxiter": 500},
        )
        for log in range(-24, 25, 6)
    ]  # fmt: skip
    best = min(ends, key=lambda result: result.fun)
    return -best.fun, best.x[0] - best.x[1] - unit


def test_logme_is_the_higher_of_two_maxima():
    """Of problems with uneven features, against an optimiser from many starts."""
    inner = 0
    for seed in range(60):
        X, t = uneven_problem(seed)
        wanted, log_ratio = evidence_by_optimiser(X, t)
        value = score(X, t, "logme").value
        assert value >= wanted - 1e-6, seed
        if abs(log_ratio) < 20:  # else the evidence rises to the end of the range
            assert value == pytest.approx(wanted, abs=1e-6), seed
            inner += 1
    assert inner > 20


def test_logme_does_not_depend_on_the_unit():
    X, t = uneven_problem(6)
    wanted = score(X, t, "logme").value
    for factor in (1e-140, 1e-6, 1e6, 1e140):
        assert score(factor * X, t, "logme").value == pytest.approx(wanted, abs=1e-9)


def test_logme_of_a_perfect_fit_is_high():
    """The evidence then has no maximum; the fixed point of the release ends below that of noise."""
    y = np.arange(60) % 4
    perfect, rng = np.eye(4)[y], np.random.default_rng(0)
    values = [
        score(X, y, "logme").value
        for X in (rng.normal(size=(60, 4)), perfect + 0.1 * rng.normal(size=(60, 4)), perfect)
    ]
    assert values == sorted(values)
    repeated = score(np.repeat(perfect, 20, axis=1), y, "logme").value
    assert repeated == pytest.approx(values[-1], rel=1e-6)


def test_fewer_steps_of_logme_are_never_higher():
    X, y = blobs(0.5, n=40, d=40, c=3, seed=40)
    values = [score(X, y, "logme", max_steps=steps).value for steps in (1, 2, 50)]
    assert values[0] <= values[1] + 1e-12
    assert values[1] <= values[2] + 1e-12
    assert values[0] == pytest.approx(values[2], abs=1e-3)


def test_logme_of_a_regression_is_the_maximum_of_the_evidence():
    X, _ = blobs(0.5, n=50, d=8)
    t = X[:, 0] + np.random.default_rng(0).normal(size=50)
    result = score(X, t, "logme")

    def negative(logs):
        return -log_evidence(X, t, *np.exp(logs))

    found = scipy.optimize.minimize(negative, [0, 0], method="Nelder-Mead", tol=1e-10)
    assert result.value == pytest.approx(-found.fun / 50, abs=1e-6)


@few
@given(seed=seeds, d=st.integers(1, 10))
def test_hscore_is_the_trace(seed, d):
    X, y = blobs(0.5, n=60, d=d, seed=seed)
    means = np.stack([X[y == c].mean(0) for c in range(4)])[y]
    total, between = (np.cov(A.T).reshape(d, d) for A in (X, means))
    wanted = np.trace(np.linalg.pinv(total) @ between)
    assert score(X, y, "hscore").value == pytest.approx(wanted, abs=1e-9)


@few
@given(seed=seeds, n=st.integers(10, 60), d=st.integers(1, 80))
def test_hscore_keeps_its_bound(seed, n, d):
    X, y = blobs(0.5, n=n, d=d, seed=seed)
    X = np.c_[X, X @ np.ones((d, 3)) * (1 + 1e-9)]  # nearly dependent columns
    assert 0 <= score(X, y, "hscore").value <= min(3, d) + 1e-9


def test_hscore_warns_where_it_rewards_width():
    X, y = blobs(0.0, n=40, d=60)
    result = score(X, y, "hscore")
    assert result.value == pytest.approx(3, abs=1e-6)
    assert "rewards width" in result.warnings[0]


@few
@given(seed=seeds, k=st.sampled_from([1, 3, 5, 60]))
def test_knn_is_that_of_brute_force(seed, k):
    X, y = blobs(0.5, n=50, d=3, seed=seed)
    hits = []
    for i in range(len(X)):
        distances = np.linalg.norm(X - X[i], axis=1)
        distances[i] = np.inf
        near = y[np.argsort(distances)[: min(k, len(X) - 1)]]
        votes = np.bincount(near, minlength=4)
        winner = next(c for c in near if votes[c] == votes.max())  # ties: nearest voter
        hits.append(float(winner == y[i]))
    np.testing.assert_array_equal(score(X, y, "knn", k=k).per_sample, hits)


def test_nearest_neighbour_is_scikit_learns():
    X, y = blobs(0.5, n=200, d=30)
    hits = [
        KNeighborsClassifier(1)
        .fit(np.delete(X, i, 0), np.delete(y, i))
        .score(X[i : i + 1], y[i : i + 1])
        for i in range(200)
    ]
    np.testing.assert_array_equal(score(X, y, "knn", k=1).per_sample, hits)


@pytest.mark.parametrize("metric", ["sfda", "sfda_cv", "hscore", "hscore_lw"])
def test_tags_are_scored_one_against_the_rest(metric):
    X, y = blobs(0.5)
    tags = np.stack([y == 0, y >= 2], axis=1).astype(int)
    together = score(X, tags, metric)
    alone = [score(X, tags[:, t], metric) for t in range(2)]
    assert together.value == pytest.approx(np.mean([one.value for one in alone]))
    if together.per_sample is not None:
        shares = np.mean([one.per_sample for one in alone], axis=0)
        np.testing.assert_allclose(together.per_sample, shares)


@pytest.mark.parametrize("metric", ["sfda", "sfda_cv"])
def test_regression_is_scored_by_slices(metric):
    X, _ = blobs(0.5)
    target = X[:, 0] + 0.3 * X[:, 1]
    ranks = scipy.stats.rankdata(target) - 0.5
    wanted = score(X, np.floor(ranks / 150 * 7).astype(int), metric)  # 7 slices of 20 or more
    ours = score(X, target, metric)
    assert ours.details["slices"] == 7
    assert ours.value == pytest.approx(wanted.value, abs=1e-9)
    assert score(X, np.exp(target), metric).value == pytest.approx(ours.value)  # order is all


@few
@given(
    values=st.lists(st.integers(0, 6), min_size=2, max_size=90).filter(lambda v: len(set(v)) > 1)
)
def test_slices_keep_equal_values_together(values):
    target = torch.tensor(values, dtype=torch.float64)
    problem = Problem(Geometry(torch.ones(len(values), 1)), target, 1, "regression")
    sliced = slices(problem)
    assert sliced.n_classes >= 2
    assert set(sliced.labels.tolist()) == set(range(sliced.n_classes))
    pairs = sorted(set(zip(values, sliced.labels.tolist(), strict=True)))
    assert len(pairs) == len(set(values))  # one slice a value
    assert [label for _, label in pairs] == sorted(label for _, label in pairs)  # in order


def refitted(model, X, Y):
    """Predictions for each row by a fit to the others."""
    return np.stack(
        [
            model.fit(np.delete(X, i, 0), np.delete(Y, i, 0)).predict(X[i : i + 1]).reshape(-1)
            for i in range(len(X))
        ]
    )


@pytest.mark.parametrize("kind", ["regression", "multi-label"])
def test_knn_and_probe_score_the_variance_explained(kind):
    X, y = blobs(0.5, n=60)
    target = X[:, 0] + y if kind == "regression" else np.stack([y == 0, y > 1], axis=1).astype(int)
    columns = target.reshape(60, -1).astype(float)
    left_out = refitted(KNeighborsRegressor(5), X, columns)
    assert score(X, target, "knn").value == pytest.approx(r2_score(columns, left_out))
    ours = score(X, target, "linear_probe")
    left_out = refitted(Ridge(ours.details["penalty"]), X, columns)
    assert ours.value == pytest.approx(r2_score(columns, left_out))


@pytest.mark.parametrize(("n", "d"), [(40, 6), (30, 60)])
def test_linear_probe_is_that_of_refits_without_each_sample(n, d):
    X, y = blobs(0.5, n=n, d=d, seed=d)
    ours = score(X, y, "linear_probe")
    Y = np.eye(4)[y]
    errors, hits = [], []
    for i in range(n):
        rest = np.arange(n) != i
        model = Ridge(alpha=ours.details["penalty"], solver="svd").fit(X[rest], Y[rest])
        predicted = model.predict(X[i : i + 1])[0]
        errors.append(np.square(predicted - Y[i]).sum())
        hits.append(float(predicted.argmax() == y[i]))
    np.testing.assert_array_equal(ours.per_sample, hits)
    assert ours.details["squared_error"] == pytest.approx(np.mean(errors), rel=1e-8)


def test_linear_probe_chooses_the_penalty_of_least_gcv():
    X, y = blobs(0.5, n=60, d=10)
    ours = score(X, y, "linear_probe").details["penalty"]
    Xc, Yc = X - X.mean(0), np.eye(4)[y] - np.eye(4)[y].mean(0)
    grid = np.square(np.linalg.svd(Xc)[1]).mean() * np.logspace(-6, 4, 81)

    def gcv(penalty):
        hat = Xc @ np.linalg.solve(Xc.T @ Xc + penalty * np.eye(10), Xc.T) + 1 / 60
        return np.square(Yc - (hat - 1 / 60) @ Yc).sum() / (1 - np.trace(hat) / 60) ** 2

    assert ours == pytest.approx(grid[np.argmin([gcv(p) for p in grid])], rel=1e-9)


@pytest.mark.parametrize(("n", "d", "penalty"), [(150, 6, 1e-3), (80, 120, 1e-2)])
def test_logistic_probe_is_scikit_learns(n, d, penalty):
    X, y = blobs(0.4, n=n, d=d, seed=d)
    ours = score(X, y, "logistic_probe", penalty=penalty, seed=2)
    folds = stratified_folds(y, 5, seed=2)
    Z = X - X.mean(0)
    Z /= np.sqrt(np.square(Z).sum(1).mean())
    hits, logs = np.empty(n), np.empty(n)
    for k in range(5):
        train, held = folds != k, folds == k
        strength = 1 / (train.sum() * penalty)
        model = LogisticRegression(C=strength, tol=1e-8, solver="newton-cg").fit(Z[train], y[train])
        P = model.predict_proba(Z[held])
        hits[held] = P.argmax(1) == y[held]
        logs[held] = np.log(P[np.arange(held.sum()), y[held]])
    np.testing.assert_array_equal(ours.per_sample, hits)
    assert ours.details["log_likelihood"] == pytest.approx(logs.mean(), abs=1e-4)


def test_logistic_probe_scores_a_part_of_the_folds_and_refuses_bad_options():
    X, y = blobs(0.4)
    part, whole = (score(X, y, "logistic_probe", max_scored=enough) for enough in (30, None))
    held = stratified_folds(np.unique(y, return_inverse=True)[1], 5, seed=0) == 0
    assert part.per_sample is None
    assert part.value == whole.per_sample[held].mean()
    for options in ({"folds": 1}, {"penalty": 0.0}):
        with pytest.raises(MetricError, match="2 folds or more"):
            score(X, y, "logistic_probe", **options)


@few
@given(seed=seeds)
def test_leep_and_nce_are_those_of_counting(seed):
    rng = np.random.default_rng(seed)
    theta, y = rng.dirichlet(np.ones(5), size=60), rng.integers(0, 3, 60)
    y[:6] = [0, 1, 2, 0, 1, 2]
    joint = np.array([[theta[y == c, z].sum() for z in range(5)] for c in range(3)])
    conditional = joint / joint.sum(0)
    terms = [np.log(conditional[y[i]] @ theta[i]) for i in range(60)]
    X = rng.normal(size=(60, 2))
    np.testing.assert_allclose(score(X, y, "leep", source_probs=theta).per_sample, terms, atol=1e-9)
    z = theta.argmax(1)
    terms = [np.log(np.mean(y[z == z[i]] == y[i])) for i in range(60)]
    np.testing.assert_allclose(score(X, y, "nce", source_probs=theta).per_sample, terms, atol=1e-9)


def test_head_that_knows_nothing_scores_the_entropy_of_the_labels():
    _, y = blobs()
    shares = np.bincount(y) / len(y)
    even = np.full((len(y), 4), 0.25)
    result = score(np.ones((len(y), 1)), y, "leep", source_probs=even)
    assert result.value == pytest.approx((shares * np.log(shares)).sum())


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
def test_parc_is_scipys_spearman(kind):
    X, y = blobs(0.7, n=60, d=6)
    labels = {"single-label": y, "multi-label": np.eye(4, dtype=int)[y], "regression": X[:, 0] + y}
    Z = (X - X.mean(0)) / X.std(0)
    upper = np.triu_indices(60, 1)
    t = labels["regression"]
    apart = np.abs(t[:, None] - t) if kind == "regression" else (y[:, None] != y).astype(float)
    wanted = scipy.stats.spearmanr((1 - np.corrcoef(Z))[upper], apart[upper])[0]
    result = score(X, labels[kind], "parc", dimensions=None)
    assert result.value == pytest.approx(100 * wanted, abs=1e-9)


def test_parc_of_many_samples_takes_some():
    X, y = blobs(1.0, n=400)
    some, whole = score(X, y, "parc", max_samples=250), score(X, y, "parc")
    assert some.details["samples"] == 250
    assert some.value == pytest.approx(whole.value, rel=0.2)


def test_principal_components_are_scikit_learns():
    X, _ = blobs(n=80, d=9)
    geometry = Geometry(torch.from_numpy(X))
    reference = PCA(5, svd_solver="full").fit_transform(X)
    ours = principal_components(geometry, 5).numpy()
    np.testing.assert_allclose(np.abs(ours), np.abs(reference), atol=1e-10)
    assert (ours[np.abs(ours).argmax(0), range(5)] > 0).all()
    for share in (0.5, 0.8, 0.99):
        kept = PCA(share, svd_solver="full").fit(X).n_components_
        assert principal_components(geometry, share).shape[1] == kept


@pytest.mark.parametrize("covariance", ["spherical", "diagonal"])
def test_gbc_is_the_sum_over_pairs_of_classes(covariance):
    X, y = blobs(0.5, n=90, d=3)
    # One variance a dimension only means something in the basis of the components.
    Z = principal_components(Geometry(torch.from_numpy(X)), 3).numpy()
    total = sum(
        np.exp(-_bhattacharyya(Z[y == a], Z[y == b], covariance))
        for a in range(4)
        for b in range(4)
        if a != b
    )
    assert score(X, y, "gbc", covariance=covariance).value == pytest.approx(-total, rel=1e-9)


def _bhattacharyya(A, B, covariance):
    va, vb = (np.diag(Z.var(0)) for Z in (A, B))
    if covariance == "spherical":
        va, vb = (np.eye(len(v)) * v.trace() / len(v) for v in (va, vb))
    mid = (va + vb) / 2
    gap = A.mean(0) - B.mean(0)
    volumes = np.linalg.det(mid) / np.sqrt(np.linalg.det(va) * np.linalg.det(vb))
    return gap @ np.linalg.solve(mid, gap) / 8 + 0.5 * np.log(volumes)


@pytest.mark.parametrize(("n", "d"), [(90, 7), (40, 60)])
def test_transrate_is_that_of_determinants(n, d):
    X, y = blobs(0.5, n=n, d=d)
    Z = X - X.mean(0)

    def rate(Z):
        return np.linalg.slogdet(np.eye(d) + Z.T @ Z / (len(Z) * 1e-2))[1] / 2

    wanted = rate(Z) - np.mean([rate(Z[y == c]) for c in range(4)])
    assert score(X, y, "transrate", epsilon=1e-2).value == pytest.approx(wanted, rel=1e-9)


@few
@given(seed=seeds, n_classes=st.integers(1, 12))
def test_stacks_hold_every_sample_once(seed, n_classes):
    rng = np.random.default_rng(seed)
    y = np.r_[np.arange(n_classes), rng.integers(0, n_classes, 40)]
    X = rng.normal(size=(len(y), 3))
    counts = torch.bincount(torch.from_numpy(y)).double()
    seen = set()
    for stack in stacks(torch.from_numpy(X), torch.from_numpy(y), counts):
        for c, rows, square in zip(stack.classes.tolist(), stack.rows, stack.grams, strict=True):
            seen.add(c)
            mine = X[y == c]
            np.testing.assert_array_equal(rows[: len(mine)], mine)
            assert (rows[len(mine) :] == 0).all()
            assert square.trace() == pytest.approx(np.square(mine).sum())
    assert seen == set(range(n_classes))


def test_energy_is_that_of_the_least_familiar():
    X, y = blobs(n=400)
    energies = np.sort(scipy.special.logsumexp(X, axis=1))
    assert score(X, y, "energy").value == pytest.approx(energies[:2].mean())
    assert score(X, y, "energy", share=1.0).value == pytest.approx(energies.mean())


def test_ncti_is_rescaled_over_the_candidates_and_knn_is_not():
    rows = [(0.5, 10.0, 3.0), (0.7, 30.0, 3.5), (0.9, 20.0, 4.0)]
    keys = ("true_class_probability", "feature_nuclear_norm", "log_class_nuclear_norm")
    scores = [Score("ncti", row[0], details=dict(zip(keys, row, strict=True))) for row in rows]
    final = rescaled_across_candidates("ncti", scores)
    assert [score.value for score in final] == pytest.approx([0, 0.5 + 1 - 0.5, 1 + 0.5 - 1])
    assert [score.value for score in rescaled_across_candidates("knn", scores)] == [0.5, 0.7, 0.9]
    assert rescaled_across_candidates("ncti", scores[:1])[0].value == 0


def _whole(upper):
    """The matrix of these blocks, of which nothing is taken away."""
    zero = torch.zeros_like(upper[0][:1])
    return linalg.downdated(upper, [torch.zeros_like(b) for b in upper], zero, zero, 1.0).numpy()


@few
@given(seed=seeds, n=st.integers(1, 400), d=st.integers(1, 200))
def test_gram_matrices_are_those_of_numpy(seed, n, d):
    rng = np.random.default_rng(seed)
    X, y, w = rng.normal(size=(n, d)), rng.integers(0, 3, n), rng.random(n)
    centres = rng.normal(size=(3, d))
    ours = linalg.gram(*map(torch.from_numpy, (X,))).numpy()
    np.testing.assert_allclose(ours, X.T @ X, atol=1e-9)
    np.testing.assert_array_equal(ours, ours.T)
    upper = linalg.upper_gram(torch.from_numpy(X))
    np.testing.assert_allclose(_whole(upper), ours, atol=1e-9)
    np.testing.assert_array_equal(_whole(linalg.upper_blocks(torch.from_numpy(ours))), ours)

    tensors = [torch.from_numpy(array) for array in (X, w, y)]
    parts = [slice(0, n // 3), slice(n // 2, n)]
    rows = np.r_[parts[0], parts[1]]
    moments = linalg.weighted_moments(*tensors, 3, parts)
    R, hot = X[rows] * w[rows, None], np.eye(3)[y[rows]]
    np.testing.assert_allclose(moments.gram, R.T @ R, atol=1e-9)
    np.testing.assert_allclose(moments.first, hot.T @ R, atol=1e-9)
    np.testing.assert_allclose(moments.second, hot.T @ (R * w[rows, None]), atol=1e-9)
    np.testing.assert_allclose(moments.weight, hot.T @ w[rows], atol=1e-9)
    np.testing.assert_allclose(moments.weight2, hot.T @ w[rows] ** 2, atol=1e-9)

    distances = linalg.squared_distances(tensors[0], torch.from_numpy(centres), tensors[2])
    np.testing.assert_allclose(distances, np.square(X - centres[y]).sum(1), atol=1e-9)


def test_moments_of_mixed_samples_are_those_of_mixing_the_samples():
    X, y = blobs(0.5, n=300, d=6)
    X -= X.mean(0)
    w = np.random.default_rng(0).random(300)
    counts = np.bincount(y)
    means = np.stack([X[y == c].mean(0) for c in range(4)])
    others = other_means(torch.from_numpy(means), torch.ones(4, dtype=torch.float64))
    made = w[:, None] * X + (1 - w)[:, None] * others.numpy()[y]
    mixed = mix(*map(torch.from_numpy, (X, w, y)), others, torch.from_numpy(counts).double())
    made_means = np.stack([made[y == c].mean(0) for c in range(4)])
    within = (made - made_means[y]).T @ (made - made_means[y]) / 300
    np.testing.assert_allclose(mixed.means, made_means, atol=1e-12)
    np.testing.assert_allclose(mixed.within, within, atol=1e-12)


def test_moments_of_a_large_slice_are_those_of_numpy():
    X, w = torch.randn(5000, 3, dtype=torch.float64), torch.rand(5000, dtype=torch.float64)
    y = torch.zeros(5000, dtype=torch.int64)
    moments = linalg.weighted_moments(X, w, y, 1, [slice(7, 4321)])
    R = (X * w[:, None])[7:4321]
    np.testing.assert_allclose(moments.gram, R.T @ R, atol=1e-8)
    np.testing.assert_allclose(moments.first[0], R.sum(0), atol=1e-8)


def test_cholesky_adds_as_much_jitter_as_rounding_needs():
    x = torch.arange(1.0, 6.0, dtype=torch.float64)[:, None]
    L, jitter = linalg.cholesky(x @ x.T)
    assert 0 < jitter < 1e-10
    np.testing.assert_allclose(L @ L.T, x @ x.T, atol=1e-9)
    assert linalg.cholesky(torch.eye(3, dtype=torch.float64))[1] == 0.0


@few
@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=60),
    n_folds=st.integers(2, 6),
    seed=seeds,
)
def test_folds_are_even_within_every_class(labels, n_folds, seed):
    y = np.array(labels)
    folds = stratified_folds(y, n_folds, seed)
    sizes = np.bincount(folds, minlength=n_folds)
    assert sizes.max() - sizes.min() <= 1
    for c in np.unique(y):
        per_fold = np.bincount(folds[y == c], minlength=n_folds)
        assert per_fold.max() - per_fold.min() <= 1
    np.testing.assert_array_equal(folds, stratified_folds(10 - y, n_folds, seed))


def test_folds_depend_on_the_seed():
    y = np.arange(100) % 5
    assert (stratified_folds(y, 5, 0) != stratified_folds(y, 5, 1)).any()
