"""How much a dataset is, before it is fetched."""

from __future__ import annotations

import pytest

from hf_sfda.dataset import download_size
from hf_sfda.errors import TargetError
from tests import factories


def test_the_split_of_a_configuration_counts_and_nothing_is_fetched(hub):
    data = factories.text_dataset(n_per_class=20)
    data.push_to_hub("me/topics", "a", split="train")
    data.select(range(10)).push_to_hub("me/topics", "a", split="test")
    data.push_to_hub("me/topics", "b", split="train")
    sizes = {path: len(content) for path, content in hub.files("me/topics").items()}
    hub.requests.clear()
    wanted = sum(size for path, size in sizes.items() if path.startswith("a/train"))
    assert download_size("me/topics:a") == wanted
    assert 0 < wanted < sum(size for path, size in sizes.items() if path.endswith(".parquet"))
    assert not [r for r in hub.requests if r.method == "GET" and r.path.endswith(".parquet")]


def test_many_files_are_asked_for_in_chunks(hub, monkeypatch):
    monkeypatch.setattr("hf_sfda.dataset.hub._PATHS_PER_REQUEST", 2)
    files = {f"part-{i}.csv": "text,label\n" + "a,b\n" * (i + 1) for i in range(5)}
    hub.put("me/parts", files, repo_type="dataset")
    assert download_size("me/parts") == sum(map(len, files.values()))
    assert len(hub.seen("POST", "paths-info")) >= 3


def test_a_dataset_on_this_machine_needs_no_download(hub, tmp_path):
    assert download_size(str(tmp_path)) is None
    assert not hub.requests


def test_a_missing_dataset_says_so(hub):
    with pytest.raises(TargetError, match="me/none"):
        download_size("me/none")
