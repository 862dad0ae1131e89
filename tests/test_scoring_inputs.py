"""Whatever is handed to ``score``: a finite value or a MetricError, and the inputs as they were."""

from __future__ import annotations

import copy
import enum
import math
import os
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from hf_sfda import score
from hf_sfda.errors import MetricError
from hf_sfda.scoring import make_problem, score_problem_by_all

Y = np.repeat([0, 1, 2], 12)
X = np.random.default_rng(0).normal(size=(36, 5)) + 2 * np.eye(3, 5)[Y]
VALUE = score(X, Y, "knn").value

ENV = "HF_SFDA_RANDOM_INPUTS"


@pytest.mark.parametrize(
    "labels",
    [
        np.where(Y == 0, -1, Y),
        np.where(Y == 0, -100, Y),
        torch.from_numpy(np.where(Y == 0, -1, Y)),
        np.where(Y == 0, -1, Y).astype(object),
        np.where(np.arange(36) == 3, -1, Y).tolist(),
    ],
)
def test_hidden_labels_are_refused(labels):
    with pytest.raises(MetricError, match=r"labels are -1.*hidden"):
        score(X, labels, "knn")


@pytest.mark.parametrize("names", [[-1, 1], [-2, -1, 0], ["-1", "0", "1"], [-7, 0, 1]])
def test_negative_numbers_are_classes_where_they_do_not_mean_missing(names):
    n = len(names)
    labels = np.array(names)[Y % n]
    assert score(X, labels, "knn").value == score(X, Y % n, "knn").value


@pytest.mark.parametrize(
    "labels",
    [
        [None, *map(str, Y[1:])],
        [float("nan"), *map(str, Y[1:])],
        ["", *map(str, Y[1:])],
        [" ", *map(str, Y[1:])],
        np.array(["", *map(str, Y[1:])]),
        pd.Series([None, *Y[1:]], dtype="Int64"),
        pd.Series([None, *map(str, Y[1:])]),
        pd.Series([None, *map(str, Y[1:])], dtype="category"),
    ],
)
def test_missing_labels_are_refused(labels):
    with pytest.raises(MetricError, match=r"1 of 36 (labels are missing|values are NaN)"):
        score(X, labels, "knn")


def test_masked_entries_are_refused():
    mask = np.arange(X.size).reshape(X.shape) % 7 == 0
    with pytest.raises(MetricError, match="26 of 180 entries of features are masked"):
        score(np.ma.masked_array(X, mask), Y, "knn")
    with pytest.raises(MetricError, match="1 of 36 entries of labels are masked"):
        score(X, np.ma.masked_array(Y, np.arange(36) == 3), "knn")
    assert score(np.ma.masked_array(X), np.ma.masked_array(Y), "knn").value == VALUE


@pytest.mark.parametrize("kind", ["numpy", "bfloat16", "half", "list"])
def test_whole_floats_are_regression_with_a_warning(kind):
    labels = {
        "numpy": Y.astype(float),
        "bfloat16": torch.from_numpy(Y).bfloat16(),
        "half": torch.from_numpy(Y).half(),
        "list": [float(y) for y in Y],
    }[kind]
    result = score(X, labels, "knn")
    assert result.value == score(X, Y + 0.0, "knn").value
    assert "whole numbers stored as floats" in result.warnings[0]
    outcome = score_problem_by_all(make_problem(X, labels), ["knn", "logme"])["logme"]
    assert "whole numbers stored as floats" in outcome.warnings[0]
    assert score(X, Y + 0.5, "knn").warnings == ()


@pytest.mark.parametrize(
    "labels",
    [[[0, 1], [0]] * 18, [Y, Y[1:]], None, {"a": 1}, np.zeros(36, "M8[s]"), 1j * Y, "abc", 3,
     [[1, "a"]] * 36, np.zeros(36, [("a", int)]), [object()] * 36, torch.zeros(36).to_sparse()],
)  # fmt: skip
def test_values_that_cannot_be_labels_are_refused(labels):
    with pytest.raises(MetricError):
        score(X, labels, "knn")


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, pd.DataFrame])
@pytest.mark.parametrize("labels", [Y, Y % 2])
def test_labels_in_one_column_are_refused(kind, labels):
    # Zeros and ones in one column would be one tag of a multi-label problem.
    with pytest.raises(MetricError, match=r"shape \(36, 1\), one column. Pass labels.ravel\(\)"):
        score(X, kind(labels[:, None].tolist()), "knn")


@pytest.mark.parametrize("dtype", [int, float, bool])
def test_one_hot_labels_are_warned_of(dtype):
    result = score(X, np.eye(3, dtype=dtype)[Y], "logme")
    assert "labels.argmax(1)" in result.warnings[0]
    tags = np.eye(3, dtype=dtype)[Y]
    tags[0] = 1
    assert score(X, tags, "logme").warnings == ()


def test_labels_that_cannot_be_compared_are_named():
    colour = enum.Enum("Colour", "RED BLUE")
    with pytest.raises(MetricError, match="Labels of type Colour cannot be compared"):
        score(X, [list(colour)[y % 2] for y in Y], "knn")
    with pytest.raises(MetricError, match="All 36 labels are 0;"):
        score(X, Y * 0, "knn")


def test_numbers_stored_as_objects_are_numbers():
    table = pd.DataFrame(X)
    for features in (X.astype(object), table.astype("Float64"), table.astype(object)):
        assert score(features, Y, "knn").value == VALUE
    table = table.astype("Float64")
    table.iloc[3, 2] = pd.NA
    for features, word in (
        (table, "NAType"), (pd.DataFrame(X).assign(name="a"), "str"), (X.astype(str), "<U"),
        ([[None]] * 36, "NoneType"), (np.zeros((36, 1), "M8[s]"), "datetime64"),
    ):  # fmt: skip
        with pytest.raises(MetricError, match=f"regular array: they .* of type {word}"):
            score(features, Y, "knn")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested")
def test_eight_bit_floats_are_scored_and_sparse_matrices_refused():
    near = score(torch.from_numpy(X).to(torch.float8_e5m2), Y, "knn").value
    assert near == pytest.approx(VALUE, abs=0.2)
    with pytest.raises(MetricError, match=r"dense array; pass features.toarray\(\)"):
        score(scipy.sparse.csr_array(X), Y, "knn")
    with pytest.raises(MetricError, match="ordinary dense tensor"):
        score(torch.nested.nested_tensor(list(torch.from_numpy(X))), Y, "knn")


def test_numbers_in_any_memory_are_numbers():
    big = X.astype(">f8")
    for features in (
        big, X.astype(">f4").astype(">f8") * 0 + big, X[::-1][::-1], np.asfortranarray(X),
        X.astype(np.longdouble), X.tolist(), torch.from_numpy(X).requires_grad_(),
        pd.DataFrame(X),
    ):  # fmt: skip
        assert score(features, Y, "knn").value == VALUE
    for labels in (Y.astype(">i8"), Y[::-1].copy()[::-1], Y.astype("u2"), Y.astype("S1"), Y > 9):
        if len(np.unique(labels)) > 1:
            assert score(X, labels, "knn").value == VALUE
    assert score(X[::-1], Y[::-1], "knn").value == pytest.approx(VALUE)
    ml_dtypes = pytest.importorskip("ml_dtypes")
    near = score(X.astype(ml_dtypes.bfloat16), Y, "knn").value
    assert near == score(torch.from_numpy(X).bfloat16(), Y, "knn").value


def _features(rng):
    n, d = int(rng.integers(0, 30)), int(rng.integers(0, 12))
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-8, 9)
    if rng.random() < 0.2 and X.size:
        X.flat[rng.integers(0, X.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e308, 1e-320])
    if rng.random() < 0.15:
        X[:, : d // 2] = 1.0
    if rng.random() < 0.1:
        X = np.repeat(X[:1], n, axis=0)
    wrap = [
        lambda x: x, lambda x: x.astype("f4"), lambda x: x.astype("f2"), lambda x: x.astype(">f8"),
        lambda x: x[::-1], lambda x: x[:, ::-1], np.asfortranarray, lambda x: x.tolist(),
        lambda x: np.round(np.nan_to_num(x, posinf=0, neginf=0).clip(-99, 99)).astype("i1"),
        lambda x: np.ma.masked_array(x, x > 1), lambda x: x > 0, lambda x: x.astype("U8"),
        lambda x: x.astype(object), lambda x: x + 1j, lambda x: x[None], lambda x: x.ravel(),
        lambda x: torch.from_numpy(x.copy()), lambda x: torch.from_numpy(x.copy()).bfloat16(),
        lambda x: torch.from_numpy(x.copy()).to_sparse(), lambda x: pd.DataFrame(x),
        lambda x: [list(row)[: i % 3 + 1] for i, row in enumerate(x)], lambda x: None,
    ]  # fmt: skip
    weights = np.array([8, 4, 2, 2, 2, 2, 2] + [1] * (len(wrap) - 7))
    with np.errstate(all="ignore"):
        return wrap[rng.choice(len(wrap), p=weights / weights.sum())](X), n


def _labels(rng, n):
    n = n if rng.random() < 0.9 else n + 1
    y = rng.integers(0, rng.integers(1, 6), n)
    wrap = [
        lambda y: y, lambda y: y.tolist(), lambda y: [f"c{i}" for i in y], lambda y: y - 1,
        lambda y: y.astype(float), lambda y: y + rng.normal(size=n), lambda y: y.astype(">i4"),
        lambda y: y[::-1], lambda y: y.astype("u8"), lambda y: y > 0, lambda y: np.eye(6)[y],
        lambda y: np.eye(6, dtype=int)[y][:, :3], lambda y: torch.from_numpy(y),
        lambda y: torch.from_numpy(y).bfloat16(), lambda y: torch.from_numpy(y).double() / 3,
        lambda y: np.ma.masked_array(y, y == 1), lambda y: [None if i == 1 else str(i) for i in y],
        lambda y: [[1] * (i + 1) for i in y], lambda y: y.astype(object), lambda y: 1j * y,
        lambda y: pd.Series(y), lambda y: pd.Series([f"c{i}" for i in y], dtype="category"),
        lambda y: pd.array([None if i == 2 else int(i) for i in y], dtype="Int64"),
        lambda y: y.astype("S2"), lambda y: y.astype("M8[D]"), lambda y: [1, "a", None][: len(y)],
        lambda y: set(y.tolist()), lambda y: None, lambda y: y.astype("f2") * np.nan,
    ]  # fmt: skip
    return wrap[rng.integers(0, len(wrap))](y)


METRICS = ("sfda_cv", "sfda", "knn", "linear_probe", "logme", "hscore", "hscore_lw", "parc", "gbc",
           "transrate", "energy", "nleep", "ncti")  # fmt: skip


def _number() -> int:
    """How many inputs are tried: a few hundred here, 10,000 in `make test-faults`."""
    return int(os.environ.get(ENV, "300"))


def _same(before, after):
    if isinstance(before, torch.Tensor):
        return before.layout != torch.strided or torch.equal(
            torch.nan_to_num(before), torch.nan_to_num(after)
        )
    if isinstance(before, (pd.DataFrame, pd.Series)):
        return before.equals(after)
    if isinstance(before, np.ndarray):
        return before.tobytes() == after.tobytes()
    return repr(before) == repr(after)


def check_random_inputs(seeds):
    """Score one random input for each seed; returns how many had a value."""
    valued = 0
    for seed in seeds:
        rng = np.random.default_rng([20, seed])
        features, n = _features(rng)
        labels, metric = _labels(rng, n), str(rng.choice(METRICS))
        before = copy.deepcopy((features, labels))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = score(features, labels, metric)
        except MetricError as error:
            assert str(error), seed
        else:
            valued += 1
            assert math.isfinite(result.value), (seed, metric)
        assert _same(before[0], features), (seed, metric)
        assert _same(before[1], labels), (seed, metric)
    return valued


def test_random_inputs_end_in_a_finite_value_or_a_metric_error():
    number = _number()
    valued = check_random_inputs(range(number))
    assert valued > number // 10, "the inputs are not all refused"
