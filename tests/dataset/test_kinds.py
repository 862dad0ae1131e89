"""Labels that are no single class: values of a regression, and several labels a row."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_sfda import load_target
from hf_sfda.dataset.sample import FEWEST, choose_tagged
from hf_sfda.errors import TargetError
from hf_sfda.tasks import scored_labels, strata_of
from tests import factories

NAMES = ["red", "green", "blue"]


def saved(tmp_path, features=None, **columns):
    """A parquet file with a text column and these columns."""
    from datasets import Dataset, Features, Value

    n = len(next(iter(columns.values())))
    if features is not None:
        features = Features({"text": Value("string"), **features})
    rows = {"text": [f"text number {i}" for i in range(n)], **columns}
    path = tmp_path / "data.parquet"
    Dataset.from_dict(rows, features=features).to_parquet(path)
    return str(path)


def lists(column):
    from datasets import ClassLabel, List

    return {column: List(ClassLabel(names=NAMES))}


# -- regression


def test_fractional_numbers_are_a_regression(tmp_path):
    values = [i / 4 for i in range(30)]
    values[2], values[3], values[4] = None, float("nan"), float("inf")
    target = load_target(saved(tmp_path, score=values))
    assert (target.label_kind, target.task) == ("regression", "text-regression")
    assert target.task_reason == "'score' holds fractional numbers"
    assert target.left_out == {"no value": 2, "infinite value": 1}
    assert target.labels.dtype == np.float64 and target.class_names == ()
    rows = [int(name.split("/")[1]) for name in target.sample_ids]
    assert target.labels.tolist() == [values[row] for row in rows] and len(rows) == 27
    assert target.describe()["label_range"] == [0, 29 / 4] and target.describe()["n_classes"] == 0


def test_whole_numbers_are_values_if_the_user_says_so(tmp_path):
    path = saved(tmp_path, label=[i % 5 for i in range(40)])
    assert load_target(path).label_kind == "single-label"
    target = load_target(path, task="regression")
    assert target.labels.tolist() == [i % 5 for i in range(40)] and target.task_reason == ""


def test_whole_floats_are_asked_for(tmp_path):
    path = saved(tmp_path, stars=[float(i % 5) for i in range(40)])
    with pytest.raises(
        TargetError, match=r"classes or values\? Pass --task single-label or --task"
    ):
        load_target(path)
    assert load_target(path, task="single-label").class_names == ("0", "1", "2", "3", "4")
    assert load_target(path, task="regression").label_kind == "regression"


def test_a_regression_sample_holds_every_quantile(tmp_path):
    values = np.random.default_rng(0).lognormal(size=1000)
    path = saved(tmp_path, price=values.tolist())
    target, again, other = (load_target(path, samples=100, seed=seed) for seed in (0, 0, 1))
    tenths = np.searchsorted(np.quantile(values, np.arange(0.1, 1, 0.1)), target.labels)
    assert np.bincount(tenths).tolist() == [10] * 10
    assert again.fingerprint == target.fingerprint != other.fingerprint


def test_the_fingerprint_of_a_regression_knows_its_values(tmp_path):
    values = [i / 4 for i in range(30)]
    first = load_target(saved(tmp_path, score=values))
    values[-1] += 1e-9
    second = load_target(saved(tmp_path, score=values))
    assert first.inputs_fingerprint == second.inputs_fingerprint
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (
            [0.5] * 30,
            {},
            "30 usable values, and 30 of them are 0.5, so there is nothing to predict",
        ),
        ([0.5] * 29 + [2.5], {}, "30 usable values, and 29 of them are 0.5"),
        ([0.5, None] * 6, {}, "6 usable values; no value: 6. A regression needs 10"),
        (["0.5", "2 kg"] * 9, {"task": "regression"}, r"9 of 18 are not numbers, such as '2 kg'"),
        (["0.5", "1.5"] * 10, {"task": "regression"}, "numbers stored as texts, such as '0.5'"),
        ([""] * 20, {"task": "regression"}, "type str; a regression needs numbers"),
        ([True, False] * 10, {"task": "regression"}, "type bool; a regression needs numbers"),
        ([0.5, 1.5] * 10, {"task": "single-label"}, "fractional numbers"),
        ([0.5, 1.5] * 10, {"task": "multi-label"}, "one value a row; multi-label needs"),
        ([0.5, 1.5] * 10, {"samples": 5}, "pass --samples 10 or more"),
    ],
)
def test_values_that_cannot_be_a_regression_are_refused(tmp_path, values, options, words):
    with pytest.raises(TargetError, match=words):
        load_target(saved(tmp_path, label=values), **options)


def test_declared_classes_are_no_values(tmp_path):
    from datasets import ClassLabel

    path = saved(tmp_path, {"label": ClassLabel(names=NAMES)}, label=[0, 1, 2] * 5)
    with pytest.raises(
        TargetError, match=r"cannot be read as regression\. Pass --task single-label"
    ):
        load_target(path, task="regression", label_column="label")


def test_values_of_a_csv_and_of_an_image_folder_are_read(tmp_path):
    (tmp_path / "x.csv").write_text(
        "text,price\n" + "".join(f"thing {i},{i}.5\n" for i in range(20))
    )
    assert load_target(str(tmp_path / "x.csv")).labels.tolist() == [i + 0.5 for i in range(20)]
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(factories.images(4, 3)[0]):
        image.save(folder / f"{i}.png")
    lines = "".join(f"{i}.png,{i / 8}\n" for i in range(12))
    (folder / "metadata.csv").write_text("file_name,age\n" + lines)
    target = load_target(str(folder))
    assert target.task == "image-regression" and target.labels.tolist() == [
        i / 8 for i in range(12)
    ]


# -- several labels


def test_lists_of_declared_labels_are_a_multi_label_target(tmp_path):
    rows = [[0], [0, 1], [1, 2], [2, 0], [], None, [1], [1, 1]]
    target = load_target(saved(tmp_path, lists("colours"), colours=rows), samples=100)
    assert (target.label_kind, target.task) == ("multi-label", "text-multi-label-classification")
    assert target.task_reason == "'colours' holds lists" and target.class_names == tuple(NAMES)
    assert target.left_out == {"empty list of labels": 1, "no label": 1}
    assert target.labels.tolist() == [
        [1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 1, 0], [0, 1, 0],
    ]  # fmt: skip
    assert target.describe()["labels_per_sample"] == 9 / 6


def test_lists_of_names_are_read_alike_in_jsonl_and_on_the_hub(tmp_path, hub):
    from datasets import Dataset

    rows = [{"text": f"t {i}", "tags": [NAMES[i % 3], NAMES[i % 2]]} for i in range(24)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Dataset.from_list(rows).push_to_hub("me/tagged")
    here, there = load_target(str(tmp_path / "x.jsonl")), load_target("me/tagged")
    assert here.class_names == there.class_names == ("blue", "green", "red")
    assert np.array_equal(here.labels, there.labels) and there.revision is not None
    assert here.labels[2].tolist() == [1, 0, 1]


def test_columns_of_zero_and_one_are_a_multi_label_target(tmp_path):
    columns = {
        "toxic": [0, 1, 1, 0, 0, 1, 0, None],
        "rude": [False, True, False, True, False, True, False, True],
        "length": [1, 2, 3, 4, 5, 6, 7, 8],
    }
    path = saved(tmp_path, **columns)
    inferred = load_target(path, task="multi-label", samples=100)
    named = load_target(path, label_column="toxic, rude", samples=100)
    for target in (inferred, named):
        assert target.class_names == ("toxic", "rude") and target.input_column == "text"
        assert target.labels.tolist() == [[0, 0], [1, 1], [1, 0], [0, 1], [0, 0], [1, 1], [0, 0]]
        assert target.left_out == {"no label": 1}, "a row of zeros is none"
    assert named.task_reason == "2 label columns are given"
    assert inferred.label_column == named.label_column == "toxic, rude"


def test_columns_of_minus_one_and_one_are_several_labels(tmp_path):
    """As in celebA: -1 is no hidden label where it stands for 0."""
    path = saved(tmp_path, smiling=[-1, 1, 1, -1] * 5, young=[1, 1, -1, -1] * 5)
    target = load_target(path, label_column="smiling,young")
    assert target.labels[:4].tolist() == [[0, 1], [1, 1], [1, 0], [0, 0]]
    assert target.left_out == {} and any("-1 was read as 0" in note for note in target.warnings)
    path = saved(tmp_path, smiling=[-1, 1, 0, 0] * 5, young=[1, 0, 1, 0] * 5)
    assert load_target(path, label_column="smiling,young").left_out == {"no label": 5}


def test_lists_of_zero_and_one_are_a_table(tmp_path):
    rows = [[0, 1, 0], [1, 1, 0], [0, 0, 0], [1, 0, 1], [1, 0, 1], [0, 1, 0]]
    target = load_target(saved(tmp_path, labels=rows), samples=100)
    assert target.labels.tolist() == rows and target.class_names == ("0", "1", "2")
    target = load_target(saved(tmp_path, labels=[[0, 1], [1, 2], [0], [2, 0]] * 3), samples=100)
    assert target.labels[:4].tolist() == [[1, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1]], "ids"


def test_hidden_labels_in_lists_are_left_out(tmp_path):
    rows = [[0, 1], [1], [0], [0, 2], [2, 1], [-1]] * 3
    for features in (lists("labels"), None):
        target = load_target(saved(tmp_path, features, labels=rows), samples=100)
        assert target.left_out == {"empty list of labels": 3} and target.labels.shape == (15, 3)


def test_rare_labels_are_left_out_and_named(tmp_path):
    rows = [[0], [0, 1], [1], [1, 0], [1, 2], [0]]
    target = load_target(saved(tmp_path, lists("colours"), colours=rows), samples=100)
    assert target.class_names == ("red", "green") and target.labels.shape == (6, 2)
    assert any("1 of 3 labels are left out" in note and "blue" in note for note in target.warnings)


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"labels": [[0.5], [1.5]] * 5}, {}, "type float; labels must be all names"),
        ({"labels": [["a"], []] * 5}, {}, r"has 0 labels that at .*; empty list of labels: 5"),
        ({"labels": [["0", "0"], ["1", "0"]] * 5}, {}, "hold the texts 0, 1. If each place"),
        ({"labels": [["True", "True"], ["False", "True"]] * 5}, {}, "the texts false, true. If"),
        ({"labels": [["a"], ["a", "b"]] * 5}, {"task": "regression"}, "cannot be read as reg"),
        ({"labels": [["a"], ["a", "b"]] * 5}, {"task": "single-label"}, "cannot be read as sin"),
        ({"a": [0, 1, 3] * 4, "b": [0, 1, 0] * 4}, {"label_column": "a,b"}, "'a' holds 3; col"),
        ({"a": [0, 1] * 6, "b": [0, 1] * 6}, {"label_column": "a,c"}, "'c' does not exist"),
        ({"a": ["0", "1"] * 6, "b": [0, 1] * 6}, {"label_column": "a,b"}, "'a' holds the text '0'"),
        ({"a": [0, 1] * 6}, {"label_column": ","}, "--label-column ',' names no column"),
        ({"a": [0, 1] * 6, "b": [[0], [1]] * 6}, {"label_column": "a,b"}, "'b' holds lists; sev"),
        ({"a": [0, 1] * 6}, {"task": "multi-label"}, "No column holds lists, and there are no"),
        ({"labels": [["a", "b"], ["b", "c"], ["c"]] * 9}, {"samples": 9}, "--samples 12 or more"),
    ],
)
def test_values_that_cannot_be_several_labels_are_refused(tmp_path, columns, options, words):
    with pytest.raises(TargetError, match=words):
        load_target(saved(tmp_path, **columns), **options)


def test_columns_of_labels_may_have_commas_in_their_names(tmp_path):
    columns = {"red, or pink": [0, 1, 1] * 6, "blue": [1, 0, 1] * 6, "red": [0, 1, 2] * 6}
    path = saved(tmp_path, **columns)
    named = load_target(path, label_column="red, or pink,blue")
    assert named.class_names == ("red, or pink", "blue")
    assert load_target(path, task="multi-label").class_names == named.class_names
    assert load_target(path, label_column="blue,blue").class_names == ("0", "1")


def test_ids_in_lists_may_be_stored_as_floats(tmp_path):
    target = load_target(saved(tmp_path, labels=[[0.0], [2.0, 7.0], [7.0]] * 5))
    assert target.class_names == ("0", "2", "7") and target.labels[1].tolist() == [0, 1, 1]


def test_decimals_are_values(tmp_path):
    values = [Decimal(i) / 8 for i in range(20)]
    for options in ({}, {"task": "regression"}):
        target = load_target(saved(tmp_path, price=values), **options)
        assert target.label_kind == "regression" and target.labels.max() == 19 / 8


@pytest.mark.parametrize(
    "labels",
    [
        ["['cat']", "['cat', 'dog']"],
        ["cat,dog", "dog,cat"],
        ["cat", "dog", "cat; dog"],
        ["rock", "pop", "rock / pop"],
        ["rock", "pop", "rock+pop"],
    ],
)
def test_lists_written_as_texts_are_noticed(tmp_path, labels):
    target = load_target(saved(tmp_path, label=labels * 6))
    assert any("seem to be lists of several labels" in text for text in target.warnings)


@pytest.mark.parametrize("labels", [["0,5", "1", "2,25"], ["5 %", "10 %"], ["€1.50", "€2"]])
def test_values_written_as_texts_are_noticed(tmp_path, labels):
    target = load_target(saved(tmp_path, label=labels * 6))
    assert target.label_kind == "single-label"
    (warning,) = target.warnings
    assert warning.startswith("The labels in 'label' seem to be values, written as texts:")
    assert "store plain numbers, with a point for decimals" in warning


@pytest.mark.parametrize("labels", [["007", "7"], ["0-10", "10-20"], ["C", "C++"], ["1,2", "no"]])
def test_names_that_are_like_values_are_names(tmp_path, labels):
    assert load_target(saved(tmp_path, label=labels * 6)).warnings == ()


def test_names_with_separators_are_names(tmp_path):
    names = ["Paris, France", "Rome, Italy", "food|drink", "and/or", "C", "C++", "(other)"]
    assert load_target(saved(tmp_path, label=names * 6)).warnings == ()


def test_tags_of_words_are_no_labels_of_the_text(tmp_path):
    words = [f"word number {i}".split()[: 2 + i % 2] for i in range(12)]
    tags = [[i % 3, 1, 2][: len(row)] for i, row in enumerate(words)]
    path = saved(tmp_path, words=words, tags=tags)
    assert load_target(path, label_column="tags").label_kind == "token"
    with pytest.raises(TargetError, match=r"one tag for each word of 'words'.*--task token"):
        load_target(path, label_column="tags", input_column="text")
    target = load_target(path, label_column="tags", task="multi-label")
    assert target.label_kind == "multi-label" and target.labels[0].tolist() == [1, 0]


def test_lists_of_mixed_types_are_refused(tmp_path):
    rows = [{"text": f"t {i}", "labels": ["a", i]} for i in range(12)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(TargetError, match=r"values of several types|type int, str"):
        load_target(str(tmp_path / "x.jsonl"))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.data())
def test_every_label_is_in_the_sample(seed, n_labels, data):
    generator = np.random.default_rng(seed)
    tags = (generator.random((200, n_labels)) < generator.random(n_labels) ** 3).astype(np.int64)
    tags[:2] = 1
    tags[2:4] = 0
    size = data.draw(st.integers(2 * FEWEST * n_labels, 220))
    rows = choose_tagged(tags, size, seed)
    assert (np.diff(rows) > 0).all() and len(rows) == min(size, 200)
    counts = tags[rows].sum(0)
    assert (counts >= FEWEST).all() and (len(rows) - counts >= FEWEST).all()
    assert np.array_equal(rows, choose_tagged(tags, size, seed))
    shares = tags.sum(0) * len(rows) // 200
    assert (counts >= shares * 0.5).all()


@pytest.mark.parametrize("unit", [1e300, 1.0, 1e-300])
def test_values_are_centred_and_scaled_in_any_unit(unit):
    assert scored_labels(np.array([1.0, 3.0]) * unit).tolist() == pytest.approx([-1, 1])
    assert scored_labels(np.array([0.0, 0.0]) * unit).tolist() == [0, 0]


def test_strata_have_at_least_two_members():
    assert strata_of(np.array([2, 0, 1])).tolist() == [2, 0, 1]
    assert strata_of(np.arange(40, 0, -1.0)).tolist() == [1] * 20 + [0] * 20
    assert strata_of(np.array([0.0] * 57 + [1, 2, 2])).tolist() == [0] * 57 + [1] * 3
    assert strata_of(np.array([0.0] * 59 + [1])).tolist() == [0] * 60, "no stratum has one member"
    tags = np.array([[1, 1], [1, 1], [1, 0], [1, 0], [0, 0]])
    assert strata_of(tags).tolist() == [1, 1, 0, 0, 2]
    alone = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 1]])
    assert strata_of(alone).tolist() == [0, 0, 3, 2, 2], "no stratum of one label has one member"
