"""Folders as other tools leave them: which images are of which class, and what is not read."""

from __future__ import annotations

import os
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from hf_sfda import load_target
from hf_sfda.dataset import walk
from hf_sfda.errors import TargetError

RNG = np.random.default_rng(0)


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 255, (8, 8, 3), "uint8")).save(path, "PNG")


def fill(root, *folders, n=3):
    for folder in folders:
        for i in range(n):
            picture(root / folder / f"{i}.png")


def _files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def cats(root, *folders):
    fill(root, *(f"{folder}/{kind}" for folder in folders for kind in ("cat", "dog")))


CAT_AND_DOG = {
    "flat test": (["train"], ["test"]),
    "flat test, val": (["train", "val"], ["test"]),
    "sets": (["training_set", "test_set"], []),
    "images": (["train_images", "val_images"], []),
    "common prefix": (["seg_train", "seg_test"], ["seg_pred"]),
    "repeated": (["seg_train/seg_train", "seg_test/seg_test"], []),
    "years": (["train2017", "val2017"], []),
    "one word": (["TrainData", "TestData"], []),
    "challenges": (["Training", "PublicTest", "PrivateTest"], []),
    "abbreviated": (["imagesTr", "imagesTs"], []),
    "stray": (["train"], ["sample"]),
    "unlabeled": (["train", "test"], ["unlabeled"]),
    "around": (["data/images/train", "data/images/test"], []),
    "around by another name": (["ILSVRC/CLS/train", "ILSVRC/CLS/val"], []),
    "inside": (["train/images", "test/images"], []),
    "only train": (["train"], []),
    "train in train": (["train/train", "train/val"], []),
    "two letters": (["tr", "va", "te"], []),
}


@pytest.mark.parametrize("name", CAT_AND_DOG)
def test_folders_of_splits_are_not_classes(tmp_path, name):
    classed, flat = CAT_AND_DOG[name]
    cats(tmp_path, *classed)
    fill(tmp_path, *flat)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "0.txt").write_text("0 1 2")
    fill(tmp_path, "__MACOSX/train/cat", n=1)
    target = load_target(str(tmp_path))
    assert target.class_names == ("cat", "dog")
    assert len(target) == 6
    assert target.split == "train"
    assert all(sample.startswith(classed[0]) for sample in target.sample_ids)
    lost = sum(n for reason, n in target.left_out.items() if reason.startswith("image of"))
    assert lost == 3 * len(flat)
    assert target.left_out[walk.SYSTEM] == 1


def test_class_folders_may_hold_the_splits(tmp_path):
    fill(tmp_path, *(f"{kind}/{split}" for kind in ("cat", "dog") for split in ("train", "test")))
    target = load_target(str(tmp_path))
    assert (target.class_names, len(target)) == (("cat", "dog"), 6)
    assert len(load_target(str(tmp_path), split="test")) == 6


def test_folds_are_asked_about(tmp_path):
    cats(tmp_path, "fold1", "fold2")
    with pytest.raises(TargetError, match=r"Splits: fold1, fold2. Pass one with --split"):
        load_target(str(tmp_path))
    assert load_target(str(tmp_path), split="fold2").class_names == ("cat", "dog")


@pytest.mark.parametrize("parts", [("fold_0", "fold_1"), ("photo", "sketch"), ("2019", "2020")])
def test_data_sets_side_by_side_are_no_classes(tmp_path, parts):
    cats(tmp_path, *(f"{part}/{split}" for part in parts for split in ("train", "val")))
    with pytest.raises(TargetError, match=rf"several datasets.*cat, dog. Pass .*/{parts[0]}\."):
        load_target(str(tmp_path))
    assert load_target(str(tmp_path / parts[0])).class_names == ("cat", "dog")


@pytest.mark.parametrize("name", ["unsup", "unlabeled", "unlabelled_images"])
def test_a_folder_without_labels_in_a_split_is_no_class(tmp_path, name):
    cats(tmp_path, "train", "test")
    fill(tmp_path, f"train/{name}")
    target = load_target(str(tmp_path))
    assert target.class_names == ("cat", "dog")
    assert target.left_out == {f"image of {name}, which is no class by its name": 3}


@pytest.mark.parametrize(
    "names",
    [
        ("images", "masks"), ("JPEGImages", "SegmentationClass", "SegmentationObject"),
        ("img", "gt"), ("input", "target"), ("rgb", "depth"), ("HR", "LR"),
        ("images", "labels_png"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("inside", ["", "train/", "data/train/"])
def test_images_and_masks_are_no_classes(tmp_path, names, inside):
    fill(tmp_path, *(f"{inside}{name}" for name in names))
    if inside:
        fill(tmp_path, *(f"{inside.replace('train', 'test')}{name}" for name in names))
    with pytest.raises(TargetError, match=r"segmentation or restoration.*are not classes"):
        load_target(str(tmp_path))


@pytest.mark.parametrize(
    "classes",
    [
        ["mask", "no_mask"], ["photo", "sketch"], ["raw", "cooked"], ["object", "background"],
        ["train", "bus"], ["train/one", "bus"], ["toy_train", "toy_car"], ["valid", "invalid"],
        ["tr", "de"], ["test_tube", "beaker"], ["set1", "set2"], ["cat/a", "dog/a"],
    ],
)  # fmt: skip
def test_ordinary_names_stay_classes(tmp_path, classes):
    fill(tmp_path, *classes)
    names = {name.split("/")[0] for name in classes}
    assert set(load_target(str(tmp_path)).class_names) == names


@pytest.mark.parametrize(
    ("folders", "words", "split", "expected"),
    [
        (["train/cat", "train/dog", "bus"], r"two ways: 'train'.*--split train", "train", "cat"),
        (["cat", "dog", "test"], r"two ways: test.*--split train.*rename", "train", "cat"),
        (["train", "test"], "the class of each image is not known", None, None),
        (["trainA", "testA"], "the class of each image is not known", None, None),
    ],
)
def test_what_can_be_read_in_two_ways_is_asked_about(tmp_path, folders, words, split, expected):
    fill(tmp_path, *folders)
    with pytest.raises(TargetError, match=words):
        load_target(str(tmp_path))
    if split:
        target = load_target(str(tmp_path), split=split)
        assert target.class_names == (expected, "dog")


def test_the_same_folders_in_every_class_are_named(tmp_path):
    fill(tmp_path, "photo/cat", "photo/dog", "sketch/cat", "sketch/dog")
    target = load_target(str(tmp_path))
    assert target.class_names == ("photo", "sketch")
    assert "cat, dog" in target.warnings[0]


@pytest.mark.parametrize("around", ["", "train/"])
def test_folders_inside_classes_and_doubtful_classes_are_named(tmp_path, around):
    fill(tmp_path, *(f"{around}{name}" for name in ("cat/persian", "cat/siamese", "dog/pug")))
    target = load_target(str(tmp_path))
    assert target.class_names == ("cat", "dog")
    assert "cat: persian, siamese" in target.warnings[0]
    fill(tmp_path, f"{around}samples")
    target = load_target(str(tmp_path))
    assert target.class_names == ("cat", "dog", "samples")
    assert "samples" in target.warnings[-1]


def zipped(folder, archive, names):
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as opened:
        for name in names:
            opened.write(folder / name, name)


@pytest.mark.parametrize("place", ["here", "hub"])
@pytest.mark.parametrize("around", ["", "train/"])
def test_class_folders_are_read_beside_the_archive_they_came_from(hub, tmp_path, around, place):
    root = tmp_path / "data"
    cats(root, around.rstrip("/") or ".")
    zipped(root, root / "all.zip", [f"{around}cat/0.png", f"{around}dog/0.png"])
    (root / "labels.csv.gz").write_bytes(b"")
    if place == "hub":
        hub.put("me/cats", _files(root), repo_type="dataset")
    target = load_target("me/cats" if place == "hub" else str(root))
    assert (target.class_names, len(target)) == (("cat", "dog"), 6)
    if place == "here":
        assert "not read: all.zip, labels.csv.gz" in target.warnings[0]


def test_figures_beside_a_table_in_an_archive_are_no_classes(hub, tmp_path):
    fill(tmp_path, "docs", "figures")
    (tmp_path / "train.csv").write_text(
        "text,label\n" + "".join(f"t {i},{i % 2}\n" for i in range(9))
    )
    zipped(tmp_path, tmp_path / "data" / "train.zip", ["train.csv"])
    (tmp_path / "train.csv").unlink()
    hub.put("me/texts", _files(tmp_path), repo_type="dataset")
    assert load_target("me/texts").class_names == ("0", "1")


@pytest.mark.parametrize("place", ["here", "hub"])
def test_images_in_an_archive_are_refused_in_words(hub, tmp_path, place):
    cats(tmp_path, "data")
    names = [f"data/{kind}/{i}.png" for kind in ("cat", "dog") for i in range(3)]
    zipped(tmp_path, tmp_path / "packed" / "train.zip", names)
    if place == "hub":
        hub.put("me/packed", _files(tmp_path / "packed"), repo_type="dataset")
        with pytest.raises(
            TargetError, match=r"images or sounds in an archive \(train.zip\).*Unpack it"
        ):
            load_target("me/packed")
        return
    with pytest.raises(
        TargetError, match=r"images or sounds in an archive \(train.zip\).*Unpack it"
    ):
        load_target(str(tmp_path / "packed"))
    with pytest.raises(TargetError, match=r"Unpack it and pass the folder"):
        load_target(str(tmp_path / "packed" / "train.zip"))


@pytest.mark.parametrize("place", ["here", "hub"])
@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{},label {}", None),
        ("{},label {},more", r"metadata.csv, line 2: 3 fields"),
        ("{};label {}", r"metadata.csv is separated by ';'.*Save it as CSV with commas"),
    ],
)
def test_metadata_that_would_be_repaired_is_refused(hub, tmp_path, row, words, place):
    root = tmp_path / "data"
    fill(root, "train", n=8)
    rows = [row.format(f"{i}.png", "ab"[i % 2]) for i in range(8)]
    header = "file_name;label" if ";" in row else "file_name,label"
    (root / "train" / "metadata.csv").write_text("\n".join([header, *rows]) + "\n")
    if place == "hub":
        hub.put("me/listed", _files(root), repo_type="dataset")
    dataset = "me/listed" if place == "hub" else str(root)
    if words is None:
        assert load_target(dataset).class_names == ("label a", "label b")
        return
    with pytest.raises(TargetError, match=words):
        load_target(dataset)


@pytest.mark.parametrize("place", ["here", "hub"])
@pytest.mark.parametrize(
    ("labels", "refused", "warned"),
    [
        (("01", "1"), "'01' and '1' in the column 'label' would be read as one number", None),
        (("NA", "a", "b"), None, r"missing values: 'NA' in 'label' \(4 rows\).*metadata.jsonl"),
        (("01", "02"), None, None),
        (("01", "1", "a"), None, None),
    ],
)
def test_metadata_that_pandas_reads_otherwise_is_refused_or_warned_of(
    hub, tmp_path, labels, refused, warned, place
):
    root = tmp_path / "data"
    fill(root, "train", n=12)
    rows = [f"{i}.png,{labels[i % len(labels)]}" for i in range(12)]
    (root / "train" / "metadata.csv").write_text("\n".join(["file_name,label", *rows]) + "\n")
    if place == "hub":
        hub.put("me/listed", _files(root), repo_type="dataset")
    dataset = "me/listed" if place == "hub" else str(root)
    if refused is not None:
        with pytest.raises(TargetError, match=refused):
            load_target(dataset)
        return
    target = load_target(dataset)
    assert len(target.class_names) == len(labels) - bool(warned)
    matches = [warning for warning in target.warnings if re.search(warned or "metadata", warning)]
    assert len(matches) == bool(warned)


def test_images_that_no_metadata_names_are_counted(tmp_path):
    fill(tmp_path, "train", n=12)
    rows = [f"{i}.png,{'ab'[i % 2]}" for i in range(8)]
    (tmp_path / "train" / "metadata.csv").write_text("\n".join(["file_name,label", *rows]) + "\n")
    target = load_target(str(tmp_path))
    assert len(target.samples) == 8
    assert any("4 images in" in warning for warning in target.warnings)
    rows += [f"./{i}.png,{'ab'[i % 2]}" for i in range(8, 12)]
    (tmp_path / "train" / "metadata.csv").write_text("\n".join(["file_name,label", *rows]) + "\n")
    assert not any("images in" in warning for warning in load_target(str(tmp_path)).warnings)


def test_folders_of_texts_are_refused_in_words(tmp_path):
    for kind in ("pos", "neg"):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "train" / kind / f"{i}.txt").write_text("a review\n")
    with pytest.raises(TargetError, match=r"6 text files.*Write one csv or jsonl file"):
        load_target(str(tmp_path))


LAYOUTS_OF_THE_HUB = {
    "train in train": ["train/train/cat", "train/train/dog", "train/val/cat", "train/val/dog"],
    "unsup": ["train/cat", "train/dog", "train/unsup", "test/cat", "test/dog"],
    "masks": ["images", "masks"],
    "folds": ["f1/train/cat", "f1/train/dog", "f1/val/cat", "f2/train/cat", "f2/train/dog"],
    "two letters": ["tr/cat", "tr/dog", "va/cat", "va/dog"],
}


@pytest.mark.parametrize("layout", LAYOUTS_OF_THE_HUB)
def test_these_folders_on_the_hub_are_read_like_those_here(hub, tmp_path, layout):
    fill(tmp_path / "data", *LAYOUTS_OF_THE_HUB[layout])
    hub.put("me/cats", _files(tmp_path / "data"), repo_type="dataset")
    answers = []
    for place in (str(tmp_path / "data"), "me/cats"):
        try:
            target = load_target(str(place))
            answers.append((target.class_names, target.sample_ids, target.left_out))
        except TargetError as error:
            answers.append(str(error).replace(place, "PLACE"))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("layout", ["flat test", "sets", "repeated", "unlabeled"])
def test_a_folder_on_the_hub_is_read_like_the_one_here(hub, tmp_path, layout):
    classed, flat = CAT_AND_DOG[layout]
    cats(tmp_path, *classed)
    fill(tmp_path, *flat, "@eaDir")
    (tmp_path / "README.md").write_text("# Animals")
    hub.put("me/animals", tmp_path, repo_type="dataset")
    here, there = load_target(str(tmp_path)), load_target("me/animals")
    assert there.fingerprint == here.fingerprint
    assert there.left_out == here.left_out
    assert there.revision == hub.repo("me/animals", "dataset").head.sha


# -- what systems leave behind

SYSTEM_FOLDERS = [
    "@eaDir", "__MACOSX", ".ipynb_checkpoints", "$RECYCLE.BIN", "System Volume Information",
    "lost+found", ".Trash-1000", ".AppleDouble", "CVS", ".svn", ".git", "#recycle", "@Recycle",
    "@tmp", "#snapshot", "__pycache__", ".@__thumb",
]  # fmt: skip


@pytest.mark.parametrize("name", SYSTEM_FOLDERS)
def test_what_systems_leave_behind_is_ignored_at_every_depth(tmp_path, name):
    fill(tmp_path, "cat", "dog")
    fill(tmp_path, name, f"cat/{name}/0.jpg", f"dog/a/{name}", n=2)
    picture(tmp_path / "cat" / "._0.png")
    (tmp_path / "dog" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "dog" / "desktop.ini").write_bytes(b"x")
    target = load_target(str(tmp_path))
    assert (target.class_names, len(target)) == (("cat", "dog"), 6)
    assert target.left_out == {walk.SYSTEM: 7}


# -- files that would not be seen


def test_copies_and_downloads_that_did_not_end_are_no_samples(tmp_path):
    fill(tmp_path, "cat", "dog")
    names = ["1.png.part", "1.png.crdownload", "1.png.tmp", "1.png.bak", "1.png~", "1.PNG.Download"]
    for name in names:
        picture(tmp_path / "cat" / name)
    target = load_target(str(tmp_path))
    assert len(target) == 6
    assert target.left_out == {walk.SYSTEM: len(names)}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_are_counted_and_never_opened(tmp_path):
    fill(tmp_path, "cat", "dog")
    held = []
    for name in ("pipe", "pipe.png"):
        os.mkfifo(tmp_path / "cat" / name)
        # Held open and filled, so that a reader fails the test and does not hang it.
        held.append(os.open(tmp_path / "cat" / name, os.O_RDWR | os.O_NONBLOCK))
        os.write(held[-1], bytes(4096))
    try:
        target = load_target(str(tmp_path))
    finally:
        for descriptor in held:
            assert len(os.read(descriptor, 5000)) == 4096
            os.close(descriptor)
    assert len(target) == 6
    assert target.left_out == {walk.NO_FILE: 2}


def test_what_is_no_image_is_counted_with_its_reason(tmp_path):
    fill(tmp_path, "cat", "dog")
    for i in range(2):
        (tmp_path / "cat" / f"IMG_{i}.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
        (tmp_path / "bird" / f"{i}.heic").parent.mkdir(exist_ok=True)
        (tmp_path / "bird" / f"{i}.heic").write_bytes(b"x")
    (tmp_path / "dog" / "notes.txt").write_text("x")
    picture(tmp_path / "loose.png")
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    target = load_target(str(tmp_path))
    assert (target.class_names, len(target)) == (("cat", "dog"), 6)
    assert target.left_out == {
        "image format that cannot be read (.heic)": 4,
        "not an image (.txt)": 1,
        "image outside the class folders": 1,
        walk.DEAD_LINK: 1,
    }


def test_a_folder_of_unsupported_images_is_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.heic").write_bytes(b"x")
    with pytest.raises(
        TargetError, match=r"no image or sound in a supported format.*\.heic.*JPEG or PNG"
    ):
        load_target(str(tmp_path))


def test_images_are_known_without_their_suffix(tmp_path):
    fill(tmp_path, "cat", "dog")
    for path in sorted(tmp_path.rglob("*.png")):
        path.rename(path.with_suffix("" if "0" in path.name else ".part"))
    assert len(load_target(str(tmp_path))) == 6


def test_folders_behind_links_are_read_and_loops_end(tmp_path):
    fill(tmp_path / "store", "cat", "dog")
    for kind in ("cat", "dog"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        (tmp_path / "data" / kind / "batch").symlink_to(tmp_path / "store" / kind)
        (tmp_path / "data" / kind / "up").symlink_to(tmp_path / "data")
    target = load_target(str(tmp_path / "data"))
    assert len(target) == 6
    assert target.left_out == {walk.LOOP: 2}


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    fill(tmp_path, "cat", "dog")
    scandir = walk.os.scandir

    def refuse(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(walk.os, "scandir", refuse)
    with pytest.raises(TargetError, match="dog cannot be read"):
        walk.find_files(tmp_path)


@pytest.mark.parametrize("name", ["~nosuchuser/x", "x" * 5000, "a/" * 3000 + "b", "a\0b"])
def test_names_that_are_no_paths_are_refused_in_few_words(name):
    with pytest.raises(TargetError) as caught:
        load_target(name)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("place", ["cat/caf\udce9.png", "caf\udce9/0.png"])
def test_names_that_are_not_utf8_are_named(tmp_path, place):
    fill(tmp_path / "data", "dog", "cat")
    file = tmp_path / "data" / place
    try:
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(file)
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(TargetError, match=r"not valid UTF-8: .*caf.*xe9.*, 1 of .* Rename"):
        load_target(str(tmp_path / "data"))


@pytest.mark.parametrize("name", ["caf\udce9", "caf\udce9.csv"])
def test_a_path_that_is_not_utf8_is_named(tmp_path, name):
    place = tmp_path / name
    try:
        if place.suffix:
            place.write_text("text,label\na,b\nc,d\n")
        else:
            fill(place, "dog", "cat")
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(TargetError, match=r"not valid UTF-8: .*xe9.* Rename"):
        load_target(str(place))
