"""Tie groups: equal models are seldom torn apart, different ones are told apart."""

from __future__ import annotations

import numpy as np
import pytest

from hf_sfda.uncertainty import (
    degrees_of_freedom,
    paired_bootstrap,
    significant_differences,
    tie_groups,
)
from hf_sfda.uncertainty import ties as module


def differ(values: np.ndarray, labels: np.ndarray, *, seed: int, n_resamples: int = 400):
    resampled = paired_bootstrap(values, labels, n_resamples=n_resamples, seed=seed)
    return significant_differences(
        values.mean(axis=1), resampled, 0.95, degrees_of_freedom=degrees_of_freedom(labels)
    )


@pytest.mark.parametrize(
    ("n_models", "n", "n_classes"),
    [
        pytest.param(8, 240, 6, id="samples"),
        pytest.param(6, 20, 1, id="jackknife-groups"),
    ],
)
def test_family_wise_error_is_what_was_promised(n_models, n, n_classes):
    """All models are equal in truth; calling any pair different is an error. The bounds are four
    standard errors of a 5% rate on both sides: too many errors and too few (no power) both fail.
    """
    rng = np.random.default_rng(11)
    labels = np.arange(n) % n_classes
    trials, errors = 300, 0
    for seed in range(trials):
        shared = rng.normal(size=n) + labels  # models err on the same samples
        values = shared + rng.normal(size=(n_models, n))
        errors += differ(values, labels, seed=seed).any()
    assert abs(errors / trials - 0.05) < 4 * np.sqrt(0.05 * 0.95 / trials)


def test_clear_differences_are_found_among_correlated_models():
    """A gap of 4.5 paired standard errors, far inside the unpaired intervals."""
    rng = np.random.default_rng(5)
    n, labels = 400, np.arange(400) % 4
    paired_error = 0.1 * np.sqrt(2 / n)
    found = 0
    for seed in range(50):
        shared = rng.normal(size=n)
        values = shared + 0.1 * rng.normal(size=(6, n))
        values[0] += 4.5 * paired_error
        found += differ(values, labels, seed=seed)[0, 1]
    assert found >= 40  # power of about 93% at a critical value near 3


def test_groups_follow_the_order_and_their_leaders():
    rng = np.random.default_rng(0)
    truth = np.array([0.9, 0.9, 0.5, 0.5, 0.5, 0.1])
    values = truth[:, None] + 0.2 * rng.normal(size=(6, 500))
    shuffle = rng.permutation(6)
    resampled = paired_bootstrap(values[shuffle], np.arange(500) % 5, n_resamples=500, seed=0)
    groups = tie_groups(values[shuffle].mean(axis=1), resampled, 0.95)
    assert groups.tolist() == np.array([1, 1, 2, 2, 2, 3])[shuffle].tolist()


def test_a_chain_is_cut_where_its_leader_loses():
    """a ~ b and b ~ c but a > c: c opens a new group although it is no worse than b."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(200, 3))
    noise -= noise.mean(axis=0)
    values = np.array([2.2, 1.1, 0.0])
    scale = noise.std(axis=0) * np.sqrt(2)
    resampled = values + noise / scale * 0.55
    different = significant_differences(values, resampled, 0.9)
    assert (different[0, 1], different[1, 2], different[0, 2]) == (False, False, True)
    assert tie_groups(values, resampled, 0.9).tolist() == [1, 1, 2]


def test_no_variance_ties_equal_models_and_separates_constant_gaps():
    row = np.random.default_rng(0).random(50)
    values = np.vstack([row + 0.3, row, row, row - 1e-3])
    resampled = paired_bootstrap(values, np.arange(50) % 2, n_resamples=100, seed=0)
    assert tie_groups(values.mean(axis=1), resampled, 0.95).tolist() == [1, 2, 2, 3]


def test_constant_models_are_tied_only_if_they_are_equal():
    values = np.array([1.0, 1.0, 0.5])
    resampled = np.tile(values, (20, 1))
    assert tie_groups(values, resampled, 0.95).tolist() == [1, 1, 2]
    assert tie_groups(values[:1], resampled[:, :1], 0.95).tolist() == [1]


def test_pairs_compared_in_chunks_give_the_same_result(monkeypatch):
    rng = np.random.default_rng(3)
    values = rng.random((15, 80)) + np.linspace(0, 0.3, 15)[:, None]
    labels = np.arange(80) % 4
    whole = differ(values, labels, seed=0)
    assert 0 < whole.sum() < whole.size - 15
    monkeypatch.setattr(module, "_CHUNK_BYTES", 8 * 400 * 4)  # four pairs at a time
    np.testing.assert_array_equal(differ(values, labels, seed=0), whole)
