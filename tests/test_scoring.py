"""The boundary of scoring: options, outcomes, baselines, shuffled labels, users' metrics."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import hf_sfda
from hf_sfda import metrics as registry
from hf_sfda.errors import MetricError
from hf_sfda.metrics import get_metric, list_metrics, register_metric
from hf_sfda.metrics.folds import stratified_folds
from hf_sfda.scoring import make_problem, permuted_scores, score, score_problem_by_all
from hf_sfda.types import Candidate, Score
from tests.metrics.test_contract import blobs, head


@pytest.fixture
def lent(monkeypatch):
    """A registry to add to and throw away."""
    list_metrics()
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))


def test_the_public_function_scores_by_sfda_cv():
    X, y = blobs()
    assert hf_sfda.score(X, y).metric == "sfda_cv"


def test_package_imports_no_torch():
    code = "import sys, hf_sfda.scoring, hf_sfda.ranking.layers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_metric_lists_the_known():
    with pytest.raises(MetricError, match=r"Unknown metric 'magic'.*sfda_cv"):
        score(*blobs(), "magic")


def test_unknown_option_lists_the_known():
    with pytest.raises(
        MetricError, match=r"Unknown option fold for sfda_cv; allowed are folds, max_scored"
    ):
        score(*blobs(), "sfda_cv", fold=3)
    with pytest.raises(MetricError, match=r"Unknown option folds for sfda; there are none"):
        score(*blobs(), "sfda", folds=3)


def test_bad_option_value_names_the_metric():
    with pytest.raises(MetricError, match=r"sfda_cv: folds is 1"):
        score(*blobs(), "sfda_cv", folds=1)
    with pytest.raises(MetricError, match=r"knn: k is 0"):
        score(*blobs(), "knn", k=0)


def test_options_reach_the_metric():
    X, y = blobs(0.5)
    assert score(X, y, "sfda_cv", folds=3).details["folds"] == 3
    assert score(X, y, "knn", k=500).details["k"] == len(X) - 1
    outcomes = score_problem_by_all(make_problem(X, y), ["sfda_cv", "sfda", "knn"], folds=4, k=1)
    assert outcomes["sfda_cv"].details["folds"] == 4
    assert outcomes["knn"].value == score(X, y, "knn", k=1).value


def test_seed_decides_the_folds():
    X, y = blobs(0.5)
    values = {score(X, y, seed=seed).value for seed in range(4)}
    assert len(values) == 4


def test_small_classes_are_warned_of():
    X, y = blobs(0.5)
    y = np.where(np.arange(len(y)) < 3, 9, y)
    result = score(X, y, "sfda_cv")
    assert "1 of 5 classes have fewer than 5 samples (the smallest 3)" in result.warnings[0]
    assert score(*blobs(0.5), "sfda_cv").warnings == ()


def test_failing_metric_does_not_take_the_others_along(lent):
    @register_metric("broken", summary="fails")
    def broken(problem):
        return 1 / 0

    @register_metric("endless", summary="infinite")
    def endless(problem):
        return float("inf")

    outcomes = score_problem_by_all(make_problem(*blobs()), ["broken", "knn", "endless"])
    assert list(outcomes) == ["broken", "knn", "endless"]
    assert isinstance(outcomes["knn"], Score)
    assert isinstance(outcomes["broken"], MetricError)
    assert str(outcomes["broken"]) == "broken failed: ZeroDivisionError: division by zero"
    assert str(outcomes["endless"]) == "endless gave inf, which cannot be ranked."
    with pytest.raises(MetricError, match="broken failed"):
        score(*blobs(), "broken")


def test_features_that_are_not_finite_are_refused():
    X, y = blobs()
    with pytest.raises(MetricError, match="NaN"):
        make_problem(X * np.nan, y)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_value_that_is_not_finite_is_found_whatever_the_sum(dtype):
    X, y = np.ones((8, 3), dtype), np.arange(8) % 2
    for bad in ([np.nan], [np.inf], [np.inf, -np.inf], [-np.inf, np.nan]):
        spoilt = X.copy()
        spoilt[range(2, 2 + len(bad)), 1] = bad
        with pytest.raises(MetricError, match=f"{len(bad)} of 8 .*the first is row 2"):
            make_problem(spoilt, y)


def test_finite_features_with_an_infinite_sum_are_taken():
    X = np.full((8, 3), 1e308)
    assert len(make_problem(X, np.arange(8) % 2)) == 8


def test_baselines_come_from_the_candidate():
    X, y = blobs()
    known = Candidate("org/model", params=22_000_000, downloads=17)
    problem = make_problem(X, y)
    outcomes = score_problem_by_all(problem, ["params", "downloads", "knn"], candidate=known)
    assert outcomes["params"].value == 22e6
    assert outcomes["downloads"].value == 17
    unknown = score_problem_by_all(
        problem, ["params", "downloads"], candidate=Candidate("./folder")
    )
    assert all(isinstance(outcome, MetricError) for outcome in unknown.values())
    assert "not known for this checkpoint" in str(unknown["params"])
    with pytest.raises(MetricError, match="property of a checkpoint"):
        score(X, y, "params")


def random_score(problem, candidate):
    return score_problem_by_all(problem, ["random"], candidate=candidate)["random"].value


def test_chance_is_the_same_for_a_checkpoint_everywhere():
    X, y = blobs()
    ids = [f"org/model-{i}" for i in range(200)]
    values = [
        random_score(make_problem(X, y, seed=i), Candidate(name)) for i, name in enumerate(ids)
    ]
    assert random_score(make_problem(X[:50], y[:50]), Candidate(ids[3])) == values[3]
    assert len(set(values)) == 200
    assert 0.4 < np.mean(values) < 0.6


def test_a_registered_metric_is_computed(lent):
    @register_metric("spread", summary="Distance between class means")
    def spread(problem):
        return float(torch.pdist(problem.class_means).mean())

    X, y = blobs()
    result = score(X, y, "spread")
    means = torch.from_numpy(np.stack([X[y == c].mean(0) for c in range(4)]))
    assert result.metric == "spread"
    assert result.value == pytest.approx(float(torch.pdist(means).mean()))
    assert get_metric("spread").summary == "Distance between class means"


def test_lower_is_better_is_turned_round(lent):
    @register_metric("error", summary="Share of errors", higher_is_better=False)
    def error(problem):
        return Score("error", 0.25, np.array([0.0, 0.5]))

    result = score(*blobs(), "error")
    assert result.value == -0.25
    np.testing.assert_array_equal(result.per_sample, [0, -0.5])


def test_each_metric_is_where_its_name_is_looked_up():
    found = {entry.name: entry.function.__module__ for entry in list_metrics()}
    assert (
        registry._BUILTIN.items()
        <= {name: module.removeprefix("hf_sfda.metrics.") for name, module in found.items()}.items()
    )


def test_a_name_of_ours_is_taken_before_its_metric_is_imported(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", {})
    with pytest.raises(MetricError, match=r"'knn' is registered already, by hf_sfda.metrics.knn"):
        register_metric("knn")(lambda problem: 0.0)
    with pytest.raises(MetricError, match=r"Unknown metric 'nearest'\. Allowed: downloads, energy"):
        registry.require_name("nearest")
    registry.require_name("knn")
    assert not registry._REGISTRY


def test_name_can_be_taken_once(lent):
    def elsewhere(problem):
        return 0.0

    elsewhere.__module__ = "another.package"
    with pytest.raises(MetricError, match=r"'knn' is registered already, by hf_sfda.metrics.knn"):
        register_metric("knn")(elsewhere)


@pytest.mark.parametrize(
    "metric", ["sfda", "sfda_cv", "logme", "knn", "linear_probe", "hscore", "nleep", "parc"]
)
def test_permuted_scores_are_those_of_shuffled_labels(metric):
    X, y = blobs(1.0)
    rng = np.random.default_rng([7, 1])
    by_hand = [score(X, y[rng.permutation(len(y))], metric, seed=7).value for _ in range(3)]
    problem = make_problem(X, y, seed=7)
    values = permuted_scores(problem, metric, n_permutations=3)
    np.testing.assert_allclose(values, by_hand, atol=1e-12)
    np.testing.assert_array_equal(values, permuted_scores(problem, metric, n_permutations=3))


def test_shuffles_of_many_samples_are_scored_on_a_few_folds():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1500, 8)), rng.integers(0, 4, 1500)
    problem = make_problem(X, y)
    cheap = permuted_scores(problem, "sfda_cv", n_permutations=10)
    full = permuted_scores(problem, "sfda_cv", n_permutations=10, max_scored=1500)
    assert (cheap != full).all()
    assert cheap.mean() == pytest.approx(full.mean(), abs=4 * cheap.std() / np.sqrt(10))
    assert cheap.std() < 0.003  # beside 0.25: a few folds are enough
    part = score(X, y, "sfda_cv", max_scored=200)
    assert part.per_sample is None
    whole = score(X, y, "sfda_cv").per_sample
    held = stratified_folds(np.unique(y, return_inverse=True)[1], 5, seed=0) == 0
    assert part.value == pytest.approx(whole[held].mean(), abs=1e-9)


def test_without_permutations_there_are_no_permuted_scores():
    assert permuted_scores(make_problem(*blobs()), "knn", n_permutations=0).shape == (0,)


def test_source_head_is_checked():
    X, y = blobs()
    logits = head(y)
    with pytest.raises(MetricError, match="pass one of them"):
        score(X, y, source_logits=logits, source_probs=logits)
    with pytest.raises(MetricError, match=r"shape \(149, 7\)"):
        score(X, y, source_logits=logits[1:])
    with pytest.raises(MetricError, match="add up to 1"):
        score(X, y, source_probs=np.abs(logits))
    with pytest.raises(MetricError, match="NaN"):
        score(X, y, source_logits=np.full_like(logits, np.nan))


def test_tags_are_checked():
    X, y = blobs()
    tags = np.eye(4, dtype=int)[y]
    assert np.isfinite(score(X, tags, "logme").value)
    with pytest.raises(MetricError, match="only 0 and 1"):
        score(X, tags * 2, "logme")
    tags[:, 2] = 0
    with pytest.raises(MetricError, match=r"1 of 4 tags .* column 2"):
        score(X, tags, "logme")
