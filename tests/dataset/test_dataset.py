"""Any labelled dataset as a seeded, stratified, decoded sample."""

from __future__ import annotations

import io
import json
import pickle
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_sfda import load_target
from hf_sfda.dataset import images, inputs
from hf_sfda.dataset.labels import MISSING, encode
from hf_sfda.dataset.sample import FEWEST, allocate, choose
from hf_sfda.dataset.sources import choose_split
from hf_sfda.errors import TargetError
from tests import factories
from tests.offline import answer, load_offline

# -- the sample

class_counts = st.lists(st.integers(FEWEST, 400), min_size=1, max_size=30)


@given(class_counts, st.data())
def test_allocation_keeps_its_promises(counts, data):
    counts = np.array(counts)
    size = data.draw(st.integers(FEWEST * len(counts), int(counts.sum()) + 50))
    given_ = allocate(counts, size)
    assert given_.sum() == min(size, counts.sum())
    assert (given_ >= FEWEST).all() and (given_ <= counts).all()
    larger = counts[:, None] > counts[None, :]  # a larger class never gets less
    assert (given_[:, None] >= given_[None, :])[larger].all()
    share = size * counts / counts.sum()
    if (share >= FEWEST).all():
        assert (np.abs(given_ - np.minimum(share, counts)) < 1).all(), "largest remainder"


@given(class_counts, st.integers(0, 2**32 - 1), st.data())
def test_choice_is_what_was_allocated(counts, seed, data):
    codes = np.repeat(np.arange(len(counts)), counts)
    codes = np.concatenate([codes, [MISSING] * 3])
    np.random.default_rng(1).shuffle(codes)
    size = data.draw(st.integers(FEWEST * len(counts), sum(counts)))
    given_ = allocate(np.array(counts), size)
    rows = choose(codes, given_, seed)
    assert (np.diff(rows) > 0).all(), "each row once, in order"
    assert np.array_equal(np.bincount(codes[rows], minlength=len(counts)), given_)
    assert np.array_equal(rows, choose(codes.copy(), given_, seed))
    if given_[0] < counts[0]:
        fewer = given_ - np.eye(len(counts), dtype=int)[-1] * (given_[-1] > FEWEST)
        assert set(choose(codes, fewer, seed)) <= set(rows), "a smaller sample is part of it"


def test_other_seeds_draw_other_rows():
    codes = np.repeat([0, 1], 500)
    samples = {tuple(choose(codes, np.array([20, 20]), seed)) for seed in range(5)}
    assert len(samples) == 5


# -- labels


@pytest.mark.parametrize(
    ("values", "declared", "codes", "names"),
    [
        ([0, 2, None, -1], ["c", "b", "a"], [0, 2, -1, -1], ("c", "b", "a")),
        (["b", "a", None, "", " "], None, [1, 0, -1, -1, -1], ("a", "b")),
        ([10, 9, -1, None, 10], None, [1, 0, -1, -1, 1], ("9", "10")),
        ([-1, 1, 1, -1], None, [0, 1, 1, 0], ("-1", "1")),
        ([-1, 1, 0], None, [-1, 1, 0], ("0", "1")),
        ([True, False, None], None, [1, 0, -1], ("False", "True")),
        ([1.0, float("nan"), 0.0, None], None, [1, -1, 0, -1], ("0", "1")),
    ],
)
def test_labels_of_every_kind_are_encoded(values, declared, codes, names):
    encoded = encode(values, declared, "label")
    assert encoded.codes.tolist() == codes and encoded.names == names


@pytest.mark.parametrize("values", [[0.5, 1.0], [0.5, None], [float("inf"), None]])
def test_measurements_are_not_classes(values):
    with pytest.raises(TargetError, match="--task regression"):
        encode(values, None, "score")


def test_other_types_are_refused():
    with pytest.raises(TargetError, match="of type bytes"):
        encode([b"x"], None, "label")


# -- pictures


def png(**options):
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (4, 2), (250, 0, 0)).save(out, "PNG", **options)
    return out.getvalue()


def jpeg_turned():
    from PIL import Image

    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.new("RGB", (16, 8)).save(out, "JPEG", exif=exif)
    return out.getvalue()


def test_decoding_is_what_datasets_does():
    from datasets import Image

    feature = Image(mode="RGB")
    for data in (png(), jpeg_turned(), _gray()):
        mine, theirs = images.decode(data), feature.decode_example({"bytes": data, "path": None})
        assert mine.mode == "RGB" and mine.size == theirs.size
        assert mine.tobytes() == theirs.convert("RGB").tobytes()
    assert images.decode(jpeg_turned()).size == (8, 16)
    assert images.decode(_transparent()).getpixel((0, 0)) == (255, 255, 255), "laid on white"


def _gray():
    from PIL import Image

    out = io.BytesIO()
    Image.linear_gradient("L").save(out, "PNG")
    return out.getvalue()


def _transparent():
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGBA", (5, 5), (10, 20, 30, 0)).save(out, "PNG")
    return out.getvalue()


def test_broken_pictures_decode_to_nothing():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    half = png()[: len(png()) // 2]
    for data in (b"", b"not a picture", half, eps, jpeg_turned()[:100], png()[:8]):
        assert images.decode(data) is None


def test_a_decompression_bomb_is_a_broken_picture(monkeypatch):
    import PIL.Image

    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 3)
    assert images.decode(png()) is None


def test_pictures_too_large_for_memory_stay_encoded(tmp_path, monkeypatch):
    factories.image_folder(tmp_path / "data", n_per_class=20)
    decoded = load_target(str(tmp_path / "data"))
    monkeypatch.setattr(inputs, "IN_MEMORY", 5 * 4 * 32 * 32)
    lazy = load_target(str(tmp_path / "data"))
    assert isinstance(decoded.samples, tuple)
    assert isinstance(lazy.samples, images.LazyImages)
    assert lazy.fingerprint == decoded.fingerprint and len(lazy.samples) == 60
    again = pickle.loads(pickle.dumps(lazy.samples))
    for index in (0, -1, 33):
        assert again[index].tobytes() == decoded.samples[index].tobytes()
    assert [p.tobytes() for p in lazy.samples[3:5]] == [p.tobytes() for p in decoded.samples[3:5]]
    with pytest.raises(IndexError):
        lazy.samples[60]
    shutil.rmtree(tmp_path / "data")
    assert lazy.samples[7].size == (32, 32), "whatever becomes of the files"


# -- sources: the same content is the same target


@pytest.fixture(scope="module")
def shapes():
    return factories.image_dataset(n_per_class=10, classes=["disc", "ring", "bar"])


@pytest.fixture(scope="module")
def sentences():
    return factories.text_dataset(n_per_class=10)


def test_the_same_pictures_are_the_same_target_wherever_they_lie(hub, shapes, tmp_path):
    from datasets import DatasetDict

    shapes.push_to_hub("me/shapes")
    shapes.save_to_disk(tmp_path / "saved")
    DatasetDict(train=shapes, test=shapes).save_to_disk(tmp_path / "splits")
    shapes.to_parquet(tmp_path / "shapes.parquet")
    local = [str(tmp_path / name) for name in ("saved", "splits", "shapes.parquet")]
    first, *others = [load_target(name, samples=18) for name in ("me/shapes", *local)]
    assert {t.fingerprint for t in others} == {first.fingerprint}
    assert {t.inputs_fingerprint for t in others} == {first.inputs_fingerprint}
    assert first.revision == hub.repo("me/shapes", "dataset").head.sha
    assert {t.revision for t in others} == {None}
    assert (first.modality, first.task, first.label_kind) == (
        "image", "image-classification", "single-label",
    )  # fmt: skip
    assert first.class_names == ("disc", "ring", "bar"), "in the declared order"
    assert np.bincount(first.labels).tolist() == [6, 6, 6] and first.labels.dtype == np.int64
    assert (len(first), first.n_available, first.split) == (18, 30, "train")
    assert first.left_out == {} and first.config is None
    for sample_id, sample, label in zip(first.sample_ids, first.samples, first.labels, strict=True):
        split, row = sample_id.split("/")
        assert split == "train" and shapes[int(row)]["label"] == label
        assert shapes[int(row)]["image"].tobytes() == sample.tobytes()


def test_the_same_texts_are_the_same_inputs_from_every_kind_of_file(hub, sentences, tmp_path):
    sentences.push_to_hub("me/words")
    sentences.to_csv(tmp_path / "x.csv")
    sentences.to_csv(tmp_path / "x.tsv", sep="\t")
    sentences.to_json(tmp_path / "x.jsonl")
    sentences.to_parquet(tmp_path / "x.parquet")
    (tmp_path / "x.json").write_text(json.dumps(list(sentences)))
    names = [str(tmp_path / f"x.{end}") for end in ("csv", "tsv", "jsonl", "json", "parquet")]
    targets = [load_target(name, samples=12) for name in ("me/words", *names)]
    assert len({t.inputs_fingerprint for t in targets}) == 1
    target = targets[0]
    assert (target.modality, target.task) == ("text", "text-classification")
    assert target.samples == tuple(
        sentences[int(i.split("/")[1])]["text"] for i in target.sample_ids
    )
    assert targets[1].class_names == ("0", "1", "2"), "csv forgets names"
    assert targets[-1].class_names == target.class_names, "parquet does not"


def test_an_image_folder_is_known_by_its_paths(tmp_path):
    from PIL import Image

    root = factories.image_folder(
        tmp_path / "data [v2]", n_per_class=5, classes=["train", "bus", "car"]
    )
    (root / "bus" / "test_1.png").write_bytes((root / "bus" / "0005.png").read_bytes())
    (root / "bus" / "notes.txt").write_text("not a picture")
    (root / "car" / "deeper").mkdir()
    Image.new("RGB", (8, 8)).save(root / "car" / "deeper" / "x.JPG")
    (root / ".hidden").mkdir()
    target = load_target(str(root))
    assert target.class_names == ("bus", "car", "train")
    assert len(target) == 17 and target.n_available == 17 and target.split == "train"
    assert "bus/test_1.png" in target.sample_ids and "car/deeper/x.JPG" in target.sample_ids
    for sample_id, label in zip(target.sample_ids, target.labels, strict=True):
        assert sample_id.startswith(target.class_names[label])
    moved = tmp_path / "elsewhere"
    shutil.move(root, moved)
    assert load_target(str(moved)).fingerprint == target.fingerprint


def test_an_image_folder_with_splits_takes_train(tmp_path):
    factories.image_folder(tmp_path / "training", n_per_class=4, seed=0)
    factories.image_folder(tmp_path / "test", n_per_class=3, seed=1)
    target = load_target(str(tmp_path))
    assert (target.split, len(target)) == ("train", 12)
    assert target.sample_ids[0].startswith("training/kind_00/")
    assert len(load_target(str(tmp_path), split="test")) == 9
    with pytest.raises(TargetError, match=r"'dev' does not exist.*Splits: test, train"):
        load_target(str(tmp_path), split="dev")


def test_the_metadata_of_an_image_folder_gives_the_labels(tmp_path):
    root = factories.image_folder(tmp_path / "x", n_per_class=4, classes=["a"])
    lines = [f"a/{i:04d}.png,{'odd' if i % 2 else 'even'}" for i in range(4)]
    (root / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))
    target = load_target(str(root))
    assert target.class_names == ("even", "odd") and len(target) == 4


def test_a_dataset_repository_on_disk_is_read_by_split(sentences, tmp_path):
    (tmp_path / "data").mkdir()
    sentences.to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    sentences.select(range(6)).to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    assert load_target(str(tmp_path)).n_available == 30
    assert load_target(str(tmp_path), split="test").n_available == 6


def test_pictures_written_by_pandas_are_the_same_inputs(shapes, tmp_path):
    import pandas as pd
    from datasets import Image

    rows = list(shapes.cast_column("image", Image(decode=False)))
    pd.DataFrame(rows).to_parquet(tmp_path / "struct.parquet")
    frame = pd.DataFrame({"png": [r["image"]["bytes"] for r in rows], "label": shapes["label"]})
    frame.to_parquet(tmp_path / "binary.parquet")
    expected = load_target_of(shapes, tmp_path).inputs_fingerprint
    for name in ("struct", "binary"):
        target = load_target(str(tmp_path / f"{name}.parquet"), samples=18)
        assert target.modality == "image" and target.inputs_fingerprint == expected


def load_target_of(data, tmp_path, **options):
    """The target of a dataset that lies in memory."""
    folder = tmp_path / f"saved-{time.monotonic_ns()}"
    data.save_to_disk(folder)
    return load_target(str(folder), **({"samples": 18} | options))


def test_saved_selections_keep_their_rows(sentences, tmp_path):
    """save_to_disk keeps an indices mapping: rows must be those of the selection."""
    odd = sentences.select(range(1, 30, 2))
    target = load_target_of(odd, tmp_path, samples=100)
    assert target.samples == tuple(odd["text"])


# -- the Hub


def test_a_folder_of_pictures_on_the_hub_is_read_like_a_local_one(hub, tmp_path):
    """There, rows name the downloaded files by their path."""
    folder = factories.image_folder(tmp_path / "pictures", n_per_class=5, classes=3)
    hub.put("me/folder", folder, repo_type="dataset")
    here, there = load_target(str(folder), samples=15), load_target("me/folder", samples=15)
    assert len(there) == 15
    assert there.left_out == {}
    assert sorted(map(bytes_of, there.samples)) == sorted(map(bytes_of, here.samples))


def bytes_of(picture) -> bytes:
    return picture.tobytes()


def test_rows_from_the_hub_cannot_name_files_of_this_machine(hub, tmp_path):
    """A row may name any path; only what was downloaded is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import ClassLabel, Features, Image

    folder = factories.image_folder(tmp_path / "mine", n_per_class=6, classes=2)
    mine = sorted(folder.rglob("*.png"))
    (tmp_path / "x").mkdir()
    linked = tmp_path / "link.png"
    linked.symlink_to(mine[0])
    paths = [str(path) for path in (*mine[:3], linked)]
    paths.append(f"{tmp_path}/x/../{mine[4].relative_to(tmp_path)}")
    ordinary = factories.image_dataset(n_per_class=4, classes=2).cast_column(
        "image", Image(decode=False)
    )
    rows = {
        "image": [{"bytes": row["image"]["bytes"], "path": None} for row in ordinary]
        + [{"bytes": None, "path": path} for path in paths],
        "label": [*ordinary["label"], *[i % 2 for i in range(len(paths))]],
    }
    kinds = Features({"image": Image(decode=False), "label": ClassLabel(names=["a", "b"])})
    table = pa.table(rows, schema=kinds.arrow_schema)  # `to_parquet` would read the files itself
    pq.write_table(table, tmp_path / "train.parquet")
    hub.put("me/nosy", {"train.parquet": (tmp_path / "train.parquet").read_bytes()},
            repo_type="dataset")  # fmt: skip
    target = load_target("me/nosy", samples=100)
    assert len(target) == 8
    assert target.left_out == {"image file not found": len(paths)}


def test_a_revision_and_a_configuration_are_read_as_named(hub, shapes, sentences):
    shapes.push_to_hub("me/both", "pictures")
    sentences.push_to_hub("me/both", "words")
    old = hub.repo("me/both", "dataset").head.sha
    sentences.select(range(9)).push_to_hub("me/both", "words")
    target = load_target("me/both:words")
    assert (target.config, target.dataset_id, target.n_available) == ("words", "me/both:words", 9)
    assert load_target("me/both:words", revision=old).n_available == 30
    assert load_target("me/both:words", revision=old).revision == old
    with pytest.raises(TargetError, match=r"several configurations.*me/both:NAME.*pictures, words"):
        load_target("me/both")
    with pytest.raises(TargetError, match=r"no configuration 'word'.*pictures, words"):
        load_target("me/both:word")


def test_everything_is_read_at_one_commit(hub, sentences):
    sentences.push_to_hub("me/pinned")
    hub.requests.clear()
    load_target("me/pinned")
    assert not hub.seen(path_regex="resolve/main/")
    assert len(hub.seen("GET", "^/api/datasets/me/pinned$")) == 1
    assert not hub.seen("POST")


@pytest.mark.parametrize(
    ("dataset", "options", "words"),
    [
        ("me/none", {}, "me/none is not on the Hub"),
        ("me/shapes", {"revision": "v9"}, "no such revision"),
        ("me/shapes", {"split": "dev"}, "'dev' does not exist in me/shapes. Splits: train"),
        ("me/shapes", {"label_column": "lable"}, "Columns: image, label. Did you mean 'label'?"),
        ("me/shapes", {"input_column": "text"}, "--input-column 'text' does not exist"),
        ("me/shapes", {"input_column": "label"}, "must hold images, texts or sounds"),
        ("me/shapes", {"samples": 5}, "pass --samples 6 or more"),
        ("me/gated", {}, "gated, and no token"),
        ("me/shapes", {"token": "hf_wrong"}, "token is valid"),
        ("me/script", {}, "loading script, which is never run"),
        ("me/nothing", {}, "no data files"),
        ("no such thing", {}, "neither a path that exists nor a Hub id"),
        ("./nowhere", {}, "neither a path that exists nor a Hub id"),
        (".", {"revision": "main"}, "has no revisions"),
    ],
)
def test_what_cannot_be_had_says_what_to_do(
    hub, shapes, tmp_path, monkeypatch, dataset, options, words
):
    monkeypatch.chdir(tmp_path)
    shapes.push_to_hub("me/shapes")
    hub.put("me/script", {"script.py": "raise SystemExit"}, repo_type="dataset")
    hub.put("me/nothing", {"README.md": "# Nothing"}, repo_type="dataset")
    hub.put("me/gated", {"train.csv": "text,label\na,b\n"}, repo_type="dataset", gated="manual")
    if dataset == "me/gated":
        options = {"token": hub.account("stranger")}
    with pytest.raises(TargetError, match=words) as caught:
        load_target(dataset, **options)
    assert "\n" not in str(caught.value)


def test_passing_failures_are_waited_out(hub, sentences, monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    sentences.push_to_hub("me/flaky")
    hub.faults.add(path_regex="/api/datasets/me/flaky", status=429)
    hub.faults.add(path_regex="resolve/.*parquet", method="GET", status=503)
    hub.faults.add(path_regex="resolve/.*parquet", method="GET", action="cut")
    assert load_target("me/flaky").n_available == 30
    assert slept


def test_a_hub_that_is_gone_says_so(hub, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    hub.stop()
    with pytest.raises(TargetError, match=r"cannot be reached.*No file or folder has this name"):
        load_target("me/never-seen")


def test_another_commit_is_never_passed_off_as_this_one(hub, sentences, monkeypatch):
    """datasets takes whatever commit it has in its cache when the Hub fails."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    sentences.push_to_hub("me/moving")
    old = load_target("me/moving").revision
    sentences.select(range(9)).push_to_hub("me/moving")
    hub.faults.add(path_regex="/resolve/", status=500, times=None)
    with pytest.raises(TargetError, match=f"cache holds another commit, {old}.*--revision"):
        load_target("me/moving")
    assert load_target("me/moving", revision=old).n_available == 30


def test_offline_mode_uses_what_was_loaded_before(hub, sentences):
    sentences.push_to_hub("me/words")
    online = answer("me/words")
    hub.requests.clear()
    offline, other = load_offline({"dataset": "me/words"}, {"dataset": "me/others"})
    assert offline == online
    assert "HF_HUB_OFFLINE" in other
    assert hub.requests == []


# -- splits


@pytest.mark.parametrize(
    ("names", "chosen"),
    [(["test", "train"], "train"), (["test", "validation"], "validation"), (["all"], "all")],
)
def test_the_default_split_is_never_the_test_split(names, chosen):
    assert choose_split("d", names, None) == chosen


@pytest.mark.parametrize("names", [["test"], ["a", "b"], ["test", "test_matched"]])
def test_without_a_default_split_the_user_is_asked(names):
    with pytest.raises(TargetError, match=f"Splits: {', '.join(names)}. Pass one with --split"):
        choose_split("d", names, None)
    assert choose_split("d", names, names[0]) == names[0]


# -- columns


def table(**columns):
    from datasets import Dataset

    n = len(next(iter(columns.values())))
    return Dataset.from_dict({"row": [f"text number {i}" for i in range(n)]} | columns)


def test_columns_are_found_by_type_name_and_values(tmp_path):
    halves = ["a", "b"] * 10
    for columns, label in [
        ({"Label": halves}, "Label"),
        ({"sentiment": halves}, "sentiment"),
        ({"category": halves, "other": halves}, "category"),
        ({"target": [0, 1] * 10, "id": list(range(20))}, "target"),
        ({"flag": [True, False] * 10}, "flag"),
    ]:
        target = load_target_of(table(**columns), tmp_path, input_column="row")
        assert (target.input_column, target.label_column) == ("row", label)


def test_ambiguous_columns_are_asked_for(tmp_path):
    halves = ["a", "b"] * 10
    with pytest.raises(TargetError, match=r"could be the label: one, two. .*--label-column"):
        load_target_of(table(one=halves, two=halves), tmp_path)
    texts = [f"other {i}" for i in range(20)]
    with pytest.raises(TargetError, match=r"could be the input: row, more. .*--input-column"):
        load_target_of(table(more=texts, label=halves), tmp_path)
    assert load_target_of(table(text=texts, label=halves), tmp_path).input_column == "text"
    with pytest.raises(TargetError, match=r"looks like a label. Columns: row \(string\), text"):
        load_target_of(table(text=texts), tmp_path)
    with pytest.raises(TargetError, match="No column holds images, texts or sounds"):
        load_target_of(table(label=halves).remove_columns("row"), tmp_path)
    with pytest.raises(TargetError, match="both as --input-column and as --label-column"):
        load_target_of(table(label=halves), tmp_path, input_column="row", label_column="row")


def test_several_declared_labels_are_asked_about(tmp_path):
    from datasets import ClassLabel

    halves = [0, 1] * 10
    kind = ClassLabel(names=["a", "b"])
    data = table(fine=halves, coarse=halves).cast_column("fine", kind).cast_column("coarse", kind)
    with pytest.raises(TargetError, match="could be the label: fine, coarse"):
        load_target_of(data, tmp_path)
    target = load_target_of(data, tmp_path, label_column="coarse")
    assert target.label_column == "coarse" and target.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([[["a"]]] * 20, "labels must be class names"),
        ([{"a": 1}] * 20, "labels must be class names"),
    ],
)
def test_labels_that_are_not_supported_are_refused(tmp_path, labels, words):
    with pytest.raises(TargetError, match=words):
        load_target_of(table(label=labels), tmp_path)


def test_a_table_of_file_names_is_not_text(tmp_path):
    data = table(label=["a", "b"] * 10, path=[f"pics/{i}.jpg" for i in range(20)])
    with pytest.raises(TargetError, match=r"names of image files \(pics/0.jpg\)"):
        load_target_of(data, tmp_path, input_column="path")


def test_csv_cells_are_taken_at_their_word(tmp_path):
    rows = [("fine", "None"), ("null", "NA"), ("good", "None"), ("bad", "NA"), ("what", "")]
    text = "text,label\n" + "\n".join(",".join(row) for row in rows)
    (tmp_path / "x.csv").write_text(text)
    target = load_target(str(tmp_path / "x.csv"))
    assert target.class_names == ("NA", "None") and "null" in target.samples
    assert target.left_out == {"no label": 1}


# -- what is left out


def test_rows_that_cannot_be_used_are_left_out_and_counted(tmp_path):
    labels = ["a"] * 10 + ["b"] * 10 + [None, "", "rare"]
    data = table(label=labels)
    texts = list(data["row"])
    texts[0], texts[11] = "  ", None
    target = load_target_of(
        data.remove_columns("row").add_column("text", texts), tmp_path, samples=50
    )
    assert target.left_out == {
        "no label": 2, "class with fewer than 2 samples": 1, "empty text": 2,
    }  # fmt: skip
    assert target.class_names == ("a", "b") and np.bincount(target.labels).tolist() == [9, 9]
    assert target.n_available == 23 and len(target.samples) == len(target) == 18


def test_broken_pictures_are_left_out_and_their_class_with_them(tmp_path):
    root = factories.image_folder(tmp_path / "x", n_per_class=4, classes=["a", "b", "c"])
    files = {kind: sorted((root / kind).iterdir()) for kind in "abc"}
    files["a"][0].write_bytes(b"broken")
    files["a"][1].write_bytes(files["a"][1].read_bytes()[:200])
    for file in files["b"][:3]:
        file.write_bytes(b"")
    target = load_target(str(root))
    assert target.left_out == {"broken image": 5, "class with fewer than 2 samples": 1}
    assert target.class_names == ("a", "c") and np.bincount(target.labels).tolist() == [2, 4]
    assert len(target.samples) == len(target.sample_ids) == 6
    shutil.rmtree(root / "b")
    for file in files["a"][:2]:
        file.unlink()
    clean = load_target(str(root))
    assert clean.fingerprint == target.fingerprint, "as if they had never been there"
    assert [p.tobytes() for p in clean.samples] == [p.tobytes() for p in target.samples]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a"] * 6, "only one class \\(a\\)"),
        (["a"] * 5 + ["b"], "only one class \\(a\\).*fewer than 2 samples: 1"),
        (list("abcdef"), "no class with at least 2"),
        ([None] * 6, "no class.*no label: 6"),
        ([-1] * 6, "no class.*no label: 6"),
    ],
)
def test_fewer_than_two_classes_are_refused(tmp_path, labels, words):
    with pytest.raises(TargetError, match=words) as caught:
        load_target_of(table(label=labels), tmp_path)
    assert "--label-column" in str(caught.value)


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(TargetError, match="is empty"):
        load_target_of(table(label=["a", "b"]).select([]), tmp_path)
    table(label=["a", "b"]).select([]).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(TargetError, match="is empty"):
        load_target(str(tmp_path / "x.parquet"))


def test_unused_declared_classes_vanish(tmp_path, shapes):
    two = shapes.filter(lambda row: row["label"] != 1)
    target = load_target_of(two, tmp_path)
    assert target.class_names == ("disc", "bar") and set(target.labels) == {0, 1}
    assert target.left_out == {}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.parquet", b"PAR1", "x.parquet"),
        ("x.csv", b'text,label\n"a', "x.csv"),
        ("x.jsonl", b"{", "x.jsonl"),
        ("x.xlsx", b"x", "is not a dataset. Allowed are"),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TargetError, match=words) as caught:
        load_target(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_folders_that_are_no_dataset_are_refused(tmp_path):
    with pytest.raises(TargetError, match="no data files"):
        load_target(str(tmp_path))
    (tmp_path / "x.png").write_bytes(png())
    with pytest.raises(TargetError, match="1 images but no class folders"):
        load_target(str(tmp_path))
    with pytest.raises(TargetError, match="only one split, train"):
        (tmp_path / "x.csv").write_text("text,label\n")
        load_target(str(tmp_path / "x.csv"), split="test")


# -- determinism


def test_the_same_seed_draws_the_same_sample_in_another_process(tmp_path, sentences):
    sentences.to_parquet(tmp_path / "x.parquet")
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 (nothing global may matter)
    mine = load_target(str(tmp_path / "x.parquet"), samples=9, seed=3)
    code = (
        "import sys; from hf_sfda import load_target\n"
        "print(load_target(sys.argv[1], samples=9, seed=3).fingerprint)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.parquet")]
    theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert theirs == mine.fingerprint and mine.seed == 3
    other = load_target(str(tmp_path / "x.parquet"), samples=9, seed=4)
    assert other.sample_ids != mine.sample_ids and other.fingerprint != mine.fingerprint


@settings(max_examples=50)
@given(st.lists(st.text(min_size=1), min_size=2, max_size=6), st.data())
def test_the_inputs_fingerprint_tells_texts_apart(texts, data):
    from hf_sfda.dataset.fingerprint import InputsHash

    def fingerprint(items):
        sha = InputsHash()
        for item in items:
            sha.add_text(item)
        return sha.hexdigest()

    other = data.draw(st.permutations(texts) | st.just(["".join(texts)]))
    assert (fingerprint(texts) == fingerprint(other)) == (list(texts) == list(other))


def test_labels_change_the_target_but_not_its_inputs(tmp_path, sentences):
    first = load_target_of(sentences, tmp_path, samples=100)
    renamed = sentences.add_column("class", [str(1 - (v == 0)) for v in sentences["label"]])
    second = load_target_of(renamed.remove_columns("label"), tmp_path, samples=100)
    assert first.inputs_fingerprint == second.inputs_fingerprint
    assert first.fingerprint != second.fingerprint


def test_progress_counts_rows_and_the_libraries_stay_quiet(hub, sentences, capfd):
    from contextlib import contextmanager

    sentences.push_to_hub("me/words")
    capfd.readouterr()
    calls = []

    class Listener:
        @contextmanager
        def task(self, kind, name, *, total, unit):
            calls.append((kind, total, unit))
            yield calls.append

    load_target("me/words", samples=12, progress=Listener())
    assert calls == [("dataset", None, "rows"), ("dataset", 12, "rows"), *[1] * 12]
    assert capfd.readouterr().err == ""


def test_the_description_of_a_target_is_json(sentences, tmp_path):
    json.dumps(load_target_of(sentences, tmp_path).describe())
