"""Against scipy.stats, which is the reference, with many ties."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hf_sfda.uncertainty.statistics import (
    normal_quantile,
    normal_tail,
    ranks,
    t_quantile,
    weighted_kendall,
)


@pytest.mark.parametrize("ties", ["min", "max", "average"])
@pytest.mark.parametrize("shape", [(1,), (9,), (40, 12), (3, 1), (2, 3, 5)])
def test_ranks_are_those_of_scipy(ties, shape):
    values = np.random.default_rng(0).integers(0, 4, shape).astype(float)
    expected = stats.rankdata(values, method=ties, axis=-1)
    np.testing.assert_array_equal(ranks(values, ties), expected)


def test_quantiles_are_those_of_scipy_to_the_bit():
    for tail in (0.4, 0.05, 0.025, 1e-9, 0.0):
        assert normal_quantile(tail) == stats.norm.isf(tail)
        assert t_quantile(tail, np.inf) == stats.t.isf(tail, np.inf)
        for degrees in (1, 5.5, 19, 1000):
            assert t_quantile(tail, degrees) == stats.t.isf(tail, degrees)
    for value in (0.0, 1.3, 2.8, 9.0, 40.0):
        assert normal_tail(value) == stats.norm.sf(value)


@pytest.mark.parametrize("seed", range(20))
def test_weighted_kendall_is_that_of_scipy(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 30))
    first, second = (rng.integers(0, 1 + size // rng.integers(1, 4), size) for _ in "ab")
    first[:2], second[:2] = (0, 1), rng.permutation(2)  # neither list is constant
    first, second = first.astype(float), second.astype(float)
    expected = stats.weightedtau(first, second).statistic
    assert weighted_kendall(first, second) == pytest.approx(expected, abs=1e-13)
    assert weighted_kendall(first, first) == 1
    assert weighted_kendall(first, -first) == -1
