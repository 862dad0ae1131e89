"""three_heads against scikit-learn-free references: its parts, computed on their own."""

import numpy as np
import pytest

from hf_sfda.config import RankConfig
from hf_sfda.metrics import logistic_probe as logistic_probe_module
from hf_sfda.metrics.folds import stratified_folds
from hf_sfda.ranking.assemble import score_candidate
from hf_sfda.ranking.layers import layer_features
from hf_sfda.scoring import make_problem, score, score_problem, score_problem_by_all
from hf_sfda.types import Candidate, Features

N, C = 90, 3
RNG = np.random.default_rng(0)
LABELS = np.arange(N) % C
LAST = (RNG.normal(size=(N, 5)) + 0.8 * np.eye(C)[LABELS] @ RNG.normal(size=(C, 5))).astype("f4")
FIRST = (RNG.normal(size=(N, 7)) + 0.8 * np.eye(C)[LABELS] @ RNG.normal(size=(C, 7))).astype("f4")
FEATURES = Features({"block1": FIRST, "last": LAST})


def fisher_hits(X, labels, folds=5):
    """A discriminant by the textbook: pooled covariance, shrunk, inverted; sample by sample."""
    fold = stratified_folds(labels, folds, 0)
    hits = np.zeros(len(X))
    X = X.astype(float) - X.astype(float).mean(0)
    for k in range(folds):
        train, held = fold != k, fold == k
        means = np.stack([X[train & (labels == c)].mean(0) for c in range(C)])
        residuals = X[train] - means[labels[train]]
        n, width = residuals.shape
        S = residuals.T @ residuals / n
        target = np.trace(S) / width
        spread = np.sum((S - target * np.eye(width)) ** 2)
        error = sum(np.sum((np.outer(r, r) - S) ** 2) for r in residuals) / n**2
        shrinkage = min(1.0, error / spread)
        A = (1 - shrinkage) * S + shrinkage * target * np.eye(width)
        W = np.linalg.solve(A, means.T)
        priors = np.bincount(labels[train]) / n
        logits = X[held] @ W - 0.5 * np.sum(means.T * W, 0) + np.log(priors)
        hits[held] = logits.argmax(1) == labels[held]
    return hits


def test_three_heads_is_the_mean_of_three_held_out_accuracies():
    X = layer_features(FEATURES, LABELS, "all")
    result = score_problem(make_problem(X, LABELS, last=FEATURES.last), "three_heads")
    logistic = score(X, LABELS, "logistic_probe")
    hits = (fisher_hits(LAST, LABELS) + fisher_hits(X, LABELS) + logistic.per_sample) / 3
    np.testing.assert_allclose(result.per_sample, hits, atol=1e-12)
    assert result.value == pytest.approx(hits.mean(), abs=1e-12)
    assert result.details["fisher_last"] == pytest.approx(fisher_hits(LAST, LABELS).mean())
    assert result.details["fisher_all"] == pytest.approx(fisher_hits(X, LABELS).mean())
    assert result.details["logistic"] == logistic.value
    assert len({*fisher_hits(LAST, LABELS) - fisher_hits(X, LABELS)}) > 1, "the heads must differ"


def test_features_of_one_layer_have_two_heads():
    result = score(LAST, LABELS, "three_heads")
    logistic = score(LAST, LABELS, "logistic_probe")
    hits = (fisher_hits(LAST, LABELS) + logistic.per_sample) / 2
    np.testing.assert_allclose(result.per_sample, hits, atol=1e-12)


@pytest.mark.parametrize("layers", ["all", "last"])
def test_three_heads_uses_the_last_layer_beside_all_layers(layers):
    config = RankConfig("x", metric="three_heads", metrics=("three_heads",), layers=layers)
    scored = score_candidate(Candidate("m", None), FEATURES, LABELS, config)
    details = scored.scores["three_heads"].details
    assert ("fisher_last" in details) == (layers == "all")
    assert scored.floor is not None
    assert scored.floor < 0.5 < scored.scores["three_heads"].value
    np.testing.assert_array_equal(scored.contributions, scored.scores["three_heads"].per_sample)


def test_a_part_of_the_folds_estimates_the_same():
    X = layer_features(FEATURES, LABELS, "all")
    problem = make_problem(X, LABELS, last=FEATURES.last)
    part = score_problem(problem, "three_heads", max_scored=N // 2)
    whole = score_problem(problem, "three_heads")
    scored = stratified_folds(LABELS, 5, 0) < 3
    assert part.per_sample is None
    assert part.value == pytest.approx(whole.per_sample[scored].mean(), abs=1e-12)


def test_the_logistic_probe_is_fitted_once_for_both_metrics(monkeypatch):
    fitted = []
    fit = logistic_probe_module.fit_logistic

    def counted(*args):
        fitted.append(args)
        return fit(*args)

    monkeypatch.setattr(logistic_probe_module, "fit_logistic", counted)
    X = layer_features(FEATURES, LABELS, "all")
    problem = make_problem(X, LABELS, last=FEATURES.last)
    scores = score_problem_by_all(problem, ("three_heads", "logistic_probe"))
    assert len(fitted) == 5, "one fit a fold"
    assert scores["three_heads"].details["logistic"] == scores["logistic_probe"].value
    shuffled = problem.relabelled(problem.targets.sort().values)
    assert score_problem(shuffled, "logistic_probe").value != scores["logistic_probe"].value
    assert len(fitted) == 10, "other labels have a cache of their own"


def test_measured_batch_norms_count_as_much_as_the_published_ones():
    again = RNG.normal(size=LAST.shape).astype("f4") + LAST
    both = Features(FEATURES.layers, measured={"block1": FIRST * 2 + 1, "last": again})
    config = RankConfig("x", metric="three_heads", metrics=("three_heads",), permutations=2)
    got = score_candidate(Candidate("m", None), both, LABELS, config)
    published = score_candidate(Candidate("m", None), FEATURES, LABELS, config)
    measured = score_candidate(Candidate("m", None), Features(both.measured), LABELS, config)
    scores = [one.scores["three_heads"] for one in (got, published, measured)]
    assert scores[1].value != scores[2].value
    assert scores[0].value == pytest.approx((scores[1].value + scores[2].value) / 2)
    np.testing.assert_allclose(
        scores[0].per_sample, (scores[1].per_sample + scores[2].per_sample) / 2
    )
    assert scores[0].details["logistic_measured"] == scores[2].details["logistic"]
    assert scores[0].details["fisher_last"] == scores[1].details["fisher_last"]
    assert got.floor == pytest.approx((published.floor + measured.floor) / 2), "shuffled alike"


def test_other_metrics_see_published_batch_norms_only():
    both = Features(FEATURES.layers, measured={"block1": FIRST * 0, "last": LAST * 0})
    config = RankConfig("x", metric="knn", metrics=("knn", "sfda_cv", "logistic_probe"))
    got = score_candidate(Candidate("m", None), both, LABELS, config)
    want = score_candidate(Candidate("m", None), FEATURES, LABELS, config)
    assert {n: s.value for n, s in got.scores.items()} == {
        n: s.value for n, s in want.scores.items()
    }
