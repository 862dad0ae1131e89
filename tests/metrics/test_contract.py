"""What every metric must do, checked over the registry: a new metric is tested without a test."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hf_sfda.errors import MetricError
from hf_sfda.metrics import Metric, list_metrics
from hf_sfda.scoring import make_problem, permuted_scores, score, score_problem_by_all

SCORED = [metric for metric in list_metrics() if metric.needs != "candidate"]
every = pytest.mark.parametrize("metric", SCORED, ids=lambda metric: metric.name)

N, D, C = 150, 12, 4


def blobs(separation=2.0, n=N, d=D, c=C, seed=0):
    """Gaussian classes of unequal size whose means lie `separation` apart, in unequal variances."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(c, size=n, p=np.arange(1, c + 1) / (c * (c + 1) / 2))
    labels[: 2 * c] = np.repeat(np.arange(c), 2)
    means = rng.normal(size=(c, d))
    noise = rng.normal(size=(n, d)) * np.linspace(0.5, 1.5, d)
    return means[labels] * separation + noise, labels


def head(labels, seed=0, sure=2.0):
    """Source logits that know something about the labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(labels), 7))
    logits[np.arange(len(labels)), labels % 7] += sure
    return logits


def scored(metric: Metric, X, y, head_labels=None, **more):
    """`score`, with a classification head made up from the labels for metrics that need one."""
    if metric.needs == "source_logits" and "source_logits" not in more:
        more["source_logits"] = head(y if head_labels is None else head_labels)
    return score(X, y, metric.name, **more)


@every
def test_inputs_are_left_alone(metric):
    X, y = blobs()
    logits = head(y)
    before = X.copy(), y.copy(), logits.copy()
    scored(metric, X, y, source_logits=logits)
    for array, copy in zip((X, y, logits), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    for array in (X, y, logits):
        array.flags.writeable = False
    scored(metric, X, y, source_logits=logits)


@every
def test_the_same_seed_gives_the_same_score(metric):
    X, y = blobs()
    assert scored(metric, X, y, seed=3).value == scored(metric, X, y, seed=3).value


@every
def test_score_is_finite_and_the_mean_of_its_shares(metric):
    X, y = blobs()
    result = scored(metric, X, y)
    assert result.metric == metric.name
    assert np.isfinite(result.value)
    assert all(isinstance(value, float) for value in result.details.values())
    if result.per_sample is not None:
        assert result.per_sample.shape == (N,)
        assert result.per_sample.dtype == np.float64
        assert result.per_sample.mean() == pytest.approx(result.value, abs=1e-12)
    if metric.held_out:
        assert result.per_sample is not None


@every
def test_the_order_of_the_rows_does_not_change_the_score(metric):
    X, y = blobs(1.0)
    logits = head(y)
    order = np.random.default_rng(1).permutation(N)
    one = scored(metric, X, y, source_logits=logits)
    other = scored(metric, X[order], y[order], source_logits=logits[order])
    if "row order" in metric.invariant_to:
        assert other.value == pytest.approx(one.value, rel=1e-8, abs=1e-9)
        if one.per_sample is not None:
            np.testing.assert_allclose(other.per_sample, one.per_sample[order], atol=1e-8)
    else:  # other folds or another start: as far as chance goes, and no further
        spread = 0.1 * abs(one.value) if one.per_sample is None else 4 * _error(one)
        assert abs(other.value - one.value) < spread


@every
def test_the_names_of_the_labels_do_not_change_the_score(metric):
    X, y = blobs(1.0)
    logits = head(y)
    one = scored(metric, X, y, source_logits=logits).value
    names = np.array(["zebra", "ant", "mole", "bee"])[y]
    others = [names, names.tolist(), names.astype(object), 7 - 3 * y, torch.from_numpy(y)]
    for other in others:
        renamed = scored(metric, X, other, source_logits=logits).value
        assert renamed == pytest.approx(one, rel=1e-9)


def _rotation(seed=5):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(D, D)))[0]


CHANGES = {
    "translation": lambda X: X + np.linspace(-30, 80, X.shape[1]),
    "scale": lambda X: X * 1e-3,
    "rotation": lambda X: X @ _rotation(),
}


@every
def test_the_score_is_invariant_to_what_the_metric_claims(metric, subtests):
    if metric.needs == "source_logits":
        pytest.skip("does not look at the features")
    X, y = blobs(1.0)
    one = scored(metric, X, y)
    for change in CHANGES.keys() & metric.invariant_to:
        with subtests.test(change):
            other = scored(metric, CHANGES[change](X), y)
            assert other.value == pytest.approx(one.value, rel=1e-6, abs=1e-8)


@every
def test_better_separated_classes_score_higher(metric):
    if not metric.supervised:
        pytest.skip("sees no labels")
    values = []
    for separation in (0.2, 1.0, 3.0):
        X, y = blobs(separation)
        values.append(scored(metric, X, y, source_logits=head(y, sure=separation)).value)
    assert values == sorted(values)
    assert values[2] > values[0]


@every
def test_the_registered_maximum_is_reached_and_not_exceeded(metric):
    if metric.maximum is None:
        pytest.skip("unbounded")
    X, y = blobs(separation=500.0)
    value, maximum = scored(metric, X, y).value, metric.maximum_for(C)
    assert maximum * 0.99 < value <= maximum * (1 + 1e-9)


@every
def test_noise_scores_no_better_than_shuffled_labels(metric):
    rng = np.random.default_rng(3)
    n = 240
    X, y = rng.normal(size=(n, 60)), rng.integers(0, 4, n)
    logits = rng.normal(size=(n, 7))
    value = scored(metric, X, y, source_logits=logits).value
    problem = make_problem(X, y, source_logits=logits)
    floor = permuted_scores(problem, metric.name, n_permutations=24)
    # 24 shuffles know their own mean to a fifth of their spread, so 4 spreads are generous.
    assert abs(value - floor.mean()) < 4 * max(floor.std(), 1e-12)
    if metric.held_out:
        shares = np.bincount(y) / n
        assert value < shares.max() + 4 * np.sqrt(0.25 * 0.75 / n)


@every
def test_signal_is_above_shuffled_labels(metric):
    if not metric.supervised:
        pytest.skip("sees no labels")
    X, y = blobs(2.0)
    logits = head(y)
    problem = make_problem(X, y, source_logits=logits)
    floor = permuted_scores(problem, metric.name, n_permutations=8)
    assert scored(metric, X, y, source_logits=logits).value > floor.max()


@every
def test_noise_in_many_dimensions_stays_at_chance(metric):
    """Held-out metrics stay at chance where N < D; in-sample ones are only asked not to break."""
    rng = np.random.default_rng(4)
    n = 80
    X, y = rng.normal(size=(n, 300)), np.arange(n) % 4
    result = scored(metric, X, y, source_logits=rng.normal(size=(n, 7)))
    assert np.isfinite(result.value)
    if metric.held_out:
        assert result.value < 0.25 + 4 * np.sqrt(0.25 * 0.75 / n)


@every
def test_numpy_and_torch_agree(metric, subtests):
    for shape, (X, y) in {"tall": blobs(1.0), "wide": blobs(1.0, n=60, d=90)}.items():
        with subtests.test(shape):
            logits = head(y)
            one = scored(metric, X, y, source_logits=logits)
            features = torch.from_numpy(X).requires_grad_()
            other = scored(
                metric, features, torch.from_numpy(y), source_logits=torch.from_numpy(logits)
            )
            assert other.value == one.value


@every
def test_float32_is_as_good_as_float64(metric):
    """Work is in float64 whatever comes in: only the rounding of the input remains."""
    X, y = blobs(1.0)
    logits = head(y)
    one = scored(metric, X, y, source_logits=logits).value
    single = scored(metric, X.astype(np.float32), y, source_logits=logits.astype(np.float32)).value
    assert single == pytest.approx(one, rel=1e-5, abs=1e-6)
    # Rounding of the input decides alone: the same numbers in float64 give the same score.
    double = scored(
        metric,
        X.astype(np.float32).astype(np.float64),
        y,
        source_logits=logits.astype(np.float32).astype(np.float64),
    ).value
    assert single == double


@every
def test_strided_and_integer_features_score_the_same(metric):
    X, y = blobs(1.0)
    logits = head(y)
    whole = np.rint(X * 10).astype(np.int16)
    one = scored(metric, whole.astype(np.float64), y, source_logits=logits).value
    assert scored(metric, whole, y, source_logits=logits).value == one
    doubled = np.repeat(whole.astype(np.float64), 2, axis=1)[:, ::2]
    assert scored(metric, doubled, y, source_logits=logits).value == one


@every
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_agrees_with_cpu(metric):
    for X, y in (blobs(1.0), blobs(1.0, n=60, d=90)):
        logits = head(y)
        one = scored(metric, X, y, source_logits=logits)
        other = scored(metric, torch.from_numpy(X).cuda(), y, source_logits=logits)
        assert other.value == pytest.approx(one.value, rel=1e-8, abs=1e-9)


HARD = {
    "constant column": lambda X, y: (np.c_[X, np.full(len(X), 3.0)], y),
    "duplicate columns": lambda X, y: (np.c_[X, X, X], y),
    "duplicate rows": lambda X, y: (np.r_[X, X], np.r_[y, y]),
    "all features constant": lambda X, y: (np.full_like(X, 2.5), y),
    "all features zero": lambda X, y: (np.zeros_like(X), y),
    "one dimension": lambda X, y: (X[:, :1], y),
    "perfectly separate": lambda X, y: (np.eye(C)[y], y),
    "huge offset": lambda X, y: (X + 1e6, y),
    "tiny": lambda X, y: (X * 1e-30, y),
    "huge": lambda X, y: (X * 1e30, y),
    "two classes": lambda X, y: (X, y % 2),
    "pairs": lambda X, y: (X, np.arange(len(X)) // 2),
    "few samples": lambda X, y: (X[:8], y[:8]),
    "two samples a class, wide": lambda X, y: (np.tile(X[:8], 20), y[:8]),
    "one rare class": lambda X, y: (X, np.where(np.arange(len(X)) < 2, 1, 0)),
}


@every
def test_hard_inputs_get_a_finite_score(metric, subtests):
    for case, make in HARD.items():
        with subtests.test(case):
            result = scored(metric, *make(*blobs(1.0)))
            assert np.isfinite(result.value)
            if result.per_sample is not None:
                assert np.isfinite(result.per_sample).all()


@every
def test_a_class_with_one_sample_is_refused_unless_it_is_allowed(metric):
    X, y = blobs(1.0)
    y = y.copy()
    y[0] = 99
    with pytest.raises(MetricError, match=r"1 of 5 classes.*fewer than 2 samples \(99\)"):
        scored(metric, X, y, head_labels=y)
    result = scored(metric, X, y, min_class_size=1)
    assert np.isfinite(result.value)
    if metric.held_out:
        assert result.per_sample[0] == 0  # what was never seen in training cannot be right


BAD = {
    "one class": (lambda X, y: (X, np.zeros_like(y)), "at least 2 of them"),
    "NaN": (lambda X, y: (np.where(np.arange(X.size).reshape(X.shape) == 13, np.nan, X), y), "NaN"),
    "infinity": (lambda X, y: (np.where(X == X.max(), np.inf, X), y), "infinity"),
    "one sample": (lambda X, y: (X[:1], y[:1]), "at least 2"),
    "no sample": (lambda X, y: (X[:0], y[:0]), "at least 2"),
    "lengths": (lambda X, y: (X, y[:-1]), "150 feature rows and 149 labels"),
    "one axis": (lambda X, y: (X[:, 0], y), "must be"),
    "three axes": (lambda X, y: (X[:, :, None], y), "must be"),
    "no columns": (lambda X, y: (X[:, :0], y), "must be"),
    "words": (lambda X, y: (np.array([["a"] * D] * N), y), "numbers"),
    "complex": (lambda X, y: (X + 1j, y), "complex"),
    "missing label": (lambda X, y: (X, [None, *y[1:].tolist()]), "1 of 150 labels are missing"),
    "mixed labels": (lambda X, y: (X, np.array(["a", *y[1:]], dtype=object)), "mix types"),
    "NaN target": (lambda X, y: (X, np.where(y == 0, np.nan, y.astype(float))), "NaN"),
    "constant target": (lambda X, y: (X, np.ones(N)), "nothing to predict"),
}


@every
def test_bad_inputs_get_a_clear_error(metric, subtests):
    for case, (make, message) in BAD.items():
        with subtests.test(case):
            X, y = make(*blobs())
            with pytest.raises(MetricError, match=message):
                score(X, y, metric.name)


@every
def test_labels_of_another_kind_are_scored_or_refused(metric):
    X, y = blobs()
    kinds = {"regression": X[:, 0] + y, "multi-label": np.eye(C, dtype=int)[y]}
    for kind, labels in kinds.items():
        if kind in metric.tasks:
            assert np.isfinite(scored(metric, X, labels, head_labels=y).value)
        else:
            with pytest.raises(MetricError, match=f"{metric.name} does not score {kind}"):
                scored(metric, X, labels, head_labels=y)


@every
@pytest.mark.parametrize("kind", ["regression", "multi-label"])
def test_other_tasks_keep_the_contract(metric, kind):
    if kind not in metric.tasks:
        pytest.skip("not claimed")
    values = []
    for separation in (0.1, 1.0, 4.0):
        X, y = blobs(separation)
        result = scored(metric, X, other_target(kind, X, y), head_labels=y)
        values.append(result.value)
        if result.per_sample is not None:
            assert result.per_sample.mean() == pytest.approx(result.value, abs=1e-12)
    target = other_target(kind, X, y)
    if metric.supervised:
        assert values == sorted(values)
        problem = make_problem(X, target, source_logits=head(y))
        floor = permuted_scores(problem, metric.name, n_permutations=8)
        assert values[-1] > floor.max()
    order = np.random.default_rng(1).permutation(N)
    if "row order" in metric.invariant_to:
        moved = scored(metric, X[order], target[order], head_labels=y[order])
        assert moved.value == pytest.approx(values[-1], rel=1e-8, abs=1e-9)


def other_target(kind, X, y):
    """A target that classes decide, up to a little noise."""
    rng = np.random.default_rng(9)
    if kind == "regression":
        return np.array([0.0, 1.0, 5.0, 20.0])[y] + 0.1 * rng.normal(size=len(y))
    return np.stack([y == 0, y >= 2, y % 2 == 0, rng.random(len(y)) < 0.1], axis=1).astype(int)


@every
def test_needed_head_is_asked_for(metric):
    X, y = blobs()
    if metric.needs == "source_logits":
        with pytest.raises(MetricError, match="own classification head"):
            score(X, y, metric.name)
    else:
        assert (
            score(X, y, metric.name).value == score(X, y, metric.name, source_logits=head(y)).value
        )


@every
def test_a_metric_has_a_summary_a_cost_and_a_reference(metric):
    """What ``hf-sfda metrics`` shows is there."""
    assert metric.summary and metric.cost and metric.reference
    assert "single-label" in metric.tasks or metric.tasks & {"regression", "multi-label"}
    assert metric.function.__doc__.startswith(metric.summary)


@pytest.mark.parametrize("wide", [False, True], ids=["tall", "wide"])
def test_a_metric_scores_the_same_together_with_others(wide):
    X, y = blobs(1.0, n=60, d=90) if wide else blobs(1.0)
    logits = head(y)
    problem = make_problem(X, y, source_logits=logits)
    together = score_problem_by_all(problem, [metric.name for metric in SCORED])
    for metric in SCORED:
        alone = scored(metric, X, y, source_logits=logits)
        assert together[metric.name].value == alone.value


def _error(result):
    return result.per_sample.std() / np.sqrt(len(result.per_sample))
