"""Noise floor, agreement and consensus."""

from __future__ import annotations

import numpy as np
import pytest

from hf_sfda.uncertainty import (
    agreement_with,
    at_floor,
    consensus,
    noise_floor,
    weighted_tau,
)


def test_floor_is_the_highest_of_few_shuffles_and_a_quantile_of_many():
    assert noise_floor([0.1, 0.3, 0.2]) == 0.3
    assert noise_floor(np.arange(1, 101)) == 96  # 95 of 100 do not exceed 95.05
    assert np.isnan(noise_floor([]))


def test_at_floor_asks_the_low_end_of_the_interval():
    assert at_floor(0.10, 0.11)
    assert at_floor(1.0, 1.0)  # saturated on noise: nothing is above it
    assert not at_floor(0.12, 0.11)
    assert not at_floor(0.12, noise_floor([]))


def test_the_floor_is_seldom_passed_by_chance():
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(400):
        scores = rng.normal(size=6)  # one model and five shuffles, all noise of size 1
        passed += not at_floor(scores[0] - 1.96, noise_floor(scores[1:]))
    assert passed / 400 < 0.02


def test_weighted_tau_of_two_swaps_is_the_value_by_hand():
    # Swapping the two best of three: weights 1/(r+1) + 1/(s+1) = 3/2, 4/3, 5/6 of the pairs
    # (0,1), (0,2), (1,2). From either list the swapped pair holds ranks 0 and 1.
    assert weighted_tau([3, 2, 1], [2, 3, 1]) == pytest.approx((4 / 3 + 5 / 6 - 3 / 2) / (11 / 3))
    # Swapping the two worst costs less.
    assert weighted_tau([3, 2, 1], [3, 1, 2]) == pytest.approx((3 / 2 + 4 / 3 - 5 / 6) / (11 / 3))


def test_weighted_tau_is_plus_or_minus_one_at_its_ends_and_ignores_gaps():
    assert weighted_tau([0.1, 0.5, 0.9], [10, 20, 30]) == pytest.approx(1)
    assert weighted_tau([0.1, 0.5, 0.9], [30, 20, 10]) == pytest.approx(-1)
    assert weighted_tau([0.1, np.nan, 0.5, 0.9], [1, 99, 2, 3]) == pytest.approx(1)
    assert np.isnan(weighted_tau([1, 2], [3, 3]))
    assert np.isnan(weighted_tau([1], [2]))


def test_agreement_leaves_out_what_is_undefined():
    scores = {"a": [1, 2, 3], "b": [3, 2, 1], "flat": [1, 1, 1], "a2": [2, 4, 6]}
    assert agreement_with("a", scores) == pytest.approx({"b": -1, "a2": 1})


def test_consensus_gives_the_mean_ranks_and_marks_who_disagrees():
    result = consensus(
        {
            "a": [4, 3, 2, 1],
            "b": [40, 30, 20, 10],
            "c": [1, 3, 2, 4],
            "flat": [5, 5, 5, 5],
        }
    )
    np.testing.assert_allclose(result.mean_rank, [2, 2, 3, 3])
    assert result.disagree.tolist() == [True, False, False, True]


def test_consensus_ignores_gaps_and_is_undefined_without_votes():
    nan = np.nan
    result = consensus({"a": [3, 2, 1, nan], "b": [nan, 1, 2, nan]})
    np.testing.assert_allclose(result.mean_rank, [1, 2, 2, nan])
    assert not result.disagree[3]
    empty = consensus({"flat": [1, 1], "none": [nan, nan]})
    assert np.isnan(empty.mean_rank).all()
