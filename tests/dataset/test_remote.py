"""Of a very large split, only the label column and the row groups of the sample are read."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image, List, Value, load_dataset

from hf_sfda.dataset import download_size, load_target, remote
from hf_sfda.dataset.load import open_source
from hf_sfda.errors import TargetError
from tests import factories
from tests.offline import answer, load_offline

SIZE = 20  # rows of a row group


@pytest.fixture(autouse=True)
def large(monkeypatch):
    monkeypatch.setattr(remote, "LARGE", 1000)


def _noise(rows, size=16, seed=0):
    from PIL import Image as Pillow

    rng = np.random.default_rng(seed)
    contents = []
    for _ in range(rows):
        sink = io.BytesIO()
        Pillow.fromarray(rng.integers(0, 256, (size, size, 3), np.uint8)).save(sink, "PNG")
        contents.append({"bytes": sink.getvalue(), "path": None})
    return contents


def _pictures(rows=400, n_classes=3, seed=0):
    labels = np.random.default_rng(seed).integers(0, n_classes, rows).tolist()
    features = Features({"image": Image(), "label": ClassLabel(names=list("abcdef"[:n_classes]))})
    return Dataset.from_dict({"image": _noise(rows, 40, seed), "label": labels}, features=features)


def _parquet(data, size=SIZE):
    sink = io.BytesIO()
    data.to_parquet(sink, batch_size=size)
    return sink.getvalue()


def _put(hub, name, data, parts=2, **settings):
    files = {
        f"data/train-{i}-of-{parts}.parquet": _parquet(data.shard(parts, i, contiguous=True))
        for i in range(parts)
    }
    return hub.put(name, files, repo_type="dataset", **settings)


def _open(name, split=None, token=None):
    return open_source(name, revision=None, split=split, token=token)


def _reads(hub):
    return [r for r in hub.requests if r.method == "GET" and r.path.endswith(".parquet")]


def _row_numbers(target):
    return [int(name.rpartition("/")[2]) for name in target.sample_ids]


def test_only_parts_of_the_files_are_read(hub):
    data = _pictures()
    _put(hub, "me/pictures", data)
    hub.requests.clear()
    target = load_target("me/pictures", samples=60)
    rows = _row_numbers(target)
    groups = {row // SIZE for row in rows}
    assert len(rows) == 60
    assert len(groups) <= 6
    assert target.n_available == 400
    assert target.labels.tolist() == [data[row]["label"] for row in rows]
    for row, sample in zip(rows, target.samples, strict=True):
        assert np.array_equal(np.asarray(sample), np.asarray(data[row]["image"].convert("RGB")))
    assert all(request.range for request in _reads(hub))
    sampled = data.cast_column("image", Image(decode=False))[rows]["image"]
    weight = sum(len(value["bytes"]) for value in sampled)
    assert sum(request.sent for request in _reads(hub)) < 2 * weight
    assert len(hub.requests) < len(_reads(hub)) + 20  # not two for each range
    [note] = [text for text in target.warnings if "weighs" in text]
    assert f"the column 'label' and {len(groups)} of 20 row groups were read" in note


@pytest.mark.parametrize("declared", [False, True])
def test_the_rows_and_features_are_those_of_load_dataset(hub, declared):
    features = Features(
        {
            "image": Image(),
            "tags": List(ClassLabel(names=["x", "y", "z"])),
            "score": Value("float32"),
            "text": Value("string"),
            "label": ClassLabel(names=["no", "yes"]),
        }
    )
    n = 100
    rng = np.random.default_rng(0)
    data = Dataset.from_dict(
        {
            "image": _noise(n, 8),
            "tags": [sorted(set(rng.integers(0, 3, 2).tolist())) for _ in range(n)],
            "score": [None if i == 7 else i / 3 for i in range(n)],
            "text": [f"text {i}" for i in range(n)],
            "label": rng.integers(0, 2, n).tolist(),
        },
        features=features,
    )
    if declared:
        data.push_to_hub("me/all")
    else:
        _put(hub, "me/all", data, parts=3)
    split = _open("me/all").data
    assert isinstance(split, remote.RemoteSplit)
    whole = load_dataset("me/all", split="train")
    assert split.features == whole.features == features
    assert len(split) == len(whole)
    for name in whole.column_names:
        view, column = split.select_columns([name]), whole.select_columns([name])
        rows = [99, 3, 3, 50, 0]
        assert view.select(rows).features == column.features
        assert view.select(rows).to_list() == column.select(rows).to_list()
        assert view.with_format("arrow")[:].equals(column.with_format("arrow")[:])
        assert len(view[:20][name]) == 20


def test_features_of_the_readme_come_before_those_of_the_files(hub):
    data = Dataset.from_dict({"text": [f"t {i}" for i in range(99)], "label": [0, 1, 2] * 33})
    card = (
        "---\ndataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: label\n"
        "    dtype:\n      class_label:\n        names:\n          '0': low\n          '1': mid\n"
        "          '2': high\n---\n"
    )
    hub.put("me/card", {"README.md": card, "train.parquet": _parquet(data)}, repo_type="dataset")
    target = load_target("me/card", samples=9)
    assert isinstance(_open("me/card").data, remote.RemoteSplit)
    assert target.class_names == ("low", "mid", "high")


@pytest.mark.parametrize(
    ("column", "task", "kind"),
    [
        ("tags", None, "multi-label"),
        ("score", "regression", "regression"),
        ("first,second", "multi-label", "multi-label"),
        ("name", None, "single-label"),
    ],
)
def test_labels_of_every_kind_are_read_in_parts(hub, column, task, kind):
    rng = np.random.default_rng(0)
    n = 300
    data = Dataset.from_dict(
        {
            "text": [f"text {i}" for i in range(n)],
            "tags": [["a", "b", "c"][: 1 + i % 3] if i % 2 else ["c"] for i in range(n)],
            "score": rng.random(n).tolist(),
            "first": rng.integers(0, 2, n).tolist(),
            "second": rng.integers(0, 2, n).tolist(),
            "name": [["cat", "dog", None][i % 3] for i in range(n)],
        }
    )
    _put(hub, "me/kinds", data)
    target = load_target(
        "me/kinds", input_column="text", label_column=column, task=task, samples=50
    )
    assert target.label_kind == kind
    assert len(target) == 50
    assert [f"text {row}" for row in _row_numbers(target)] == list(target.samples)
    assert any("row groups were read" in text for text in target.warnings)


def test_tables_of_pandas_and_pyarrow_are_read_in_parts(hub, tmp_path):
    """Categories, which differ in each row group, large strings and an index."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f"class {i // 30}" for i in range(120)]
    frame = pd.DataFrame(
        {"text": [f"t {i}" for i in range(120)], "label": pd.Categorical(names)},
        index=range(5, 125),
    )
    table = pa.Table.from_pandas(frame, preserve_index=True)
    table = table.set_column(0, "text", table["text"].cast(pa.large_string()))
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=SIZE)
    hub.put("me/frame", tmp_path, repo_type="dataset")
    split = _open("me/frame").data
    assert isinstance(split, remote.RemoteSplit)
    whole = load_dataset("me/frame", split="train")
    assert split.features == whole.features
    for name in whole.column_names:
        assert split.select_columns([name])[:][name] == whole[name][:]
        assert split.select_columns([name])[:][name] == whole[name][:]  # as stored
    assert len(load_target("me/frame", samples=20).class_names) == 4


def test_sounds_are_read_in_parts(hub):
    data = factories.audio_dataset(n_per_class=20)
    _put(hub, "me/sounds", data)
    target = load_target("me/sounds", samples=20)
    assert isinstance(_open("me/sounds").data, remote.RemoteSplit)
    assert target.modality == "audio"
    assert target.labels.tolist() == [data.select_columns("label")[row]["label"]
                                      for row in _row_numbers(target)]  # fmt: skip


def test_the_sample_does_not_depend_on_what_is_in_the_cache(hub):
    _put(hub, "me/pictures", _pictures())
    first = load_target("me/pictures", samples=50)
    again = load_target("me/pictures", samples=50)
    load_dataset("me/pictures")
    whole = load_target("me/pictures", samples=50)
    assert first.fingerprint == again.fingerprint == whole.fingerprint
    assert first.warnings == again.warnings == whole.warnings


def test_a_second_run_reads_nothing_and_needs_no_network(hub):
    _put(hub, "me/pictures", _pictures())
    online = answer("me/pictures", samples=40)
    hub.requests.clear()
    assert answer("me/pictures", samples=40) == online
    assert _reads(hub) == []
    hub.requests.clear()
    offline, more = load_offline(
        {"dataset": "me/pictures", "samples": 40},
        {"dataset": "me/pictures", "samples": 300},
        first="from hf_sfda.dataset import remote; remote.LARGE = 1000",
    )
    assert offline == online
    assert "HF_HUB_OFFLINE" in more
    assert hub.requests == []


def test_failures_of_the_hub_are_waited_out(hub, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    _put(hub, "me/pictures", _pictures())
    for skip in (1, 6, 24):
        fault = hub.faults.add(
            path_regex=r"resolve/.*\.parquet", method="GET", status=500, skip=skip
        )
    cut = hub.faults.add(path_regex=r"resolve/.*\.parquet", method="GET", action="cut", skip=10)
    assert len(load_target("me/pictures", samples=50)) == 50
    assert fault.hits == cut.hits == 1


def test_a_hub_that_stays_ill_is_an_error_in_words(hub, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    _put(hub, "me/pictures", _pictures())
    hub.faults.add(path_regex=r"resolve/.*\.parquet", method="GET", status=500, times=None, skip=9)
    with pytest.raises(TargetError, match=r"Dataset me/pictures: the Hub at .* fails"):
        load_target("me/pictures", samples=50)


def test_a_server_without_ranges_is_an_error_in_words(hub):
    _put(hub, "me/pictures", _pictures())
    hub.faults.add(
        path_regex=r"resolve/.*\.parquet", method="GET", action="replace", content=b"x", times=None
    )
    with pytest.raises(TargetError, match="the Hub sent 1 bytes of data/train-"):
        load_target("me/pictures", samples=50)


def test_a_private_dataset_is_read_with_the_token(hub):
    _put(hub, "me/pictures", _pictures(), private=True)
    hub.requests.clear()
    stranger = hub.account("stranger")
    with pytest.raises(TargetError):
        load_target("me/pictures", samples=50, token=stranger)
    assert len(load_target("me/pictures", samples=50, token=hub.token)) == 50
    assert {request.account for request in _reads(hub)} == {"me"}


def test_a_new_commit_is_read_anew(hub):
    _put(hub, "me/pictures", _pictures())
    old = load_target("me/pictures", samples=50)
    _put(hub, "me/pictures", _pictures(seed=1))
    new = load_target("me/pictures", samples=50)
    assert old.revision != new.revision
    assert old.fingerprint != new.fingerprint
    assert load_target("me/pictures", revision=old.revision, samples=50).fingerprint == (
        old.fingerprint
    )


def test_a_damaged_part_is_read_again(hub):
    _put(hub, "me/pictures", _pictures())
    first = load_target("me/pictures", samples=50)
    for part in _open("me/pictures").data.files.folder.iterdir():
        if part.suffix != ".json":
            part.write_bytes(part.read_bytes()[:100])
    assert load_target("me/pictures", samples=50).fingerprint == first.fingerprint


def test_other_splits_are_not_touched(hub):
    data = _pictures()
    files = {"train.parquet": _parquet(data), "test.parquet": _parquet(data.select(range(50)))}
    hub.put("me/two", files, repo_type="dataset")
    hub.requests.clear()
    load_target("me/two", samples=50)
    assert {r.path.rpartition("/")[2] for r in _reads(hub)} == {"train.parquet"}
    assert _open("me/two", "test").data.features == data.features


def test_what_cannot_be_read_in_parts_is_downloaded(hub):
    """A WebDataset that was converted to parquet: its columns are rearranged."""
    data = factories.text_dataset(n_per_class=20)
    data = data.add_column("__key__", [str(i) for i in range(60)])
    data = data.add_column("__url__", ["u"] * 60)
    _put(hub, "me/shards", data)
    assert isinstance(_open("me/shards").data, Dataset)
    assert len(load_target("me/shards", samples=30)) == 30


def test_a_column_that_is_too_large_to_search_needs_a_named_label_column(hub, monkeypatch):
    monkeypatch.setattr(remote, "LARGEST_COLUMN", 1000)
    texts = [f"a text that is a bit longer, number {i}" for i in range(200)]
    data = Dataset.from_dict({"text": texts, "kind": ["a", "b"] * 100})
    _put(hub, "me/texts", data)
    with pytest.raises(TargetError, match=r"The column 'text' .* Pass the label column"):
        load_target("me/texts", samples=20)
    assert len(load_target("me/texts", label_column="kind", samples=20)) == 20


def test_a_large_column_beside_numbered_classes_is_not_searched_for_their_names(hub, monkeypatch):
    """Whether its texts differ, or are long names of the classes."""
    monkeypatch.setattr(remote, "LARGEST_COLUMN", 4000)
    labels = [i % 3 for i in range(300)]
    texts = [f"a text that is a bit longer, number {i}" for i in range(300)]
    data = {"target": labels, "target_text": texts}
    _put(hub, "me/texts", Dataset.from_dict(data))
    target = load_target("me/texts", samples=20)
    assert (target.input_column, target.class_names) == ("target_text", ("0", "1", "2"))
    texts = [f"text {i}" for i in range(300)]
    data = {"text": texts, "target": labels, "target_name": ["abc"[c] * 3000 for c in labels]}
    _put(hub, "me/names", Dataset.from_dict(data))
    target = load_target("me/names", samples=20, input_column="text", label_column="target")
    assert target.class_names == ("0", "1", "2")


def test_names_of_numbered_classes_are_read_in_parts(hub):
    labels = [i % 3 for i in range(400)]
    names = [["bad", "fair", "good"][c] for c in labels]
    data = {"text": [f"this is text {i}" for i in range(400)], "label": labels}
    _put(hub, "me/texts", Dataset.from_dict(data | {"label_text": names}))
    online = answer("me/texts", samples=60)
    assert load_target("me/texts", samples=60).class_names == ("bad", "fair", "good")
    assert load_offline({"dataset": "me/texts", "samples": 60}) == [online]


def test_the_size_of_the_download_is_estimated(hub):
    _put(hub, "me/pictures", _pictures())
    whole = sum(len(content) for content in hub.files("me/pictures").values())
    assert download_size("me/pictures", samples=20) < whole / 3
    assert download_size("me/pictures", samples=400) == pytest.approx(whole, rel=0.1)


def test_the_columns_are_chosen_by_the_first_rows(hub):
    """What other columns hold is read from one row group, and is there without a network."""
    rows = range(400)
    columns = {"title": "title {}", "content": "content number {}", "code": "x{}"}
    data = Dataset.from_dict(
        {name: [text.format(i) for i in rows] for name, text in columns.items()}
        | {"label": [i % 2 for i in rows]}
    )
    _put(hub, "me/reviews", data)
    online = answer("me/reviews", samples=60)
    target = load_target("me/reviews", samples=60)
    assert target.input_column == "content"
    assert any("not read: title." in note for note in target.warnings)
    assert load_offline({"dataset": "me/reviews", "samples": 60}) == [online]
