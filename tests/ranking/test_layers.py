"""Views of the stages of a network."""

from __future__ import annotations

import numpy as np
import pytest

from hf_sfda.errors import MetricError
from hf_sfda.ranking.layers import layer_features
from hf_sfda.scoring import score
from hf_sfda.types import Features

rng = np.random.default_rng(0)
N = 120
LABELS = rng.integers(0, 3, N)


def stages(**more):
    shift = np.eye(3)[LABELS]
    made = {
        "stage1": 100 * rng.normal(size=(N, 4)) + 7,
        "stage2": np.c_[shift * 2 + rng.normal(size=(N, 3)), rng.normal(size=(N, 5))],
        "last": 0.01 * np.c_[shift, rng.normal(size=(N, 9))],
    }
    return Features({name: array.astype(np.float32) for name, array in {**made, **more}.items()})


def test_the_layer_last_is_the_stored_one():
    features = stages()
    assert layer_features(features, LABELS, "last") is features.last


def test_all_has_every_stage_with_unit_trace():
    features = stages()
    X = layer_features(features, LABELS, "all")
    assert X.dtype == np.float32
    assert X.shape == (N, 4 + 8 + 12)
    np.testing.assert_allclose(X.mean(0), 0, atol=1e-6)
    for columns in (slice(0, 4), slice(4, 12), slice(12, 24)):
        part = X[:, columns].astype(np.float64)
        within = sum(((LABELS == c).mean() * part[LABELS == c].var(0)).sum() for c in range(3))
        assert within == pytest.approx(1, rel=1e-5)  # unit variance a dimension, over the width


def test_stage_is_scaled_by_one_number():
    """Directions inside a stage keep their proportions; whitening is the metric's business."""
    features = stages()
    part = layer_features(features, LABELS, "all")[:, 4:12]
    ratio = part.std(0) / features.layers["stage2"].std(0)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 3.7, 1e6])
def test_constant_stage_becomes_zero(value):
    X = layer_features(stages(stage2=np.full((N, 8), value)), LABELS, "all")
    np.testing.assert_array_equal(X[:, 4:12], 0)
    assert np.isfinite(score(X, LABELS).value)


def test_stage_without_scatter_inside_classes_stays_finite():
    X = layer_features(stages(stage2=np.repeat(np.eye(3)[LABELS], 2, axis=1)), LABELS, "all")
    assert np.isfinite(X).all()
    assert np.square(X[:, 4:10]).sum() == pytest.approx(N, rel=1e-5)  # unit total variance


def test_units_of_stages_do_not_matter():
    features = stages()
    other = Features({name: array * (1000 if name == "stage2" else 0.1)
                      for name, array in features.layers.items()})  # fmt: skip
    one, two = (layer_features(f, LABELS, "all") for f in (features, other))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_inputs_are_left_alone():
    features = stages()
    before = {name: array.copy() for name, array in features.layers.items()}
    for array in features.layers.values():
        array.flags.writeable = False
    layer_features(features, LABELS, "all")
    for name, array in features.layers.items():
        np.testing.assert_array_equal(array, before[name])


def test_single_stage_scores_as_the_last_one():
    features = Features({"last": stages().last})
    one = score(layer_features(features, LABELS, "all"), LABELS).value
    assert one == pytest.approx(score(features.last, LABELS).value, abs=1e-6)


def test_an_unknown_choice_of_layers_is_refused():
    with pytest.raises(MetricError, match=r"'first'; allowed are last, all"):
        layer_features(stages(), LABELS, "first")
