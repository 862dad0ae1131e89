"""Two text columns that are one input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_sfda.dataset import load_target
from hf_sfda.dataset.fingerprint import InputsHash
from hf_sfda.errors import TargetError
from hf_sfda.types import TextPair

N = 12
HALVES = ["yes", "no"] * (N // 2)
NOT_MEASURED = "P(best) was calibrated on single texts, not on pairs of texts."


def texts(word):
    return [f"{word} number {i}" for i in range(N)]


def loaded(tmp_path, columns, **options):
    from datasets import Dataset

    Dataset.from_dict(columns).to_parquet(tmp_path / "x.parquet")
    return load_target(str(tmp_path / "x.parquet"), **options)


# -- fingerprints


def fingerprint(samples):
    sha = InputsHash()
    for sample in samples:
        if isinstance(sample, TextPair):
            sha.add_pair(sample)
        else:
            sha.add_text(sample)
    return sha.hexdigest()


def test_texts_keep_their_fingerprint():
    """Features in existing stores are found by it."""
    expected = "0e52cf8db91f90003d319f011c6b390c5df22baf64f8009d1d187d09d7796185"
    assert fingerprint(["abc", "naïve 花", "\ud800"]) == expected


def test_the_parts_of_a_pair_are_told_apart():
    samples = [
        [TextPair("ab", "c")],
        [TextPair("a", "bc")],
        [TextPair("c", "ab")],
        ["abc"],
        ["ab", "c"],
        [TextPair("abc", "")],
    ]
    assert len({fingerprint(items) for items in samples}) == len(samples)


SHORT = st.text(alphabet="ab\n1 ", max_size=4)
SAMPLES = st.lists(SHORT | st.builds(TextPair, SHORT, SHORT), max_size=4)


@settings(max_examples=200)
@given(SAMPLES, SAMPLES)
def test_equal_fingerprints_mean_equal_samples(one, other):
    assert (fingerprint(one) == fingerprint(other)) == (one == other)


# -- which columns


def test_two_named_columns_are_read_as_pairs(tmp_path):
    columns = {"left": texts("a"), "right": texts("b"), "more": texts("c"), "label": HALVES}
    target = loaded(tmp_path, columns, input_column="right, left")
    assert target.samples[3] == TextPair("b number 3", "a number 3")
    assert all(isinstance(sample, TextPair) for sample in target.samples)
    assert target.input_column == "right, left" and target.warnings == (NOT_MEASURED,)
    assert (target.modality, target.task) == ("text", "text-classification")
    again = load_target(target.dataset_id, input_column=target.input_column)
    assert again.fingerprint == target.fingerprint
    turned = load_target(target.dataset_id, input_column="left,right")
    assert turned.inputs_fingerprint != target.inputs_fingerprint


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (("premise", "hypothesis"), "premise, hypothesis"),
        (("Hypothesis", "Premise"), "Premise, Hypothesis"),
        (("SENTENCE1", "sentence2"), "SENTENCE1, sentence2"),
        (("sentence_b", "sentence_a"), "sentence_a, sentence_b"),
        (("question", "sentence"), "question, sentence"),
        (("text1", "text2"), "text1, text2"),
        (("query", "passage"), "query, passage"),
    ],
)
def test_usual_pairs_are_inferred(tmp_path, names, read):
    columns = {name: texts(name) for name in names} | {"label": HALVES, "idx": list(range(N))}
    target = loaded(tmp_path, columns)
    assert target.input_column == read
    first, second = read.split(", ")
    expected = f"The texts are read as pairs of {first!r} and {second!r}."
    assert any(warning.startswith(expected) for warning in target.warnings)
    alone = load_target(target.dataset_id, input_column=names[0])
    assert alone.input_column == names[0] and isinstance(alone.samples[0], str)
    assert alone.warnings == ()


def test_other_columns_are_not_read_as_pairs(tmp_path):
    pair = {"premise": texts("a"), "hypothesis": texts("b"), "label": HALVES}
    with pytest.raises(TargetError, match=r"premise, hypothesis, genre. .*--input-column first,se"):
        loaded(tmp_path, pair | {"genre": texts("c")})
    assert loaded(tmp_path, pair | {"text": texts("c")}).input_column == "text"
    mixed = {"premise": texts("a"), "passage": texts("b"), "label": HALVES}
    with pytest.raises(TargetError, match=r"or two of them for pairs of texts"):
        loaded(tmp_path, mixed)
    labelled = {"sentence": texts("a"), "question": HALVES}
    target = loaded(tmp_path, labelled, label_column="question")
    assert target.input_column == "sentence", "the label is no part of a pair"


def test_a_name_with_a_comma_is_one_column(tmp_path):
    columns = {"a,b": texts("both"), "a": texts("a"), "b": texts("b"), "label": HALVES}
    target = loaded(tmp_path, columns, input_column="a,b")
    assert target.input_column == "a,b" and target.samples[0] == "both number 0"


def test_columns_of_a_pair_may_have_commas_in_their_names(tmp_path):
    columns = {"a, or b": texts("both"), "c": texts("c"), "label": HALVES}
    assert loaded(tmp_path, columns, input_column="c,a, or b").input_column == "c, a, or b"


def test_the_other_text_of_a_pair_may_be_no_text(tmp_path):
    columns = {"premise": texts("a"), "hypothesis": [0.5] * N, "label": HALVES}
    target = loaded(tmp_path, columns)
    assert target.input_column == "premise"
    (warning,) = target.warnings
    assert "not pairs of texts: hypothesis (float64) holds no texts" in warning


def test_equal_texts_of_pairs_are_noticed(tmp_path):
    columns = {"a": texts("a"), "b": texts("a"), "label": HALVES}
    warnings = loaded(tmp_path, columns, input_column="a,b").warnings
    assert any(f"{N} of {N} pairs of 'a' and 'b' hold the same text" in text for text in warnings)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("a,b,c", r"'a,b,c' must name one column, or two different text columns"),
        ("a,a", r"'a,a' must name one column, or two different text columns"),
        ("a,", r"'a,' must name one column, or two different text columns"),
        ("a,x", r"--input-column 'x' does not exist. Columns: a, b, c, n, label"),
        ("a,n", r"The input column 'n' is of type int64; it must hold texts, because it is one"),
        ("label,a", r"'label' is given both as --input-column and as --label-column"),
    ],
)
def test_wrong_pairs_are_refused(tmp_path, given, words):
    columns = {name: texts(name) for name in "abc"} | {"n": list(range(N)), "label": HALVES}
    with pytest.raises(TargetError, match=words):
        loaded(tmp_path, columns, input_column=given, label_column="label")


def test_file_names_of_images_are_refused_in_a_pair(tmp_path):
    columns = {"a": texts("a"), "b": [f"{i}.png" for i in range(N)], "label": HALVES}
    with pytest.raises(TargetError, match="The column 'b' holds names of image files"):
        loaded(tmp_path, columns, input_column="a,b")


# -- rows and labels


def test_rows_with_an_empty_text_are_left_out(tmp_path):
    first, second = texts("a"), texts("b")
    first[0], first[1], second[1], second[5] = "", None, "  ", None
    target = loaded(tmp_path, {"a": first, "b": second, "label": HALVES}, input_column="a,b")
    assert target.left_out == {"empty text": 3} and len(target) == N - 3
    assert target.samples[0] == TextPair("a number 2", "b number 2")
    assert target.sample_ids[0] == "train/2"


@pytest.mark.parametrize(
    ("column", "labels", "task"),
    [
        ("score", [i / 3 for i in range(N)], "text-regression"),
        ("topics", [["a"], ["a", "b"], ["b"]] * (N // 3), "text-multi-label-classification"),
        ("label", HALVES, "text-classification"),
    ],
)
def test_pairs_take_labels_of_every_kind(tmp_path, column, labels, task):
    columns = {"sentence1": texts("a"), "sentence2": texts("b"), column: labels}
    target = loaded(tmp_path, columns)
    assert target.task == task and target.input_column == "sentence1, sentence2"
    assert len(target.samples) == len(target.labels) == N
    assert np.isfinite(np.asarray(target.labels, dtype=float)).all()


def test_pairs_that_repeat_are_noticed(tmp_path):
    """Only the same text in both places is the same pair."""
    columns = {"a": ["same"] * N, "b": texts("b"), "label": HALVES}
    assert loaded(tmp_path, columns, input_column="a,b").warnings == (NOT_MEASURED,)
    target = loaded(tmp_path, columns | {"b": ["same"] * N}, input_column="a,b")
    assert any("Only 1 of 12 pairs of texts are different" in text for text in target.warnings)
