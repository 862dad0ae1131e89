"""Two models on the same samples: against scipy, against theory, and against its mirror image."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import bootstrap, norm

from hf_sfda.compare import Comparison, compare_samples
from hf_sfda.compare.classes import MIN_CLASS_SIZE, class_intervals
from hf_sfda.errors import ConfigError, MetricError
from hf_sfda.uncertainty import degrees_of_freedom, paired_bootstrap, percentile_intervals

NAMES = ("cat", "dog", "owl")


def made(n: int = 300, gap: float = 0.02, seed: int = 0):
    """Two models that err on the same samples."""
    rng = np.random.default_rng(seed)
    labels = np.sort(rng.permutation(np.arange(n) % 3)).astype(np.int64)
    difficulty = rng.uniform(0.2, 0.8, n)
    second = difficulty + rng.normal(0, 0.05, n)
    first = difficulty + gap + rng.normal(0, 0.05, n)
    return first, second, labels


def compare(first, second, labels, **options) -> Comparison:
    return compare_samples(first, second, labels, NAMES, **{"metric": "sfda_cv", **options})


# -- the overall difference


def test_the_interval_is_that_of_scipy():
    """scipy draws n of n, without strata: the same for 900 samples in one stratum."""
    first, second, _ = made(900)
    found = compare(first, second, None, resamples=20_000)
    expected = bootstrap(
        (first, second),
        lambda a, b, axis: (a - b).mean(axis=axis),
        paired=True, vectorized=True, method="percentile", n_resamples=20_000, rng=1,
    ).confidence_interval  # fmt: skip
    width = expected.high - expected.low
    assert found.interval == pytest.approx((expected.low, expected.high), abs=0.03 * width)


def test_the_interval_is_that_of_the_stratified_mean():
    """Normal theory: each class's variance over its size, weighted by its share."""
    first, second, labels = made(900)
    second = second + 0.1 * labels  # what differs between classes is no noise
    found = compare(first, second, labels, resamples=20_000)
    d, n = first - second, len(first)
    variance = sum(
        (np.sum(labels == c) / n) ** 2 * d[labels == c].var(ddof=1) / np.sum(labels == c)
        for c in range(3)
    )
    reach = norm.isf(0.025) * np.sqrt(variance)
    expected = (d.mean() - reach, d.mean() + reach)
    assert found.interval == pytest.approx(expected, abs=0.06 * reach)
    unstratified = compare(first, second, None, resamples=20_000).interval
    assert np.ptp(unstratified) > 1.2 * np.ptp(found.interval)
    assert found.difference == pytest.approx(d.mean())


def test_pairing_is_what_makes_the_difference_visible():
    first, second, labels = made(300, gap=0.02)
    found = compare(first, second, labels)
    assert found.better == "a"
    alone = paired_bootstrap(np.stack([first, second]), labels, n_resamples=1000, seed=0)
    limits = percentile_intervals(alone, 0.95, degrees_of_freedom=degrees_of_freedom(labels))
    assert limits[0, 0] < limits[1, 1]  # their own intervals overlap
    assert 0.99 < found.p_first_better <= 1
    shuffled = compare(np.random.default_rng(0).permutation(first), second, labels)
    assert np.ptp(shuffled.interval) > 3 * np.ptp(found.interval)


VALUES = arrays(np.float64, st.integers(4, 40), elements=st.floats(-1, 1, width=32))


@settings(max_examples=60, deadline=None)
@given(VALUES, st.integers(0, 2**31), st.booleans())
def test_whoever_is_first_says_the_same(first, seed, strata):
    rng = np.random.default_rng(seed)
    second = rng.permutation(first) * rng.choice([0, 1], len(first))
    labels = rng.integers(0, 3, len(first)) if strata else None
    there = compare(first, second, labels, resamples=100, top=3)
    back = compare(second, first, labels, resamples=100, top=3)
    assert back.difference == -there.difference
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]), abs=1e-12)
    assert back.p_first_better == pytest.approx(1 - there.p_first_better)
    for one, other in zip(there.classes, back.classes, strict=True):
        assert (one.first, one.second) == (other.second, other.first)
        assert (one.interval is None) == (other.interval is None)
        if one.interval and other.interval:
            mirrored = (-other.interval[1], -other.interval[0])
            assert one.interval == pytest.approx(mirrored, abs=1e-12)
    gaps = [s.difference for s in there.samples]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps == [-s.difference for s in reversed(back.samples)]


@given(VALUES)
def test_a_model_under_two_names_is_equal_in_every_resample(values):
    labels = np.arange(len(values)) % 3
    found = compare(values, values, labels, resamples=100)
    assert (found.difference, found.interval, found.p_first_better) == (0, (0, 0), 0.5)
    assert found.samples == ()
    assert all(one.difference == 0 for one in found.classes)
    assert found.better is None
    assert found.summary == "a and b are equal in sfda_cv, in every resample."


def test_pseudo_values_tell_only_the_overall_difference():
    rng = np.random.default_rng(0)
    first, second = rng.normal(1.0, 0.1, 20), rng.normal(0.5, 0.1, 20)
    found = compare_samples(first, second, None, metric="logme", values=(1.25, 0.5))
    assert (found.values, found.difference) == ((1.25, 0.5), 0.75)
    assert (found.classes, found.samples) == ((), ())
    assert found.better == "a"
    # twenty units: Student's t with 19 degrees of freedom, not the normal distribution
    few = (first - second).std(ddof=1) / np.sqrt(20)
    assert np.ptp(found.interval) == pytest.approx(2 * 2.093 * few, rel=0.1)


# -- classes


def test_classes_have_their_means_and_intervals_that_hold_together():
    first, second, labels = made(300)
    first = first + np.where(labels == 1, 0.2, 0)
    found = compare(first, second, labels)
    assert [(one.name, one.n) for one in found.classes] == [
        ("cat", 100),
        ("dog", 100),
        ("owl", 100),
    ]
    for c, one in enumerate(found.classes):
        assert one.first == pytest.approx(first[labels == c].mean())
        assert one.difference == pytest.approx((first - second)[labels == c].mean())
        assert one.interval[0] < one.difference < one.interval[1]
    assert found.classes[1].interval[0] > 0.15
    sizes = np.array([one.n for one in found.classes])
    gaps = np.array([one.difference for one in found.classes])
    assert (sizes * gaps).sum() / 300 == pytest.approx(found.difference)


def test_class_intervals_have_the_bootstraps_standard_error():
    first, second, labels = made(300, seed=3)
    d = (first - second)[labels == 0]
    resampled = paired_bootstrap(d[None], np.zeros(100, np.int64), n_resamples=20_000, seed=0)
    low, high = class_intervals(d, np.zeros(100, np.int64), 1, 0.95)[0]
    (expected,) = percentile_intervals(resampled, 0.95, degrees_of_freedom=99)
    assert (low, high) == pytest.approx(tuple(expected), abs=0.05 * (high - low))


def test_all_classes_are_covered_as_often_as_promised():
    """400 worlds of eight equal classes each: the family-wise error is 10%, not 57%."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 15)
    missed = 0
    for _ in range(400):
        limits = class_intervals(rng.normal(size=120), labels, 8, 0.9)
        missed += any(low > 0 or high < 0 for low, high in limits.values())
    assert 0.06 < missed / 400 < 0.14  # four standard errors


def test_small_classes_have_no_interval_and_absent_ones_no_line():
    labels = np.array([0] * 20 + [2] * (MIN_CLASS_SIZE - 1))
    rng = np.random.default_rng(0)
    first, second = rng.uniform(size=(2, len(labels)))
    found = compare(first, second, labels)
    assert [(one.name, one.interval is None) for one in found.classes] == [
        ("cat", False),
        ("owl", True),
    ]
    assert found.warnings == ("1 of 2 classes has fewer than 10 samples, too few for an interval.",)
    # a class without an interval takes none of the level
    alone = class_intervals(first - second, labels, 3, 0.95)[0]
    assert alone == class_intervals((first - second)[:20], labels[:20], 3, 0.95)[0]


# -- samples


def test_the_samples_that_favour_either_model_most_are_listed():
    first = np.array([0.9, 0.5, 0.1, 0.4, 0.7, 0.2])
    second = np.array([0.1, 0.5, 0.9, 0.5, 0.5, 0.1])
    labels = np.array([0, 0, 1, 1, 2, 2])
    ids = [f"train/{i}" for i in range(6)]
    found = compare(first, second, labels, sample_ids=ids, top=2)
    assert [(s.index, s.sample_id, s.class_name) for s in found.samples] == [
        (0, "train/0", "cat"),
        (4, "train/4", "owl"),
        (3, "train/3", "dog"),
        (2, "train/2", "dog"),
    ]
    assert found.samples[0].difference == pytest.approx(0.8)
    everything = compare(first, second, labels, top=9).samples
    assert [s.index for s in everything] == [0, 4, 5, 3, 2]  # the second favours nobody
    assert everything[0].sample_id is None
    assert compare(first, second, labels, top=0).samples == ()


# -- words and bad input


def test_the_summary_names_the_winner_and_the_limits():
    first, second, labels = made(300, gap=0.1)
    ahead, behind = compare(first, second, labels), compare(second, first, labels)
    low, high = ahead.interval
    limits = f"by {ahead.difference:.4f} ({low:.4f} to {high:.4f} at 95%)."
    assert ahead.summary == f"a is ahead of b in sfda_cv {limits}"
    assert behind.summary == f"b is ahead of a in sfda_cv {limits}"
    assert (ahead.better, behind.better) == ("a", "b")
    level = compare(first, second, labels, confidence=0.995).summary
    assert level.endswith("at 99.5%).")
    first, second, labels = made(60, gap=0.0)
    assert "cannot be told apart by sfda_cv: the difference is " in (
        compare(first, second, labels).summary
    )


def test_the_document_is_plain_json():
    found = compare(*made(60), sample_ids=[str(i) for i in range(60)], names=("x/y", "z"))
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document == found.to_dict()
    assert Comparison.from_dict(document) == found
    assert document["models"] == ["x/y", "z"]
    assert document["summary"] == found.summary
    assert document["classes"][0]["interval"] == list(found.classes[0].interval)
    assert document["samples"][0]["index"] == found.samples[0].index


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"first": [1.0]}, MetricError, r"shapes \(1,\) and \(60,\)"),
        ({"first": [], "second": []}, MetricError, r"shapes \(0,\)"),
        ({"first": [np.nan] * 60}, MetricError, "NaN or infinite"),
        ({"labels": np.zeros(3, np.int64)}, MetricError, r"60 contributions and labels .*\(3,\)"),
        ({"labels": np.full(60, 3)}, MetricError, "from 3 to 3, and there are 3"),
        ({"sample_ids": ["x"]}, MetricError, "60 contributions and 1 sample ids"),
        ({"resamples": 10}, ConfigError, "at least 100"),
        ({"confidence": 1.0}, ConfigError, r"\[0.5, 1\)"),
        ({"top": -1}, ConfigError, "at least 0"),
    ],
)
def test_contributions_that_cannot_be_compared_are_refused(change, error, message):
    first, second, labels = made(60)
    given = {"first": first, "second": second, "labels": labels, **change}
    with pytest.raises(error, match=message):
        compare(**given)
