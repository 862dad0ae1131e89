"""Text of strangers is read within bounds and shown without what hides in it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from hf_sfda.backbones.checkpoint import read_config, read_weights
from hf_sfda.errors import ConfigError, PublishError, SfdaError
from hf_sfda.foreign import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_YAML_BYTES,
    ForeignError,
    clean,
    clean_all,
    clean_lines,
    read_front_matter,
    read_json,
    read_json_file,
    read_yaml,
    visible_json,
)
from hf_sfda.hub.access import Repo
from hf_sfda.leaderboard.state import load_failure, load_scored, parse_log
from hf_sfda.publish.edits import parse_card
from hf_sfda.publish.plan import load_run
from hf_sfda.publish.rows import dump_rows, make_run, read_results
from hf_sfda.ranking.runs import read_ranking
from hf_sfda.types import Candidate, ModelRow, Ranking, RowWarning, Target
from tests.publishing import make_ranking
from tests.targets import make_target

HIDDEN = "\x1b\x00\x07\x7f\x9b\u202e\u2066\u200b\u200e\u2028\ufeff\U000e0041\ud800\udfff"


@pytest.mark.parametrize("depth", [MAX_DEPTH + 2, 1_000, 200_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("closed", [True, False])
def test_deep_json_and_yaml_are_refused_and_nothing_else_happens(depth, opening, closed):
    closing = "]" if opening == "[" else "}"
    text = opening * depth + "1" + closing * depth * closed
    for reader in (read_json, read_yaml):
        with pytest.raises(ForeignError, match=r"nested more than|not JSON|not YAML"):
            reader(text)


def test_what_is_as_deep_as_allowed_is_read():
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert read_json(text) == read_yaml(text)
    text = "[" * (MAX_DEPTH + 1) + "1" + "]" * (MAX_DEPTH + 1)
    assert read_json(text) == read_yaml(text)


def test_nothing_below_the_deepest_level_of_a_yaml_is_looked_at():
    with pytest.raises(ForeignError, match="nested more than"):
        read_yaml("[" * (MAX_DEPTH + 3) + "}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ('{"a": 1', "not JSON"),
        ('{"a": "b', "not JSON"),
        ("1" * 5000, "not JSON"),  # Python refuses to convert so many digits
        (b"\xff\xfe", r"not UTF-8 text \(byte 0\)"),
        (b"[" + b" " * MAX_BYTES, "larger than 64 MB"),
    ],
)
def test_bad_json_is_refused_with_a_short_reason(text, message):
    with pytest.raises(ForeignError, match=message) as caught:
        read_json(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not YAML"),
        ("a: &a [*a]", "nested"),
        ("&a {x: *a}", "nested"),
        ("a: !!timestamp x", "not YAML"),
        ("a: !!int ''", "not YAML"),
        ("a: !!bool x", "not YAML"),
        ("a: 2024-13-01", "not YAML"),
        ("a: !!python/object/apply:os.getcwd []", "not YAML"),
        ("? [a]\n: b", "not YAML"),
        ("a: \x1b", "not YAML"),
        ("- " * 5_000 + "x", "nested|not YAML"),
        ("a: b\n---\nc: d", "not YAML"),
        ("#" + " " * MAX_YAML_BYTES, "larger than 8 MB"),
    ],
)
def test_bad_yaml_is_refused_with_a_short_reason(text, message):
    with pytest.raises(ForeignError, match=message) as caught:
        read_yaml(text)
    assert len(str(caught.value)) < 300


def test_a_few_lines_of_aliases_do_not_stand_for_a_billion_values():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(ForeignError, match="more than 5,000,000 values"):
        read_yaml("\n".join(lines))
    assert read_yaml("a: &a [x]\nb: *a") == {"a": ["x"], "b": ["x"]}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda children: (
    st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4)
), max_leaves=20))  # fmt: skip
def test_ordinary_values_are_read_back_from_json(value):
    assert read_json(json.dumps(value)) == value
    assert read_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.text() | st.binary())
def test_any_text_is_read_or_refused(text):
    for reader in (read_json, read_yaml):
        try:
            reader(text)
        except ForeignError as error:
            str(error).encode()


def test_halves_of_characters_are_replaced_and_pairs_stay():
    assert read_json(r'{"\ud800": ["\udfffx", "\ud83d\ude00"]}') == {"\ufffd": ["\ufffdx", "😀"]}
    assert read_yaml(r'{"\uD800": "\U0001F600"}') == {"\ufffd": "😀"}


def test_a_json_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json_file(tmp_path / "a.json") == [1]
    with pytest.raises(OSError, match="No such file"):
        read_json_file(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("card", "metadata"),
    [
        ("---\nlicense: mit\n---\n# A", {"license": "mit"}),
        ("\ufeff---\r\nlicense: mit\r\n---\r\n# A", {"license": "mit"}),
        ("# A", {}),
        ("---\n---\n# A", {}),
    ],
)
def test_the_front_matter_of_a_card_is_read(tmp_path, card, metadata):
    (tmp_path / "README.md").write_text(card, encoding="utf-8", newline="")
    assert read_front_matter(tmp_path / "README.md") == metadata


@pytest.mark.parametrize("front", ["a: [", "- a", "[" * 5000, "a: !!timestamp x"])
def test_bad_front_matter_is_refused(tmp_path, front):
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n", encoding="utf-8")
    with pytest.raises(ForeignError):
        read_front_matter(tmp_path / "README.md")


# -- showing


@pytest.mark.parametrize("character", HIDDEN)
def test_hidden_characters_are_replaced(character):
    assert clean(f"a{character}b") == "a\ufffdb"
    assert clean(f"a{character}b", instead=" ") == "a b"
    shown = visible_json(json.dumps([f"a{character}b"], ensure_ascii=False))
    assert character not in shown
    assert json.loads(shown) == [f"a{character}b"]
    shown.encode()


@pytest.mark.parametrize("text", ["naïve", "模型", "हिन्दी", "نمی‌خواهم", "👩‍⚕️", "ß`'[b]"])
def test_letters_of_any_script_stay(text):
    assert clean(text) == clean_lines(text) == visible_json(text) == text


def test_lines_and_tabs_stay_where_they_may():
    assert clean_lines("a\tb\r\nc\rd") == "a\tb\nc\ufffdd"
    assert clean("a\nb") == "a\ufffdb"
    assert clean_all({"\x1b": ["\u202e", 5, None], "b": ("\ud800",)}) == {
        "\ufffd": ["\ufffd", 5, None],
        "b": ("\ufffd",),
    }


@given(st.text(st.characters(exclude_categories=[])))
def test_shown_lines_hold_no_hidden_characters(text):
    assert not set(clean_lines(text)) & set(HIDDEN)
    clean_lines(text).encode()


def test_candidates_and_rows_are_clean_from_the_start():
    hidden = f"a{HIDDEN}"
    texts = [
        *(getattr(Candidate(hidden, license=hidden, skip=hidden), n) for n in ("model_id", "skip")),
        Candidate(hidden, license=hidden).license,
        ModelRow(hidden, None, "failed", reason=hidden, license=hidden).reason,
        RowWarning(None, hidden).text,
        *Ranking({"metric": "m"}, {"class_names": [hidden]}, ()).dataset["class_names"],
    ]
    assert set(texts) == {"a" + "\ufffd" * len(HIDDEN)}


def test_class_names_that_become_equal_are_numbered():
    target = make_target("xyz", "text")
    facts = {name: getattr(target, name) for name in Target.__dataclass_fields__}
    names = ("a\x1b", "a\ud800", "b", "a\u202e")
    cleaned = Target(**{**facts, "class_names": names, "left_out": {"x\x1b": 1}})
    assert cleaned.class_names == ("a\ufffd", "a\ufffd (2)", "b", "a\ufffd (3)")
    assert cleaned.left_out == {"x\ufffd": 1}
    assert cleaned.fingerprint == target.fingerprint


def test_yaml_and_json_agree_with_the_plain_readers():
    text = "a: {b: [1, 2.5, true, null, x]}"
    assert read_yaml(text) == yaml.safe_load(text)


# -- every reader of something foreign raises an error of ours

DEEP = "[" * 100_000
BROKEN = [DEEP, '{"a":' * 50_000, '{"schema_version": 1', "5", "[]", "{}", "null", "\x00"]


def record(text: str) -> bytes:
    """A measurement of a leaderboard whose description is this."""
    return bytes(save({"per_sample.m": np.zeros(2)}, metadata={"hf_sfda": text}))


@pytest.mark.parametrize("text", BROKEN)
def test_every_reader_refuses_with_an_error_of_ours(tmp_path, text):
    repo = Repo("me/board", "dataset")
    (tmp_path / "ranking.json").write_text(text)
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "model.safetensors.index.json").write_text(text)
    readers = [
        lambda: read_ranking(tmp_path),
        lambda: load_run(tmp_path),
        lambda: load_scored(record(text), "x.safetensors"),
        lambda: load_scored(len(text).to_bytes(8, "little") + text.encode(), "x.safetensors"),
        lambda: load_failure(text.encode(), "x.json"),
        lambda: parse_log(text.encode() + b"\n", repo),
        lambda: read_weights(tmp_path),
    ]
    if text != "{}":
        readers.append(lambda: read_config(tmp_path))
    for reader in readers:
        with pytest.raises(SfdaError) as caught:
            reader()
        assert len(str(caught.value)) < 1000


def ranking_document(**changes) -> str:
    document = make_ranking().to_dict()
    for key, value in changes.items():
        if key in ("config", "dataset") and isinstance(value, dict):
            value = {k: v for k, v in (document[key] | value).items() if v != "gone"}
        document[key] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    "changes",
    [
        {"config": []},
        {"config": {"metric": "gone"}},
        {"dataset": 5},
        {"dataset": {"fingerprint": "gone"}},
        {"rows": 5},
        {"rows": [5]},
        {"rows": [{}]},
        {"rows": [{**make_ranking().to_dict()["rows"][0], "status": "great"}]},
        {"rows": [{**make_ranking().to_dict()["rows"][0], "scores": {"knn": "much"}}]},
        {"rows": [{**make_ranking().to_dict()["rows"][0], "intervals": {"knn": 5}}]},
        {"rows": [{**make_ranking().to_dict()["rows"][0], "extra": 5}]},
    ],
    ids=repr,
)
def test_a_ranking_that_lacks_a_part_is_none(tmp_path, changes):
    (tmp_path / "ranking.json").write_text(ranking_document(**changes))
    with pytest.raises(ConfigError, match="is not a ranking"):
        read_ranking(tmp_path)
    with pytest.raises(PublishError, match="is not a ranking"):
        load_run(tmp_path)


def test_a_whole_ranking_is_read(tmp_path):
    (tmp_path / "ranking.json").write_text(ranking_document())
    assert read_ranking(tmp_path).to_dict() == make_ranking().to_dict()


@pytest.mark.parametrize("front", [DEEP, "a: &a [*a]", "a: !!timestamp x", "a: !!int ''", "- a"])
def test_a_card_that_cannot_be_read_is_left_alone(front):
    with pytest.raises(PublishError, match=r"README.md of me/vit.*It is left as it is"):
        parse_card(f"---\nb: 1\n{front}\n---\n# A".encode(), "README.md of me/vit")


@pytest.mark.parametrize("column", ["config", "versions"])
@pytest.mark.parametrize("text", [DEEP, "{", "[]", "5"])
def test_rows_whose_settings_cannot_be_read_are_refused(tmp_path, column, text):
    run = make_run(make_ranking())
    rows = [{**row, column: text} for row in run.rows]
    (tmp_path / "rows.parquet").write_bytes(dump_rows(rows))
    with pytest.raises(
        PublishError, match=r"rows.parquet holds settings that are not a JSON object"
    ):
        read_results(tmp_path / "rows.parquet", "rows.parquet")


def test_rows_of_strangers_are_clean(tmp_path):
    run = make_run(make_ranking())
    rows = [
        {**row, "model": f"acme/\x1b]8;;x{row['model']}", "reason": "\u202e"} for row in run.rows
    ]
    (tmp_path / "rows.parquet").write_bytes(dump_rows(rows))
    read = read_results(tmp_path / "rows.parquet", "rows.parquet")
    assert all(row["model"].startswith("acme/\ufffd]8;;x") for row in read)
    assert {row["reason"] for row in read} == {"\ufffd"}
