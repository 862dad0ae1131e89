"""Tags of words: one word is drawn from each sentence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_sfda.dataset import load_target
from hf_sfda.dataset.fingerprint import InputsHash
from hf_sfda.dataset.words import draw_words
from hf_sfda.errors import TargetError
from hf_sfda.format import marked
from hf_sfda.tasks import columns_phrase, label_facts
from hf_sfda.types import TextPair, Word

NAMES = ["O", "B-PER", "I-PER"]
N = 30
SENTENCES = [f"the ship {i} of Ann Lee sails".split()[: 6 + i % 2] for i in range(N)]
TAGS = [[0, 0, 0, 0, 1, 2, 0][: len(words)] for words in SENTENCES]


def loaded(tmp_path, columns, names=NAMES, **options):
    """A target of these columns; lists of ints in ``ner_tags`` are a ``List(ClassLabel)``."""
    from datasets import ClassLabel, Dataset, List

    data = Dataset.from_dict(columns)
    if names and "ner_tags" in columns:
        data = data.cast_column("ner_tags", List(ClassLabel(names=names)))
    data.to_parquet(tmp_path / "x.parquet")
    return load_target(str(tmp_path / "x.parquet"), **options)


# -- the draw


@st.composite
def tagged_rows(draw):
    """Rows of tags; a row may have none."""
    return draw(st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=12))


def drawn(rows, seed):
    """(row, position in the row) of each word that was drawn, or ``None``."""
    flat = [(i, j) for i, tags in enumerate(rows) for j in range(len(tags))]
    tags = np.array([rows[i][j] for i, j in flat], dtype=np.int64)
    indices = draw_words(np.array([i for i, _ in flat], dtype=np.int64), tags, len(rows), seed)
    return [flat[index] if index >= 0 else None for index in indices]


@settings(max_examples=200)
@given(tagged_rows(), st.integers(0, 5))
def test_one_word_of_each_row_is_drawn(rows, seed):
    words = drawn(rows, seed)
    for i, (tags, word) in enumerate(zip(rows, words, strict=True)):
        assert (word is None) == (not tags)
        assert word is None or (word[0] == i and 0 <= word[1] < len(tags))
    assert drawn(rows, seed) == words


@settings(max_examples=100)
@given(tagged_rows(), st.integers(0, 5), st.data())
def test_a_row_is_drawn_whatever_the_other_rows_are(rows, seed, data):
    row = data.draw(st.integers(0, len(rows) - 1))
    others = [tags if i == row else tags[:1] for i, tags in enumerate(rows)]
    assert drawn(rows, seed)[row] == drawn(others, seed)[row]


def test_the_draw_is_the_same_on_every_machine():
    expected = [(0, 2), (1, 0), (2, 0), None]
    assert drawn([[0, 0, 1], [2, 1, 0, 0], [1], []], 0) == expected


def test_tags_are_drawn_with_equal_probability_then_words():
    rows = [[0, 0, 0, 0, 1, 0, 0, 0]] * 4000
    positions = np.array([word[1] for word in drawn(rows, 0)])
    assert abs((positions == 4).mean() - 1 / 2) < 0.03
    counts = np.bincount(positions, minlength=8)[[0, 1, 2, 3, 5, 6, 7]]
    assert (abs(counts / 4000 - 1 / 14) < 0.02).all()


# -- a target


def test_words_and_tags_are_inferred(tmp_path):
    target = loaded(tmp_path, {"id": list("abcdef") * 5, "tokens": SENTENCES, "ner_tags": TAGS})
    assert (target.modality, target.task) == ("text", "text-token-classification")
    assert (target.label_kind, target.input_column) == ("token", "tokens")
    assert target.task_reason == "'ner_tags' has one tag for each word of 'tokens'"
    assert target.class_names == ("O", "B-PER", "I-PER") and target.warnings == ()
    assert target.labels.dtype == np.int64 and len(target) == N
    for i, (word, label) in enumerate(zip(target.samples, target.labels, strict=True)):
        assert isinstance(word, Word) and word.words == tuple(SENTENCES[i])
        assert TAGS[i][word.position] == label
        assert target.sample_ids[i] == f"train/{i}/{word.position}"
    facts = target.describe()
    assert label_facts(facts) == [
        f"text token classification, since {target.task_reason}",
        "3 tags",
        "one word of each sentence",
    ]
    assert columns_phrase(facts) == "words of tokens by tags of ner_tags: O, B-PER, I-PER"


def test_a_smaller_sample_has_the_same_words(tmp_path):
    whole = loaded(tmp_path, {"tokens": SENTENCES, "ner_tags": TAGS}, seed=3)
    part = load_target(whole.dataset_id, seed=3, samples=12)
    labels = dict(zip(whole.sample_ids, whole.labels, strict=True))
    assert len(part) == 12 and set(part.sample_ids) <= set(whole.sample_ids)
    assert [labels[name] for name in part.sample_ids] == part.labels.tolist()
    assert load_target(whole.dataset_id, seed=3).fingerprint == whole.fingerprint
    assert load_target(whole.dataset_id, seed=4).sample_ids != whole.sample_ids


@pytest.mark.parametrize(
    ("columns", "expected", "names"),
    [
        ({"ner_tags": TAGS}, ("0", "1", "2"), None),
        ({"tags": [[NAMES[tag] for tag in tags] for tags in TAGS]}, tuple(sorted(NAMES)), None),
        ({"labels": TAGS}, ("0", "1", "2"), None),
    ],
)
def test_tags_may_be_ids_or_names(tmp_path, columns, expected, names):
    target = loaded(tmp_path, {"words": SENTENCES, **columns}, names)
    assert target.class_names == expected and target.input_column == "words"


def test_several_columns_of_tags_are_asked_about(tmp_path):
    columns = {"tokens": SENTENCES, "ner_tags": TAGS, "pos_tags": [tags[::-1] for tags in TAGS]}
    words = (
        r"Several columns have one tag for each word of 'tokens': ner_tags, pos_tags\. .*--label"
    )
    with pytest.raises(TargetError, match=words):
        loaded(tmp_path, columns)
    path = str(tmp_path / "x.parquet")
    assert load_target(path, label_column="pos_tags").label_column == "pos_tags"
    named = load_target(path, label_column="ner_tags", input_column="tokens", task="token")
    assert named.task_reason == "" and named.label_kind == "token"
    tags = load_target(path, input_column=None, label_column="ner_tags")
    assert tags.fingerprint == named.fingerprint


def test_tags_of_words_are_labels_of_the_text_if_the_user_says_so(tmp_path):
    texts = [" ".join(words) for words in SENTENCES]
    some = [tags if i % 2 else [0] * len(tags) for i, tags in enumerate(TAGS)]
    columns = {"text": texts, "tokens": SENTENCES, "ner_tags": some}
    assert loaded(tmp_path, columns).input_column == "tokens"
    path = str(tmp_path / "x.parquet")
    target = load_target(path, task="multi-label", label_column="ner_tags")
    assert target.input_column == "text" and target.label_kind == "multi-label"
    with pytest.raises(TargetError, match=r"one tag for each word of 'tokens'.* --task token"):
        load_target(path, input_column="text", label_column="ner_tags")


def test_a_class_for_each_row_comes_first(tmp_path):
    columns = {"text": [f"text {i}" for i in range(N)], "label": ["a", "b"] * (N // 2)}
    target = loaded(tmp_path, columns | {"tokens": SENTENCES, "ner_tags": TAGS})
    assert target.label_kind == "single-label" and target.label_column == "label"
    assert load_target(target.dataset_id, task="token").label_column == "ner_tags"


def test_names_and_ids_of_labels_are_no_words_and_tags(tmp_path):
    ids = [[i % 3, (i + 1) % 3] for i in range(N)]
    columns = {"text": [f"text {i}" for i in range(N)], "ids": ids}
    columns["names"] = [[("cat", "dog", "cow")[i] for i in row] for row in ids]
    with pytest.raises(TargetError, match="No column looks like a label"):
        loaded(tmp_path, columns)


# -- what is left out


def test_ids_of_words_are_no_tags(tmp_path):
    ids = [[100 + 7 * i + j for j in range(len(row))] for i, row in enumerate(SENTENCES)]
    names = [[f"T{tag}" for tag in row] for row in TAGS]
    with pytest.raises(TargetError, match=r"No column looks like a label.*--task token"):
        loaded(tmp_path, {"word_ids": ids, "pos": names}, names=None)


def test_lists_of_other_lengths_are_named(tmp_path):
    tags = [row[:-1] for row in TAGS]
    with pytest.raises(TargetError, match=r"has a tag for each word of another, pass --task token"):
        loaded(tmp_path, {"tokens": SENTENCES, "ner_tags": tags})
    with pytest.raises(TargetError, match=rf"number of tags is not the number of words: {N}"):
        loaded(tmp_path, {"tokens": SENTENCES, "ner_tags": tags}, task="token")


def test_rows_without_a_word_to_draw_are_left_out(tmp_path):
    words, tags = [list(row) for row in SENTENCES], [list(row) for row in TAGS]
    words[0], tags[0] = [], []
    words[1] = None
    tags[2] = None
    tags[3] = tags[3][:-1]
    words[4][0] = None
    tags[5] = [-100] * len(tags[5])
    words[6], tags[6] = ["", " ", "\u200b", "\u0301", "x"], [1, 1, 1, 1, None]
    words[7], tags[7] = ["", "x", "\u200b"], [1, 0, 1]
    tags[8] = [-100] * (len(tags[8]) - 1) + [2]
    columns = {"tokens": words, "ner_tags": tags}
    target = loaded(tmp_path, columns, names=None, task="token")
    assert target.left_out == {
        "no words": 2,
        "no label": 1,
        "number of tags is not the number of words": 1,
        "missing word": 1,
        "no word with a tag": 2,
    }
    assert target.samples[0] == Word(("", "x", "\u200b"), 1)
    assert target.samples[1].position == len(tags[8]) - 1
    assert any("The tag -100 in 'ner_tags' was read as a hidden tag" in w for w in target.warnings)


def test_a_declared_tag_may_be_hidden(tmp_path):
    tags = [[-1, *row[1:]] for row in TAGS]
    target = loaded(tmp_path, {"tokens": SENTENCES, "ner_tags": tags})
    assert len(target) == N and all(word.position > 0 for word in target.samples)


def test_rare_tags_are_left_out(tmp_path):
    tags = [list(row) for row in TAGS]
    tags[0] = [7] * len(tags[0])
    target = loaded(tmp_path, {"tokens": SENTENCES, "ner_tags": tags}, names=None)
    assert target.class_names == ("0", "1", "2") and "train/0" not in str(target.sample_ids[0])
    assert target.left_out == {"class with fewer than 2 samples": 1}


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"text": ["a"] * N, "tags": TAGS}, {}, "No column holds one tag for each word of another"),
        ({"text": ["a"] * N, "tags": TAGS}, {"input_column": "text"}, "'text' holds no lists"),
        ({"words": SENTENCES, "y": ["a"] * N}, {"label_column": "y"}, "'y' holds no lists"),
        ({"words": SENTENCES, "tags": TAGS}, {"input_column": "tags"}, "lists of other values"),
        ({"a": SENTENCES, "b": SENTENCES, "tags": TAGS}, {}, "Several columns could be the words"),
        ({"tokens": TAGS, "tags": SENTENCES}, {}, "No column holds one tag for each word"),
        (
            {"words": SENTENCES, "tags": [[0] * len(row) for row in TAGS]},
            {},
            r"only one class \(0\)",
        ),
        (
            {"words": SENTENCES, "tags": [[0.5] * len(row) for row in TAGS]},
            {"label_column": "tags"},
            "lists of other values",
        ),
        (
            {"words": SENTENCES, "tags": TAGS},
            {"label_column": "tags,words"},
            "must name one column",
        ),
        ({"words": SENTENCES, "tags": TAGS}, {"samples": 3}, "cannot hold 2 of each of 3 classes"),
    ],
)
def test_columns_that_are_no_words_and_tags_are_refused(tmp_path, columns, options, words):
    with pytest.raises(TargetError, match=words):
        loaded(tmp_path, columns, task="token", **options)


# -- fingerprints


def fingerprint(samples):
    sha = InputsHash()
    for sample in samples:
        if isinstance(sample, Word):
            sha.add_word(sample)
        elif isinstance(sample, TextPair):
            sha.add_pair(sample)
        else:
            sha.add_text(sample)
    return sha.hexdigest()


SHORT = st.text(alphabet="ab\n1 ", max_size=3)
WORDS = st.builds(Word, st.lists(SHORT, min_size=1, max_size=3).map(tuple), st.integers(0, 2))
SAMPLES = st.lists(SHORT | st.builds(TextPair, SHORT, SHORT) | WORDS, max_size=4)


@settings(max_examples=200)
@given(SAMPLES, SAMPLES)
def test_equal_fingerprints_mean_equal_samples(one, other):
    assert (fingerprint(one) == fingerprint(other)) == (one == other)


def test_words_and_position_are_in_the_fingerprint():
    samples = [Word(("ab", "c"), 0), Word(("ab", "c"), 1), Word(("a", "bc"), 0), Word(("abc",), 0)]
    assert len({fingerprint([sample]) for sample in samples}) == len(samples)


# -- how a word is shown


@settings(max_examples=200)
@given(st.lists(st.text("ab ", max_size=9), min_size=1, max_size=9), st.data())
def test_a_marked_word_fits(words, data):
    position = data.draw(st.integers(0, len(words) - 1))
    text = marked(words, position, 30)
    assert f"[{words[position]}]" in text and len(text) <= 32
    if len(" ".join(words)) < 12:
        assert (
            text.split()
            == " ".join([*words[:position], f"[{words[position]}]", *words[position + 1 :]]).split()
        )
