"""From scores to fine-tuned accuracies: the fit, the draws, and what follows from them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_sfda.uncertainty import Calibration, find_calibration, predict_accuracies, summarise
from hf_sfda.uncertainty.calibration import expected_regrets, fit_calibration, from_plain, logit
from hf_sfda.uncertainty.ties import groups_by_probability

CALIBRATION = Calibration(
    slope=1.0,
    offsets=(0.0, 0.4),
    errors=((0.1, 0.3), (0.2, 0.4)),
    classes=(2, 30),
    samples=300,
)
DEFAULT = {"metric": "three_heads", "layers": "all", "batch_norms": "both"}


def simulate(rng, n_targets=200, n_models=20):
    """Targets for which the model holds exactly: scores and accuracies."""
    scores, accuracies = [], []
    for _ in range(n_targets):
        s = rng.uniform(0.2, 0.9, n_models)
        order = np.argsort(-s)
        sigma = np.full(n_models, 0.4)
        sigma[order[: n_models // 2]] = 0.1
        value = 0.8 * logit(s) + rng.normal() * 0.3 + sigma * rng.standard_normal(n_models)
        scores.append(s)
        accuracies.append(1 / (1 + np.exp(-value)))
    return scores, accuracies


def test_the_fit_finds_slope_and_errors():
    n = 200
    scores, accuracies = simulate(np.random.default_rng(0), n)
    fitted = fit_calibration(scores, accuracies, classes=[5, 9] * (n // 2), samples=[400] * n)
    assert fitted.slope == pytest.approx(0.8, abs=0.02)
    assert np.mean(fitted.offsets) == pytest.approx(0, abs=0.08)
    assert np.std(fitted.offsets) == pytest.approx(0.3, abs=0.05)
    upper, lower = np.sqrt(np.mean(np.square(fitted.errors), axis=0))
    assert upper == pytest.approx(0.1, abs=0.02)
    assert lower == pytest.approx(0.4, abs=0.03)
    assert (fitted.classes, fitted.samples) == ((5, 9), 400)


def test_probabilities_are_right_where_the_model_holds():
    """Of the pairs that are predicted with p, a share p comes out so."""
    rng = np.random.default_rng(1)
    train, test = simulate(rng), simulate(rng)
    fitted = fit_calibration(*train, classes=[9], samples=[400])
    p, right, best, is_best = [], [], [], []
    for scores, accuracies in zip(*test, strict=True):
        drawn = predict_accuracies(fitted, scores, np.tile(scores, (500, 1)), seed=0)
        p.append((drawn[:, 0] > drawn[:, 1]).mean())
        right.append(accuracies[0] > accuracies[1])
        chances = np.bincount(drawn.argmax(1), minlength=len(scores)) / len(drawn)
        best += chances.tolist()
        is_best += (accuracies == accuracies.max()).tolist()
    p, right, best, is_best = map(np.asarray, (p, right, best, is_best))
    for low, high in ((0, 0.2), (0.2, 0.8), (0.8, 1.01)):
        here = (p >= low) & (p < high)
        assert right[here].mean() == pytest.approx(p[here].mean(), abs=0.12)
    likely = best > 0.3
    assert is_best[likely].mean() == pytest.approx(best[likely].mean(), abs=0.1)


def test_a_draw_uses_the_errors_of_each_half():
    values = np.array([0.5, 0.5001, 0.4999, 0.4998])  # the last two are the lower half
    drawn = logit(predict_accuracies(CALIBRATION, values, np.tile(values, (20_000, 1)), seed=3))
    spread = (drawn - drawn.mean(axis=1, keepdims=True)).std(axis=0)
    assert spread[:2].max() < spread[2:].min()
    difference = (drawn[:, 0] - drawn[:, 1]).var()
    assert difference == pytest.approx(2 * np.mean([0.1**2, 0.2**2]), rel=0.05)
    offsets = {0.0, 0.4}
    assert drawn.mean() == pytest.approx(np.mean([*offsets]), abs=0.02)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=8),
    seed=st.integers(0, 1000),
)
def test_any_scores_give_accuracies_and_probabilities_that_add_up(values, seed):
    scores = np.array(values)
    resampled = scores + np.random.default_rng(seed).normal(0, 0.1, (150, len(scores)))
    drawn = predict_accuracies(CALIBRATION, scores, resampled, seed=seed)
    assert ((drawn > 0) & (drawn < 1)).all()
    assert (expected_regrets(drawn) >= 0).all()
    rows = summarise(scores, resampled, 0.95, predicted=drawn)
    assert sum(row.p_best for row in rows) == pytest.approx(1)
    assert all(0 <= row.expected_regret <= 100 for row in rows)
    assert all(row.rank_interval[0] <= row.rank <= row.rank_interval[1] for row in rows)


def test_a_prediction_is_reproducible_and_follows_the_seed():
    values = np.array([0.5, 0.6])
    drawn = [
        predict_accuracies(CALIBRATION, values, np.tile(values, (9, 1)), seed=s) for s in (0, 0, 1)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()


def test_a_checkpoint_under_two_names_is_drawn_once():
    values = np.array([0.6, 0.5, 0.6])
    resampled = values + np.random.default_rng(0).normal(0, 0.01, (300, 3))
    resampled[:, 2] = resampled[:, 0]
    drawn = predict_accuracies(CALIBRATION, values, resampled, seed=0)
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 2])
    rows = summarise(values, resampled, 0.95, predicted=drawn)
    assert rows[0].p_best == rows[2].p_best
    assert rows[0].tie_group == rows[2].tie_group


def test_the_interval_is_about_the_score_and_the_rest_about_fine_tuning():
    values = np.array([0.700, 0.690, 0.3])
    resampled = values + np.random.default_rng(0).normal(0, 1e-4, (400, 1))  # they err together
    sampling = summarise(values, resampled, 0.95)
    drawn = predict_accuracies(CALIBRATION, values, resampled, seed=0)
    predicted = summarise(values, resampled, 0.95, predicted=drawn)
    assert [row.interval for row in sampling] == [row.interval for row in predicted]
    assert [row.tie_group for row in sampling] == [1, 2, 3]
    assert [row.tie_group for row in predicted] == [1, 1, 2]
    assert sampling[0].p_best == 1
    assert 0.4 < predicted[0].p_best < 0.7
    assert sampling[0].expected_regret is None
    assert (
        predicted[0].expected_regret < predicted[1].expected_regret < predicted[2].expected_regret
    )


def test_groups_by_probability_are_led_by_the_best_of_each():
    rng = np.random.default_rng(0)
    means = np.array([0.0, 3.0, 2.8, -3.0])
    drawn = means + rng.normal(0, 0.5, (4000, 4))
    assert groups_by_probability(means, drawn, 0.95).tolist() == [2, 1, 1, 3]
    assert groups_by_probability(means, drawn, 0.5).tolist() == [3, 1, 2, 4]
    assert groups_by_probability(np.array([]), drawn[:, :0], 0.95).tolist() == []


def test_a_run_outside_the_benchmark_is_named_and_widened():
    assert CALIBRATION.not_covered(300, 30) == ""
    assert "31 classes" in CALIBRATION.not_covered(300, 31)
    assert "299 samples" in CALIBRATION.not_covered(299, 30)
    values = np.array([0.6, 0.5])
    resampled = np.tile(values, (4000, 1))
    sure, unsure = (
        np.mean(np.diff(predict_accuracies(c, values, resampled, seed=0)) < 0)
        for c in (CALIBRATION, CALIBRATION.widened())
    )
    assert 0.5 < unsure < sure < 1


@pytest.mark.parametrize(
    "other",
    [{"metric": "logme"}, {"layers": "last"}, {"batch_norms": None}, {"metric": None}],
)
def test_only_measured_scores_are_calibrated(other):
    assert find_calibration(DEFAULT) is not None
    assert find_calibration({**DEFAULT, **other}) is None


def test_an_entry_survives_json():
    entry = replace(CALIBRATION, reliability=((0.55, 0.5, 10),))
    plain = json.loads(json.dumps({**entry.__dict__}))
    assert from_plain(plain) == entry
