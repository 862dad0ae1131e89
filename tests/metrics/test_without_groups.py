"""Scores without a group of samples, computed from what the groups share, against refits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_sfda import metrics
from hf_sfda.config import RankConfig
from hf_sfda.errors import MetricError
from hf_sfda.metrics import list_metrics
from hf_sfda.ranking.assemble import score_candidate
from hf_sfda.scoring import make_problem, score, scores_without_groups
from hf_sfda.tasks import scored_labels, strata_of
from hf_sfda.types import Candidate, Features
from hf_sfda.uncertainty import jackknife_groups

SHORT = [metric for metric in list_metrics() if metric.without_groups]
each = pytest.mark.parametrize("metric", SHORT, ids=lambda metric: metric.name)


def labels_of(kind, X, noise, rng):
    """Labels of N samples that depend on the features, more or less."""
    n = len(X)
    direction = X @ rng.normal(size=(X.shape[1], 4)) / np.sqrt(X.shape[1])
    direction += noise * rng.normal(size=direction.shape)
    if kind == "regression":
        return direction[:, 0] * 7 + 30
    if kind == "multi-label":
        tags = (direction > np.quantile(direction, [0.3, 0.6, 0.8, 0.9], axis=0).diagonal()) * 1.0
        tags[0], tags[1] = 0, 1
        return tags
    labels = direction[:, :3].argmax(1)
    labels[:8] = [0, 0, 1, 1, 2, 2, 3, 3]  # a class of two
    return rng.permutation(labels) if n % 2 else labels


def without(metric, X, y, groups):
    """(G,) scores of the shortcut and of refits; a refit is made as a run makes it."""
    targets = None
    if y.ndim == 1 and y.dtype.kind == "f":
        targets = np.zeros((groups.max() + 1, len(y)))
        for g in range(len(targets)):
            targets[g, groups != g] = scored_labels(y[groups != g])
    problem = make_problem(X, scored_labels(y))
    shared = scores_without_groups(problem, metric.name, groups, targets)
    return shared, np.array([refit(metric, X, y, groups != g) for g in range(groups.max() + 1)])


def refit(metric, X, y, left):
    part = y[left]
    if part.ndim == 2:
        part = part[:, np.ptp(part, axis=0) > 0]
    try:
        return score(X[left], scored_labels(part), metric.name, min_class_size=1).value
    except MetricError:  # such as one value in all samples of a part
        return np.nan


@st.composite
def problems(draw):
    """Features of any shape and rank, with copies of samples or columns, and labels of any kind."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    n = draw(st.integers(16, 70))
    d = draw(st.integers(1, 90))
    rank = draw(st.one_of(st.just(d), st.integers(1, d)))
    X = rng.normal(size=(n, rank))
    if rank < d:
        X = X @ rng.normal(size=(rank, d))
    X = X * np.logspace(0, -draw(st.integers(0, 3)), d) + draw(st.sampled_from([0.0, 3.0, 50.0]))
    if draw(st.booleans()):
        X[n // 2 :] = X[: n - n // 2]  # each sample twice
    if draw(st.booleans()):
        X[:, 0] = 0
        X[rng.integers(n), 0] = 1  # of one group only
    kind = draw(st.sampled_from(["single-label", "multi-label", "regression"]))
    y = labels_of(kind, X - X.mean(0), draw(st.sampled_from([0.0, 0.01, 1.0, 100.0])), rng)
    X = X.astype(draw(st.sampled_from([np.float64, np.float32])))
    return kind, X * draw(st.sampled_from([1.0, 1e-4, 1e3])), y


@each
@given(problems(), st.integers(2, 20))
@settings(max_examples=40, deadline=None)
def test_scores_without_groups_are_those_of_refits(metric, problem, n_groups):
    kind, X, y = problem
    if kind not in metric.tasks:
        return
    groups = jackknife_groups(strata_of(y), n_groups=n_groups, seed=0)
    shared, refitted = without(metric, X, y, groups)
    usable = ~np.isnan(shared)
    np.testing.assert_allclose(shared[usable], refitted[usable], rtol=1e-7, atol=1e-9)


@each
@pytest.mark.parametrize("shape", [(400, 40), (80, 130)], ids=["tall", "wide"])
@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
def test_usual_features_need_no_refits(metric, kind, shape):
    if kind not in metric.tasks:
        pytest.skip("does not score them")
    rng = np.random.default_rng(1)
    X = rng.normal(size=shape) + 0.5
    y = labels_of(kind, X, 1.0, rng)
    groups = jackknife_groups(strata_of(y), seed=0)
    shared, refitted = without(metric, X, y, groups)
    np.testing.assert_allclose(shared, refitted, rtol=1e-9)


@each
def test_a_class_that_is_missing_in_a_part_takes_a_refit(metric):
    X, y = np.random.default_rng(2).normal(size=(60, 5)), np.arange(60) % 3
    groups = np.where(y == 2, 0, 1 + np.arange(60) % 2)
    shared, _ = without(metric, X, y, groups)
    np.testing.assert_array_equal(np.isnan(shared), [True, False, False])


@each
@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
def test_a_candidate_has_the_contributions_of_refits(metric, kind, monkeypatch):
    if kind not in metric.tasks:
        pytest.skip("does not score them")
    rng = np.random.default_rng(3)
    X = rng.normal(size=(120, 30)).astype(np.float32)
    y = labels_of(kind, X, 1.0, rng)
    config = RankConfig("d", metric=metric.name, metrics=(metric.name,), permutations=0)

    def contributions():
        features = Features({"last": X}, None, params=1, seconds=1.0)
        return score_candidate(Candidate("a"), features, y, config).contributions

    shared = contributions()
    monkeypatch.setitem(metrics._REGISTRY, metric.name, replace(metric, without_groups=None))
    np.testing.assert_allclose(shared, contributions(), rtol=1e-9)
