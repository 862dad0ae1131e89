"""Agreement with what the authors' released code gives on eight inputs (``golden/README.md``)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from hf_sfda.scoring import score

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
every = pytest.mark.parametrize("name", EXPECTED)


@cache
def given(name):
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return dict(arrays)


def expected(name, key):
    scores = EXPECTED[name]["scores"]
    if key not in scores:
        pytest.skip(f"no {key} for this input")
    return scores[key]


def value(name, metric, **options):
    arrays = given(name)
    return score(arrays["features"], arrays["labels"], metric, **options)


def is_wide(name):
    return EXPECTED[name]["n"] < EXPECTED[name]["d"]


@every
def test_sfda_is_that_of_the_release(name):
    result = value(name, "sfda")
    tolerance = 1e-6 if is_wide(name) else 1e-9
    assert result.value == pytest.approx(expected(name, "sfda"), abs=tolerance)
    assert result.per_sample.mean() == pytest.approx(result.value, abs=1e-12)
    assert result.details["shrinkage"] == pytest.approx(expected(name, "sfda_shrinkage"), rel=1e-9)
    stage_one = expected(name, "sfda_stage1_true_class_prob_mean")
    assert result.details["stage_one_probability"] == pytest.approx(stage_one, abs=tolerance)


SHORT_OF_THE_MAXIMUM = {"gaussian_10c": 0.0024, "imbalanced_7c": 0.0068}
"""How far below the maximum of the evidence the release stops, where that is above 0.001."""


@every
def test_logme_is_at_least_that_of_the_release(name):
    """The default release drops a term where N < D; there the first implementation is right.

    The release iterates a fixed point for eleven steps. Ours is the maximum: never below.
    """
    key = "logme_icml" if is_wide(name) else "logme_released_fixed_point"
    above = value(name, "logme").value - expected(name, key)
    assert above >= -1e-9
    assert above == pytest.approx(SHORT_OF_THE_MAXIMUM.get(name, 0), abs=1e-3)


@every
def test_the_released_steps_of_logme_lead_to_the_released_value(name):
    """So that what differs from the golden values is the place where the search ends."""
    arrays = given(name)
    X, y = arrays["features"].astype(np.float64), arrays["labels"]
    key = "logme_icml" if is_wide(name) else "logme_released_fixed_point"
    values = [released_logme(X, (y == c).astype(np.float64)) for c in range(y.max() + 1)]
    assert np.mean(values) == pytest.approx(expected(name, key), abs=1e-3)


def released_logme(X, t):
    """Evidence per sample after at most eleven steps of MacKay's fixed point."""
    n = len(X)
    U, s, _ = np.linalg.svd(X, full_matrices=False)
    values, c2 = np.square(s), np.square(U.T @ t)
    outside = t @ t - c2.sum()
    alpha = beta = 1.0

    def weights_and_residual():
        ratio = alpha / beta
        m2 = (c2 * values / np.square(values + ratio)).sum()
        return m2, outside + (c2 * np.square(ratio / (values + ratio))).sum()

    for _ in range(11):
        m2, r2 = weights_and_residual()
        gamma = (values / (values + alpha / beta)).sum()
        old, alpha, beta = alpha / beta, gamma / m2, (n - gamma) / r2
        if abs(alpha / beta - old) <= 1e-3 * old:
            break
    m2, r2 = weights_and_residual()
    logs = n * np.log(beta / 2 / np.pi) - np.log1p(values * beta / alpha).sum()
    return 0.5 * (logs - beta * r2 - alpha * m2) / n


def test_logme_keeps_the_term_that_the_release_drops():
    dropped = expected("few_samples_n_lt_d", "logme_released_fixed_point")
    assert value("few_samples_n_lt_d", "logme").value < dropped - 1


@every
def test_hscore_is_that_of_the_release(name):
    assert value(name, "hscore").value == pytest.approx(expected(name, "hscore"), abs=1e-9)


@every
def test_hscore_lw_is_that_of_the_release(name):
    wanted = expected(name, "hscore_regularized")
    assert value(name, "hscore_lw").value == pytest.approx(wanted, abs=1e-9)


@every
@pytest.mark.parametrize("metric", ["leep", "nce"])
def test_metrics_of_the_source_head_are_those_of_the_release(name, metric):
    probs = given(name)["source_probs"]
    result = value(name, metric, source_probs=probs)
    # The reference adds 1e-20 inside NCE's logarithms, and single precision is all that is given.
    assert result.value == pytest.approx(expected(name, metric), abs=1e-6)
    logits = value(name, metric, source_logits=np.log(probs) + 3)
    assert logits.value == pytest.approx(result.value, abs=1e-6)


@every
def test_transrate_is_that_of_the_release(name):
    wanted = expected(name, "transrate")
    assert value(name, "transrate").value == pytest.approx(wanted, rel=1e-9)


def test_parc_of_two_classes_is_that_of_the_release():
    """Two classes are the one case in which the released label distances tie as they should.

    With more, rounding in their last digit orders equal distances: on ``imbalanced_7c`` that makes
    4.14 of 7.11. Components come from the released code's own solver, since they depend on its
    seed.
    """
    arrays = given("binary")
    solver = PCA(32, svd_solver="randomized", iterated_power=1, random_state=1919)
    Z = solver.fit_transform(arrays["features"].astype(np.float64))
    result = score(Z, arrays["labels"], "parc", dimensions=None)
    assert result.value == pytest.approx(expected("binary", "parc_32"), abs=1e-4)


@pytest.mark.parametrize("name", ["gaussian_10c", "relu_50c", "small_scale", "real_image_features"])
def test_parc_of_nearly_equal_classes_is_close_to_the_release(name):
    """Where classes are balanced the ties broken by rounding matter little."""
    assert value(name, "parc").value == pytest.approx(expected(name, "parc_32"), abs=1.5)


@every
def test_nleep_is_that_of_the_release(name):
    details = value(name, "nleep").details
    per_class = details["components"] / EXPECTED[name]["classes"]
    assert per_class == expected(name, "nleep_components_per_class")
    wanted = expected(name, "nleep_released_no_log")
    assert details["mean_probability"] == pytest.approx(wanted, abs=1e-6)


@every
def test_ncti_is_that_of_the_release(name):
    # The reference reduces the widest large input by a randomised solver without a seed.
    tolerance = 5e-3 if name == "real_image_features" else 1e-5
    details = value(name, "ncti").details
    for ours, key in (
        ("true_class_probability", "ncti_true_class_prob"),
        ("feature_nuclear_norm", "ncti_feature_nuclear_norm"),
        ("log_class_nuclear_norm", "ncti_log_class_nuclear_norm"),
    ):
        assert details[ours] == pytest.approx(expected(name, key), rel=tolerance)


def test_cross_fitting_does_not_saturate():
    """Random labels: the released score is near three times chance, the cross-fitted one is not."""
    assert value("noise", "sfda").value > 0.29
    assert value("noise", "sfda_cv").value < 0.1
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(500, 768)), rng.integers(0, 10, 500)
    assert score(X, y, "sfda").value > 0.999
    assert score(X, y, "sfda_cv").value < 0.12


def test_released_score_depends_on_the_unit_and_the_cross_fitted_does_not():
    arrays = given("gaussian_10c")
    X, y = arrays["features"].astype(np.float64), arrays["labels"]
    released = [score(c * X, y, "sfda").value for c in (0.01, 1.0)]
    assert released[1] - released[0] > 0.1
    crossed = [score(c * X, y, "sfda_cv").value for c in (0.01, 1.0)]
    assert crossed[0] == pytest.approx(crossed[1], abs=1e-12)


def test_a_saturated_sfda_has_a_warning():
    assert any("saturated" in warning for warning in value("few_samples_n_lt_d", "sfda").warnings)
    assert not value("imbalanced_7c", "sfda").warnings
