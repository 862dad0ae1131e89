"""The bootstrap, the jackknife and the intervals, against what can be computed without them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_sfda.errors import MetricError
from hf_sfda.uncertainty import (
    degrees_of_freedom,
    group_jackknife,
    jackknife_groups,
    one_stratum,
    paired_bootstrap,
    percentile_intervals,
    summarise,
)
from hf_sfda.uncertainty import resampling as module


def stratified_error(values: np.ndarray, labels: np.ndarray) -> float:
    """Textbook standard error of a mean over fixed class counts."""
    return float(
        np.sqrt(
            sum(
                len(members) * members.var(ddof=1)
                for c in np.unique(labels)
                if len(members := values[labels == c]) > 1
            )
        )
        / len(values)
    )


@pytest.mark.parametrize("sizes", [(200, 50, 30), (2,) * 60, (1, 1, 100)])
def test_standard_error_is_the_textbook_one_even_for_pairs_and_single_members(sizes):
    rng = np.random.default_rng(3)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    per_sample = rng.gamma(2.0, size=(3, len(labels))) + labels
    resampled = paired_bootstrap(per_sample, labels, n_resamples=4000, seed=0)
    expected = [stratified_error(row, labels) for row in per_sample]
    np.testing.assert_allclose(resampled.std(axis=0), expected, rtol=0.06)
    standard = np.array(expected) / np.sqrt(4000)
    assert (np.abs(resampled.mean(axis=0) - per_sample.mean(axis=1)) < 4.5 * standard).all()


def test_class_shares_never_move():
    labels = np.array([0] * 7 + [1] * 3 + [2])
    resampled = paired_bootstrap(np.eye(3)[:, labels], labels, n_resamples=50, seed=1)
    np.testing.assert_allclose(resampled, np.tile([7 / 11, 3 / 11, 1 / 11], (50, 1)))


def test_resamples_are_the_same_for_every_model_and_every_call():
    rng = np.random.default_rng(0)
    labels, first = rng.integers(0, 4, 90), rng.random((2, 90))
    both = paired_bootstrap(np.vstack([first, first.sum(axis=0)]), labels, n_resamples=30, seed=5)
    np.testing.assert_allclose(both[:, 2], both[:, 0] + both[:, 1])
    alone = paired_bootstrap(first[:1], labels, n_resamples=30, seed=5)
    np.testing.assert_allclose(alone[:, 0], both[:, 0], rtol=1e-14)
    other = paired_bootstrap(first[:1], labels, n_resamples=30, seed=6)
    assert not np.allclose(alone, other)


def test_order_of_samples_and_chunks_do_not_matter(monkeypatch):
    rng = np.random.default_rng(0)
    labels, values = rng.integers(0, 3, 60), rng.random((4, 60))
    whole = paired_bootstrap(values, labels, n_resamples=40, seed=2)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 8 * 60 * 7)  # seven resamples at a time
    np.testing.assert_allclose(
        paired_bootstrap(values, labels, n_resamples=40, seed=2), whole, rtol=1e-13
    )


def test_equal_models_stay_equal_to_the_last_bit():
    rng = np.random.default_rng(0)
    values = rng.random((7, 500))
    values[[2, 6]] = values[0]
    resampled = paired_bootstrap(values, rng.integers(0, 5, 500), n_resamples=200, seed=0)
    assert (resampled[:, [2, 6]] == resampled[:, [0]]).all()


@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        (np.ones((2, 3)), np.zeros(4, dtype=int), r"\(2, 3\) and labels \(4,\)"),
        (np.ones(3), np.zeros(3, dtype=int), r"expected \(M, N\)"),
        (np.full((1, 3), np.nan), np.zeros(3, dtype=int), "NaN"),
        (np.ones((0, 3)), np.zeros(3, dtype=int), "nothing to resample"),
    ],
)
def test_the_bootstrap_refuses_bad_input_with_the_reason(values, labels, message):
    with pytest.raises(MetricError, match=message):
        paired_bootstrap(values, labels, n_resamples=10, seed=0)


@given(st.integers(2, 60), st.integers(1, 5), st.integers(2, 25), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_jackknife_groups_are_even_and_stratified(n, n_classes, n_groups, seed):
    labels = np.random.default_rng(seed).integers(0, n_classes, n)
    groups = jackknife_groups(labels, n_groups=n_groups, seed=seed)
    sizes = np.bincount(groups)
    assert len(sizes) == min(n, n_groups)
    assert np.ptp(sizes) <= 1
    for c in np.unique(labels):
        inside = np.bincount(groups[labels == c], minlength=len(sizes))
        assert np.ptp(inside) <= 1
    np.testing.assert_array_equal(groups, jackknife_groups(labels, n_groups=n_groups, seed=seed))


def test_jackknife_of_a_mean_is_the_classical_standard_error():
    values = np.random.default_rng(1).normal(size=37)
    labels = np.zeros(37, dtype=np.int64)
    pseudo = group_jackknife(lambda i: values[i].mean(), labels, n_groups=37, seed=0)
    assert pseudo.mean() == pytest.approx(values.mean())
    classical = values.std(ddof=1) / np.sqrt(37)
    assert pseudo.std(ddof=1) / np.sqrt(37) == pytest.approx(classical)


def test_jackknife_of_a_mean_gives_the_means_of_equal_groups():
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(3), 40)
    values = rng.normal(size=120)
    groups = jackknife_groups(labels, n_groups=20, seed=4)
    pseudo = group_jackknife(lambda i: values[i].mean(), labels, n_groups=20, seed=4)
    np.testing.assert_allclose(pseudo, [values[groups == g].mean() for g in range(20)])


def test_jackknife_finds_the_error_of_a_score_that_is_no_mean():
    # The standard error of log(variance) of normal data is sqrt(2 / N), whatever the variance.
    rng = np.random.default_rng(0)
    labels = np.zeros(400, dtype=np.int64)
    errors = []
    for trial in range(60):
        x = rng.normal(scale=3.0, size=400)
        pseudo = group_jackknife(lambda i, x=x: np.log(x[i].var(ddof=1)), labels, seed=trial)
        assert pseudo.mean() == pytest.approx(np.log(x.var(ddof=1)))
        errors.append(pseudo.std(ddof=1) / np.sqrt(20))
    assert np.mean(errors) == pytest.approx(np.sqrt(2 / 400), rel=0.08)


def test_jackknife_calls_the_score_only_where_nothing_else_gives_it():
    values = np.random.default_rng(2).normal(size=60)
    labels = np.zeros(60, dtype=np.int64)
    sizes = []

    def mean(indices):
        sizes.append(len(indices))
        return values[indices].mean()

    def without_groups(groups):
        parts = [values[groups != g].mean() for g in range(6)]
        return np.array([np.nan, *parts[1:]])

    pseudo = group_jackknife(
        mean,
        labels,
        n_groups=6,
        seed=0,
        everything=values.mean(),
        without_groups=without_groups,
    )
    assert sizes == [50]
    plain = group_jackknife(mean, labels, n_groups=6, seed=0)
    np.testing.assert_allclose(pseudo, plain, rtol=1e-12)


def test_jackknife_needs_two_groups():
    with pytest.raises(MetricError, match="two groups"):
        group_jackknife(lambda i: 0.0, np.zeros(1, dtype=np.int64), seed=0)


@pytest.mark.parametrize(("n", "n_classes"), [(300, 6), (20, 1)])
def test_intervals_cover_the_truth(n, n_classes):
    rng = np.random.default_rng(7)
    labels = np.arange(n) % n_classes
    truth = 0.5 + labels.mean()
    covered = []
    for seed in range(100):
        values = labels + 0.5 + rng.normal(size=(20, n))
        limits = percentile_intervals(
            paired_bootstrap(values, labels, n_resamples=1000, seed=seed),
            0.95,
            degrees_of_freedom=degrees_of_freedom(labels),
        )
        covered += [low <= truth <= high for low, high in limits]
    assert abs(np.mean(covered) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / len(covered))


def test_a_clear_order_has_tight_rank_intervals_and_no_ties():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    values = np.array([0.2, 0.8, 0.5])[:, None] + 0.05 * rng.normal(size=(3, 400))
    resampled = paired_bootstrap(values, labels, n_resamples=200, seed=0)
    result = summarise(values.mean(axis=1), resampled, 0.95)
    assert [one.rank for one in result] == [3, 1, 2]
    assert [one.rank_interval for one in result] == [(3, 3), (1, 1), (2, 2)]
    assert [one.p_best for one in result] == [0.0, 1.0, 0.0]
    assert [one.tie_group for one in result] == [3, 1, 2]
    assert all(
        one.interval[0] < v < one.interval[1]
        for one, v in zip(result, values.mean(axis=1), strict=True)
    )


def test_equal_models_share_the_first_place():
    rng = np.random.default_rng(0)
    values = np.vstack([row := 0.8 + 0.1 * rng.random(100), row, 0.1 * rng.random(100)])
    resampled = paired_bootstrap(values, np.arange(100) % 4, n_resamples=100, seed=0)
    result = summarise(values.mean(axis=1), resampled, 0.95)
    assert [one.p_best for one in result] == [0.5, 0.5, 0.0]
    assert [one.rank_interval for one in result] == [(1, 2), (1, 2), (3, 3)]
    assert [one.tie_group for one in result] == [1, 1, 2]


@given(st.integers(1, 12), st.integers(2, 40), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_summary_has_every_rank_once_and_probabilities_that_add_up(n_models, n, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    values = np.round(rng.random((n_models, n)), 1)  # many ties
    resampled = paired_bootstrap(values, labels, n_resamples=50, seed=seed)
    result = summarise(
        values.mean(axis=1), resampled, 0.9, degrees_of_freedom=degrees_of_freedom(labels)
    )
    assert sorted(one.rank for one in result) == list(range(1, n_models + 1))
    assert sum(one.p_best for one in result) == pytest.approx(1)
    assert all(one.rank_interval[0] <= one.rank <= one.rank_interval[1] for one in result)
    groups = [one.tie_group for one in sorted(result, key=lambda one: one.rank)]
    assert groups[0] == 1
    assert all(b - a in (0, 1) for a, b in itertools.pairwise(groups))


def test_without_resamples_only_equal_scores_tie():
    values = np.array([3.0, 5.0, 5.0])
    result = summarise(values, values[None, :], 0.95)
    assert [one.rank for one in result] == [3, 1, 2]
    assert [one.tie_group for one in result] == [2, 1, 1]


def test_a_summary_of_nothing_is_empty_and_one_of_nonsense_is_refused():
    assert summarise(np.empty(0), np.empty((10, 0)), 0.95) == []
    with pytest.raises(MetricError, match=r"expected \(M,\) and \(B, M\)"):
        summarise(np.ones(2), np.ones((10, 3)), 0.95)
    with pytest.raises(MetricError, match="NaN"):
        summarise(np.array([np.nan]), np.ones((10, 1)), 0.95)


def test_groups_have_one_stratum():
    assert one_stratum(np.ones((4, 20))).tolist() == [0] * 20
    assert degrees_of_freedom(one_stratum(np.ones(20))) == 19
