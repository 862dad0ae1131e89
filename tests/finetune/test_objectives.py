"""Losses, measures and heads for each kind of label, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional

from hf_sfda.errors import FinetuneError
from hf_sfda.finetune.classifier import fit_probe
from hf_sfda.finetune.objectives import Objective, objective_of
from hf_sfda.uncertainty import bootstrap_mean, bootstrap_r2
from tests.targets import target_with


def objective(labels: np.ndarray, n_classes: int = 0) -> Objective:
    """The objective of a target with these labels."""
    return objective_of(target_with(labels, n_classes), labels, 0.1)


tables = arrays.arrays(np.int64, (7, 3), elements=st.integers(0, 1))


@given(tables, tables)
def test_f1_is_the_samples_average_of_scikit_learn(labels, predicted):
    from sklearn.metrics import f1_score

    one = objective(labels, 3)
    outputs = torch.from_numpy(np.where(predicted == 1, 2.0, -2.0))
    per_sample = one.per_sample(one.normalised(outputs), one.encode(labels))
    wanted = f1_score(labels, predicted, average="samples", zero_division=1)
    assert float(per_sample.mean()) == pytest.approx(wanted)
    assert one.measure == "F1" and 0 <= per_sample.min() and per_sample.max() <= 1


values = arrays.arrays(np.float64, 9, elements=st.floats(-1e3, 1e3), unique=True)


@given(values, values)
def test_r2_is_that_of_scikit_learn_in_any_unit(labels, predicted):
    from sklearn.metrics import r2_score

    one = objective(labels)
    outputs = (torch.from_numpy(predicted)[:, None] - one.centre) / one.spread
    per_sample = one.per_sample(one.normalised(outputs), one.encode(labels))
    wanted = r2_score(labels, predicted)
    assert float(per_sample.mean()) == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    assert one.measure == "R²" and per_sample.max() <= 1


@pytest.mark.parametrize("unit", [3e307, 1e200, 1e-200, 1e-310])
def test_values_of_any_size_are_standardised(unit):
    labels = np.array([0.0, 1.0, -5.0, 2.5, 4.0])
    one, huge = objective(labels), objective(labels * unit)
    assert torch.allclose(huge.encode(labels * unit), one.encode(labels))
    with pytest.raises(FinetuneError, match="do not fit the 32 bits of a saved head"):
        huge.unscale(torch.ones(1, 2), torch.ones(1))


def test_the_losses_are_those_of_torch():
    rng = np.random.default_rng(0)
    outputs = torch.from_numpy(rng.normal(size=(6, 3))).float()
    classes = rng.integers(0, 3, 6)
    one = objective(classes, 3)
    wanted = functional.cross_entropy(outputs, torch.from_numpy(classes), label_smoothing=0.1)
    assert one.loss(outputs, one.encode(classes)) / 6 == pytest.approx(float(wanted))

    several = rng.integers(0, 2, (6, 3))
    one = objective(several, 3)
    wanted = functional.binary_cross_entropy_with_logits(outputs, torch.from_numpy(several).float())
    assert one.loss(outputs, one.encode(several)) / 6 == pytest.approx(float(wanted))
    mean = one.validation_loss(one.normalised(outputs), one.encode(several))
    assert mean == pytest.approx(float(wanted))

    scores = rng.normal(20, 3, 6)
    one = objective(scores)
    standard = torch.from_numpy((scores - scores.mean()) / scores.std())[:, None].float()
    wanted = functional.mse_loss(outputs[:, :1], standard)
    assert one.loss(outputs[:, :1], one.encode(scores)) / 6 == pytest.approx(float(wanted))


def features(n: int, labels: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """(n, 8) features that tell the labels, and their standardised first 200 rows and the rest."""
    rng = np.random.default_rng(1)
    signal = labels.reshape(n, -1) @ rng.normal(size=(labels.reshape(n, -1).shape[1], 8))
    X = (signal + rng.normal(size=(n, 8))).astype(np.float32)
    Z = (X - X[:200].mean(0)) / X[:200].std(0)
    return torch.from_numpy(X), Z / np.sqrt((Z[:200] ** 2).sum(1).mean())


def test_the_head_of_several_labels_is_scikit_learns_logistic_regression_of_each():
    from sklearn.linear_model import LogisticRegression

    labels = np.random.default_rng(0).integers(0, 2, (300, 3))
    X, Z = features(300, labels)
    one = objective(labels, 3)
    encoded = one.encode(labels)
    probe = fit_probe(one, X[:200], encoded[:200], X[200:], encoded[200:])
    with torch.no_grad():
        P = torch.sigmoid(probe.head(X)).numpy()
    for k in range(3):
        oracle = LogisticRegression(C=1 / (200 * probe.penalty), max_iter=5000, tol=1e-8)
        oracle.fit(Z[:200], labels[:200, k])
        np.testing.assert_allclose(P[:, k], oracle.predict_proba(Z)[:, 1], atol=2e-3)
    assert probe.validation_value > 0.7


@pytest.mark.parametrize("n", [200, 6])
def test_the_head_of_values_is_scikit_learns_ridge_regression(n):
    from sklearn.linear_model import Ridge

    labels = np.random.default_rng(0).normal(50, 7, 300)
    X, Z = features(300, labels)
    if n < 200:  # fewer samples than features
        Z = X.numpy()
        Z = (Z - Z[:n].mean(0)) / Z[:n].std(0)
        Z = Z / np.sqrt((Z[:n] ** 2).sum(1).mean())
    one = objective_of(target_with(labels, 0), labels[:n], 0.1)
    encoded = one.encode(labels)
    probe = fit_probe(one, X[:n], encoded[:n], X[200:], encoded[200:])
    oracle = Ridge(alpha=n * probe.penalty).fit(Z[:n], encoded[:n, 0].numpy())
    with torch.no_grad():
        predicted = probe.head(X)[:, 0].numpy()
    np.testing.assert_allclose(predicted, oracle.predict(Z), atol=1e-3)


def test_the_saved_head_gives_values_in_the_unit_of_the_labels():
    labels = np.random.default_rng(0).normal(50, 7, 40)
    one = objective(labels)
    weight, bias = torch.randn(1, 4).double(), torch.randn(1).double()
    X = torch.randn(5, 4).double()
    trained = functional.linear(X, weight, bias)
    in_units = functional.linear(X, *one.unscale(weight, bias))
    torch.testing.assert_close(in_units, trained * labels.std() + labels.mean())
    torch.testing.assert_close(one.as_trained(in_units), trained)


# -- intervals


def test_the_intervals_cover_what_they_say():
    """400 test parts of a known population; a 95% interval misses about 20 times."""
    rng = np.random.default_rng(0)
    covered = np.zeros(2)
    for _ in range(400):
        difference = rng.exponential(size=80) - 1
        low, high = bootstrap_mean(difference)
        covered[0] += low <= 0 <= high
        labels = rng.normal(size=80)
        per_sample = 1 - (0.5 * rng.normal(size=80)) ** 2 / labels.var()
        low, high = bootstrap_r2(per_sample, labels)
        covered[1] += low <= 0.75 <= high
    assert (covered > 355).all(), covered
    assert (covered < 395).all(), covered


@settings(max_examples=30)
@given(arrays.arrays(np.float64, st.integers(1, 40), elements=st.floats(-5, 1)))
def test_the_interval_of_a_mean_lies_among_the_values_and_repeats(sample):
    low, high = bootstrap_mean(sample)
    assert sample.min() - 1e-12 <= low <= high <= sample.max() + 1e-12
    assert bootstrap_mean(sample) == (low, high)


def test_no_samples_have_no_interval():
    with pytest.raises(ValueError, match="no samples"):
        bootstrap_mean(np.array([]))
