"""Of a dataset on the Hub, only the split that is wanted is downloaded."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from datasets import DatasetDict, load_dataset

from hf_sfda.dataset import download_size, load_target
from hf_sfda.dataset.load import open_source
from hf_sfda.dataset.one_split import remembered
from hf_sfda.errors import TargetError
from tests import factories
from tests.offline import answer, load_apart, load_offline


@pytest.fixture
def words():
    data = factories.text_dataset(n_per_class=20)
    parts = {"train": range(30), "validation": range(30, 45), "test": range(45, 60)}
    return DatasetDict({name: data.select(rows) for name, rows in parts.items()})


def _open(name, split=None, token=None):
    return open_source(name, revision=None, split=split, token=token)


def _fetched(hub):
    """The data files that were downloaded."""
    paths = {r.path.rpartition("/")[2] for r in hub.requests if r.method == "GET"}
    return sorted(path for path in paths if path.endswith((".parquet", ".jsonl", ".csv")))


@pytest.mark.parametrize("split", [None, "validation", "test"])
def test_only_the_files_of_the_split_are_fetched(hub, words, split):
    words.push_to_hub("me/words")
    hub.requests.clear()
    source = _open("me/words", split)
    name = split or "train"
    assert source.split == name
    assert _fetched(hub) == [f"{name}-00000-of-00001.parquet"]
    whole = load_dataset("me/words", split=name)
    assert source.data.features == whole.features
    assert source.data.to_list() == whole.to_list()
    assert load_dataset("me/words", split="test").num_rows == 15  # `datasets` has its own folder


def test_a_split_of_json_files_is_fetched_alone(hub):
    lines = '{"text": "a b", "label": "x"}\n{"text": "c d", "label": "y"}\n' * 10
    hub.put("me/lines", {"train.jsonl": lines, "test.jsonl": lines}, repo_type="dataset")
    assert len(_open("me/lines").data) == 20
    assert _fetched(hub) == ["train.jsonl"]


def test_features_that_depend_on_another_split_need_all_of_them(hub, tmp_path, words):
    for name in ("train", "test"):
        words[name].to_parquet(str(tmp_path / f"{name}.parquet"))
    hub.put("me/plain", tmp_path, repo_type="dataset")
    assert _open("me/plain", "test").data.features == words["test"].features
    assert _fetched(hub) == ["test.parquet", "train.parquet"]


def test_what_datasets_has_in_its_cache_is_not_fetched_again(hub, words):
    words.push_to_hub("me/words")
    load_dataset("me/words")
    hub.requests.clear()
    assert len(_open("me/words").data) == 30
    assert _fetched(hub) == []


def test_another_split_and_another_commit_are_read_anew(hub, words):
    words.push_to_hub("me/words")
    assert len(_open("me/words").data) == 30
    assert len(_open("me/words", "test").data) == 15
    changed = DatasetDict({**words, "train": words["train"].select(range(12))})
    changed.push_to_hub("me/words")
    assert len(_open("me/words").data) == 12


def test_errors_name_all_splits(hub, words):
    DatasetDict({"a": words["train"], "b": words["test"]}).push_to_hub("me/words")
    with pytest.raises(TargetError, match=r"has no train split\. Splits: a, b"):
        _open("me/words")
    with pytest.raises(TargetError, match=r"'c' does not exist in me/words\. Splits: a, b"):
        _open("me/words", "c")


def test_the_name_of_a_split_leads_nowhere_else(hub):
    card = (
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: ../../up\n"
        "    path: a.csv\n  - split: test\n    path: b.csv\n---\n"
    )
    rows = "text;label\n" + "a;b\n" * 9
    hub.put("me/up", {"README.md": card, "a.csv": rows, "b.csv": rows}, repo_type="dataset")
    with suppress(TargetError):
        _open("me/up", "../../up")
    assert not list(Path(os.environ["HF_HOME"]).rglob("up*"))
    assert remembered("me/up", "0" * 40, "../../../../x") is None


def test_a_second_run_needs_no_network(hub, hub_env, words):
    words.push_to_hub("me/words")
    [online] = load_apart({"dataset": "me/words"}, env=hub_env)
    assert online[2] == "train"
    hub.requests.clear()
    offline, other, unknown = load_apart(
        *({"dataset": "me/words", "split": split} for split in (None, "test", "none")),
        env={**hub_env, "HF_HUB_OFFLINE": "1"},
    )
    assert offline == online
    assert "HF_HUB_OFFLINE" in other
    assert "Splits: train, validation, test" in unknown
    assert hub.requests == []


def test_a_private_dataset_is_read_with_the_token(hub, words):
    words.push_to_hub("me/words", private=True)
    assert len(_open("me/words", token=hub.token).data) == 30
    with pytest.raises(TargetError):
        load_target("me/words", split="test", token=hub.account("stranger"))


def test_the_size_counts_the_split(hub, words):
    words.push_to_hub("me/words")
    sizes = {path: len(content) for path, content in hub.files("me/words").items()}
    for split in ("train", "test"):
        wanted = sizes[f"data/{split}-00000-of-00001.parquet"]
        assert download_size("me/words", split=split) == wanted
    load_dataset("me/words")
    assert download_size("me/words") == sizes["data/train-00000-of-00001.parquet"]


@pytest.mark.parametrize("splits", [("train",), ("train", "test")])
def test_a_default_configuration_is_named_without_the_hub_as_well(hub, words, splits):
    parts = DatasetDict({name: words[name] for name in splits})
    parts.push_to_hub("me/both", "first", set_default=True)
    parts.push_to_hub("me/both", "second")
    online = answer("me/both")
    assert load_offline({"dataset": "me/both"}) == [online]
    assert "'first' is read, the default one" in online[4][0] and "second" in online[4][0]
    assert answer("me/both:first")[4] == []
