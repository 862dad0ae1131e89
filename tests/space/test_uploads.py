"""Strangers' files: a dataset, or a clear refusal that leaves nothing behind."""

from __future__ import annotations

import io
import stat
import struct
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_sfda.dataset import load_target
from hf_sfda.errors import UploadError
from hf_sfda.space.archive import class_name
from hf_sfda.space.settings import Limits
from hf_sfda.space.uploads import safe_name, unpack

LIMITS = Limits(upload_bytes=300_000, unpacked_bytes=2_000_000, files=50)


def png(colour: int = 0, size: int = 8) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (size, size), (colour % 256, 40, 90)).save(out, "PNG")
    return out.getvalue()


PICTURE = png()


def make_zip(path: Path, files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            # Not `writestr(name)`: it would tidy the name up before we could be tried with it.
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, method
            archive.writestr(info, content)
    return path


def two_classes(**more: bytes) -> dict[str, bytes]:
    names = [f"{kind}/{i}.png" for kind in ("daisy", "rose") for i in range(3)]
    return {name: png(i) for i, name in enumerate(names)} | more


def refused(file: Path, into: Path, limits: Limits = LIMITS) -> str:
    with pytest.raises(UploadError) as caught:
        unpack(file, into, limits)
    assert not into.exists() or not list(into.iterdir()), "nothing is left"
    message = str(caught.value)
    assert "\n" not in message
    assert str(file.parent) not in message, "no place on the server"
    return message


# -- what is taken


@pytest.mark.parametrize("wrapped", ["", "my flowers/"])
def test_a_zip_of_class_folders_is_a_dataset(tmp_path, wrapped):
    files = {f"{wrapped}{name}": content for name, content in two_classes().items()}
    files |= {
        f"{wrapped}daisy/": b"",
        "__MACOSX/daisy/._0.png": b"junk",
        f"{wrapped}.DS_Store": b"x",
    }
    files |= {f"{wrapped}rose/Thumbs.db": b"x", f"{wrapped}README.txt": b"Flowers, by me."}
    if wrapped:
        del files[f"{wrapped}README.txt"]
    place = unpack(make_zip(tmp_path / "My flowers.zip", files), tmp_path / "into", LIMITS)
    assert place == tmp_path / "into" / "My-flowers"
    target = load_target(str(place))
    assert target.class_names == ("daisy", "rose")
    assert len(target) == 6
    assert not target.left_out


def wav(seconds: float, pitch: int) -> bytes:
    import numpy as np
    import soundfile

    out = io.BytesIO()
    times = np.arange(int(8000 * seconds)) / 8000
    soundfile.write(out, 0.5 * np.sin(times * pitch), 8000, format="WAV")
    return out.getvalue()


def sounds_of_two_classes(**more: bytes) -> dict[str, bytes]:
    names = [f"{kind}/{i}.wav" for kind in ("low", "high") for i in range(3)]
    return {name: wav(0.3, 1000 + 500 * i) for i, name in enumerate(names)} | more


def test_a_zip_of_sounds_is_a_dataset(tmp_path):
    files = sounds_of_two_classes(
        **{"cover.jpg": PICTURE, "low/broken.wav": b"no sound", "high/3.m4a": b"\0\0\0\x20ftypM4A "}
    )
    place = unpack(make_zip(tmp_path / "tones.zip", files), tmp_path / "into", LIMITS)
    target = load_target(str(place))
    assert (target.modality, target.class_names) == ("audio", ("high", "low"))
    assert len(target) == 6
    assert sum(target.left_out.values()) == 2, "the broken one and the m4a; a cover is no sound"


def test_sounds_outside_class_folders_are_refused(tmp_path):
    text = refused(
        make_zip(tmp_path / "x.zip", sounds_of_two_classes(**{"stray.wav": wav(0.3, 900)})),
        tmp_path / "into",
    )
    assert "1 of 7 sound files lie outside class folders" in text


def test_of_a_zip_with_splits_train_is_taken(tmp_path):
    files = {
        f"data/{split}/{kind}/{i}.png": png(i)
        for split in ("Train", "val", "test")
        for kind in ("a", "b")
        for i in range(2)
    }
    place = unpack(make_zip(tmp_path / "x.zip", files), tmp_path / "into", LIMITS)
    target = load_target(str(place))
    assert (target.split, len(target), target.class_names) == ("train", 4, ("a", "b"))


@pytest.mark.parametrize(
    ("splits", "flat"),
    [
        (["training_set", "test_set"], []),
        (["seg_train/seg_train", "seg_test/seg_test"], ["seg_pred"]),
        (["train", "val"], ["test"]),
        (["train"], ["sample"]),
    ],
)
def test_a_zip_is_arranged_like_the_folder_it_was_made_from(tmp_path, splits, flat):
    files = {
        f"{split}/{kind}/{i}.png": png(i)
        for split in splits
        for kind in ("a", "b")
        for i in range(3)
    } | {f"{name}/{i}.png": png(i) for name in flat for i in range(2)}
    for name, content in files.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(content)
    place = unpack(make_zip(tmp_path / "x.zip", files), tmp_path / "into", Limits())
    zipped, folder = load_target(str(place)), load_target(str(tmp_path / "folder"))
    assert (zipped.class_names, zipped.split) == (folder.class_names, folder.split)
    assert zipped.class_names == ("a", "b")
    assert zipped.inputs_fingerprint == folder.inputs_fingerprint
    assert sum(zipped.left_out.values()) == sum(folder.left_out.values()) == 2 * len(flat)


def test_a_zip_that_can_be_read_in_two_ways_is_refused(tmp_path):
    files = {f"{name}/{i}.png": png(i) for name in ("a", "b", "test") for i in range(2)}
    assert "two ways" in refused(make_zip(tmp_path / "x.zip", files), tmp_path / "into")


def test_images_that_cannot_be_read_are_counted_by_the_target(tmp_path):
    files = two_classes(**{"daisy/IMG_1.HEIC": b"\0\0\0\x18ftypheic", "@eaDir/x/0.png": png(1)})
    place = unpack(make_zip(tmp_path / "x.zip", files), tmp_path / "into", LIMITS)
    target = load_target(str(place))
    assert target.left_out == {"image format that cannot be read (.heic)": 1}


def test_pixels_are_counted_by_headers_and_in_sum(tmp_path):
    file = make_zip(tmp_path / "x.zip", two_classes(**{"daisy/large.png": png(size=40)}))
    limits = Limits(image_pixels=1599)
    assert "40 x 40 pixels; at most 1,599" in refused(file, tmp_path / "into", limits)
    assert "1,983 pixels together" in refused(file, tmp_path / "into", Limits(pixels=1983))
    unpack(file, tmp_path / "into", Limits(image_pixels=1600, pixels=1984))


def test_pictures_below_class_folders_belong_to_them(tmp_path):
    files = {f"{kind}/{i}/{i}.png": png(i) for kind in "ab" for i in range(2)}
    files |= {"readme/x.txt": b"not a class"}
    target = load_target(
        str(unpack(make_zip(tmp_path / "x.zip", files), tmp_path / "into", LIMITS))
    )
    assert target.class_names == ("a", "b")


def test_what_only_claims_to_be_a_picture_is_counted_by_the_target(tmp_path):
    files = two_classes(**{"daisy/broken.jpg": b"no image at all", "rose/no-suffix": png(9)})
    place = unpack(make_zip(tmp_path / "x.zip", files), tmp_path / "into", LIMITS)
    target = load_target(str(place))
    assert target.left_out == {"broken image": 1}
    assert len(target) == 7, "an image without a suffix is one"


def test_class_names_of_any_script_stay_and_harmful_parts_go(tmp_path):
    files = {
        f"{kind}/{i}.png": png(i) for kind in ("naïve\u202egnp", "花 🌼", "<b>x") for i in range(2)
    }
    place = unpack(make_zip(tmp_path / "x.zip", files), tmp_path / "into", LIMITS)
    assert load_target(str(place)).class_names == ("<b>x", "naïve gnp", "花 🌼")


@pytest.mark.parametrize(("suffix", "sign"), [(".csv", ","), (".tsv", "\t"), (".CSV", ",")])
def test_a_table_is_a_dataset_whatever_its_separator(tmp_path, suffix, sign):
    rows = "\n".join(f"the text {i}{sign}{'ab'[i % 2]}" for i in range(10))
    file = tmp_path / f"topics{suffix}"
    file.write_bytes(b"\xef\xbb\xbf" + f"text{sign}label\n{rows}".encode())
    place = unpack(file, tmp_path / "into", LIMITS)
    assert place.name == f"topics{suffix.lower()}"
    target = load_target(str(place))
    assert (len(target), target.class_names, target.input_column) == (10, ("a", "b"), "text")


def test_content_decides_and_not_the_suffix(tmp_path):
    place = unpack(make_zip(tmp_path / "x.csv", two_classes()), tmp_path / "into", LIMITS)
    assert place.is_dir()


def test_names_of_uploads_become_safe_names():
    assert safe_name(Path("../../ä b.tar.zip")) == "ä-b.tar"
    assert safe_name(Path("....zip")) == "upload"
    assert len(safe_name(Path("x" * 300 + ".zip"))) == 60


# -- what is refused


@pytest.mark.parametrize(
    "name",
    ["../evil.png", "/etc/evil.png", "a/../../evil.png", "C:/evil.png", "c:evil.png", "a\\evil.png",
     "..\\evil.png", "//host/evil.png", "a/..", "daisy/x\0.png"],
)  # fmt: skip
def test_names_that_lead_outside_are_refused(tmp_path, name):
    message = refused(
        make_zip(tmp_path / "x.zip", two_classes(**{name: PICTURE})), tmp_path / "into"
    )
    assert "leads outside" in message


def test_links_and_special_files_are_refused(tmp_path):
    for mode, what in (
        (stat.S_IFLNK, "a link"),
        (stat.S_IFIFO, "special"),
        (stat.S_IFCHR, "special"),
    ):
        file = make_zip(tmp_path / "x.zip", two_classes())
        with zipfile.ZipFile(file, "a") as archive:
            info = zipfile.ZipInfo("daisy/link.png")
            info.external_attr = (mode | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
        assert what in refused(file, tmp_path / "into")


def patched(file: Path, find: bytes, offset: int, value: bytes) -> Path:
    """Change bytes after every occurrence of a signature."""
    content = bytearray(file.read_bytes())
    at = content.find(find)
    assert at >= 0
    while at >= 0:
        content[at + offset : at + offset + len(value)] = value
        at = content.find(find, at + 4)
    file.write_bytes(content)
    return file


CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


def test_an_encrypted_zip_is_refused(tmp_path):
    file = patched(make_zip(tmp_path / "x.zip", two_classes()), CENTRAL, 8, b"\1\0")
    assert "password" in refused(file, tmp_path / "into")


def test_unusual_compression_is_refused(tmp_path):
    file = make_zip(tmp_path / "x.zip", two_classes(), method=zipfile.ZIP_LZMA)
    assert "ordinary zip" in refused(file, tmp_path / "into")


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path):
    zeros = {f"{kind}/{i}.png": PICTURE + bytes(500_000) for kind in "ab" for i in range(3)}
    file = make_zip(tmp_path / "x.zip", zeros)
    assert file.stat().st_size < 20_000
    assert "at most 2 MB" in refused(file, tmp_path / "into")


def test_a_zip_that_shrinks_too_much_is_refused(tmp_path):
    zeros = {f"{kind}/{i}.png": PICTURE + bytes(10_000_000) for kind in "ab" for i in range(3)}
    file = make_zip(tmp_path / "x.zip", zeros)
    message = refused(file, tmp_path / "into", Limits())
    assert "do not shrink like that" in message


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path):
    file = make_zip(tmp_path / "x.zip", two_classes(**{"a/b.png": PICTURE + bytes(5_000_000)}))
    patched(file, CENTRAL, 24, struct.pack("<L", 100))  # uncompressed size
    patched(file, LOCAL, 22, struct.pack("<L", 100))
    refused(file, tmp_path / "into")


def test_what_is_written_is_counted_whatever_was_declared(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_sfda.space.archive._check_size", lambda *_: None)
    zeros = {f"{kind}/{i}.png": PICTURE + bytes(500_000) for kind in "ab" for i in range(3)}
    assert "at most 2 MB" in refused(make_zip(tmp_path / "x.zip", zeros), tmp_path / "into")


def test_overlapping_entries_count_each(tmp_path):
    """Many names for one compressed block: small on disk, huge unpacked."""
    file = make_zip(tmp_path / "x.zip", {"a/0.png": PICTURE + bytes(900_000)})
    content = file.read_bytes()
    start = content.find(CENTRAL)
    end = content.find(END)
    record = content[start:end]
    records = b"".join(record.replace(b"a/0.png", b"a/%d.png" % i) for i in range(5))
    tail = bytearray(content[end:])
    struct.pack_into("<HHLL", tail, 8, 5, 5, len(records), start)
    file.write_bytes(content[:start] + records + bytes(tail))
    assert "at most 2 MB" in refused(file, tmp_path / "into")


def test_a_zip_with_too_many_entries_is_refused(tmp_path):
    file = make_zip(tmp_path / "x.zip", {f"a/{i}.png": b"" for i in range(51)})
    assert "at most 50 files" in refused(file, tmp_path / "into")
    patched(file, END, 10, struct.pack("<H", 5))  # the count lies
    assert "at most 50 are taken" in refused(file, tmp_path / "into")
    patched(file, END, 10, b"\xff\xff")
    assert "zip64" in refused(file, tmp_path / "into")


def test_a_zip_whose_names_would_fill_the_memory_is_refused(tmp_path):
    file = make_zip(tmp_path / "x.zip", {"a/" + "x" * 60_000 + ".png": b""})
    assert "of names" in refused(file, tmp_path / "into", Limits(files=2))


def test_ten_gigabytes_are_refused_unread(tmp_path):
    file = tmp_path / "big.csv"
    with file.open("wb") as opened:
        opened.truncate(10_000_000_000)  # sparse: reading it would take many seconds
    assert "10 GB; at most 300 kB" in refused(file, tmp_path / "into")


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "x.zip", "empty"),
        (b"hello, world", "x.zip", "neither a zip nor a table"),
        (b"hello, world", "x.exe", "neither a zip nor a table"),
        (b"\x1f\x8b\x08abc", "x.csv", "a gzip archive"),
        (PICTURE, "x.png", "a single image"),
        (b"%PDF-1.7", "x.csv", "a PDF"),
        (b"PAR1....", "x.parquet", "a parquet file"),
        (END + bytes(18), "x.zip", "is empty"),
        (b"PK\x03\x04" + bytes(100), "x.zip", "cut off"),
        (b"text,label\n\xff\xfe\n", "x.csv", "not UTF-8 after line 1"),
        ("text,label\nä,b\n".encode("utf-16"), "x.csv", "not UTF-8 text"),
        (b"text,label\na\0,b\n", "x.csv", "a NUL byte after line 1"),
        (b"text,label\n\xc3", "x.csv", "half a letter"),
        (b"text\na\nb\n", "x.csv", "one column"),
        (b"text;label\na;b\n", "x.csv", "separated by ';'"),
        (b"text,label\na,b\n", "x.tsv", "separated by ','"),
        (b"text,label\n\n\n", "x.csv", "no rows"),
        (b"\xef\xbb\xbf", "x.csv", "one column"),
    ],
)
def test_a_file_that_holds_no_dataset_is_refused(tmp_path, content, name, message):
    file = tmp_path / name
    file.write_bytes(content)
    assert message in refused(file, tmp_path / "into")


def test_a_zip_that_is_cut_off_or_damaged_is_refused(tmp_path):
    file = make_zip(tmp_path / "x.zip", two_classes())
    content = file.read_bytes()
    file.write_bytes(content[:-200])
    assert "cut off" in refused(file, tmp_path / "into")
    at = content.find(b"IDAT")
    assert at < 0, "compressed"
    file.write_bytes(content[:60] + b"\xff" * 20 + content[80:])
    assert "damaged" in refused(file, tmp_path / "into")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({f"daisy/{i}.png": PICTURE for i in range(3)}, "one class folder ('daisy')"),
        ({"1.png": PICTURE, "2.png": PICTURE}, "2 of 2 images lie outside"),
        (two_classes(**{"stray.png": PICTURE}), "1 of 7 images lie outside"),
        ({"train/a/1.png": PICTURE, "train/1.png": PICTURE, "val/b/2.png": PICTURE}, "outside"),
        ({"a/1.txt": b"x", "b/2.exe": b"MZ"}, "None of the 2 files"),
        ({"a/1.jpg": b"MZ", "b/2.jpg": b"x"}, "None of the 2 files"),
        ({"data.csv": b"text,label\n"}, "Upload 'data.csv' by itself"),
        ({"a/inner.zip": b"PK\x03\x04", "b/inner.zip": b"PK\x03\x04"}, "None of the 2 files"),
        ({".hidden/a.png": PICTURE}, "None of the 0 files"),
        ({"Cat/1.png": PICTURE, "cat/2.png": PICTURE}, "differ only in case"),
        ({"café/1.png": PICTURE, "cafe\u0301/2.png": PICTURE}, "how letters are encoded"),
        ({"\u202e/1.png": PICTURE, "a/2.png": PICTURE}, "no name that can serve"),
    ],
)
def test_a_zip_without_two_class_folders_of_images_is_refused(tmp_path, files, message):
    assert message in refused(make_zip(tmp_path / "x.zip", files), tmp_path / "into")


def test_a_zip_with_a_name_twice_is_refused(tmp_path):
    file = make_zip(tmp_path / "x.zip", two_classes())
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("daisy/0.png", PICTURE)
    assert "twice" in refused(file, tmp_path / "into")


def test_what_was_there_stays_and_nothing_is_added(tmp_path):
    into = tmp_path / "into"
    (into / "mine").mkdir(parents=True)
    with pytest.raises(UploadError):
        unpack(make_zip(tmp_path / "x.zip", {"a/1.png": PICTURE}), into, LIMITS)
    assert [path.name for path in into.iterdir()] == ["mine"]


# -- whatever comes

PARTS = st.one_of(
    st.sampled_from(["..", ".", "", "a", "b", "train", "/", "C:", "~", "\\", "..\\..", "__MACOSX"]),
    st.text(max_size=8),
)
NAMES = (
    st.lists(PARTS, min_size=1, max_size=4).map("/".join).filter(lambda name: name.isprintable())
)


def everything_below(place: Path) -> set[Path]:
    return {path for path in place.rglob("*") if path.is_file() or path.is_symlink()}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(names=st.lists(NAMES, min_size=1, max_size=6, unique=True), valid=st.booleans())
def test_whatever_the_names_nothing_is_written_outside(names, valid):
    with tempfile.TemporaryDirectory() as home:
        place = Path(home).resolve()
        inner = place / "one" / "two" / "into"
        extra = two_classes() if valid else {}
        file = make_zip(place / "x.zip", extra | dict.fromkeys(names, PICTURE))
        before = everything_below(place)
        try:
            result = unpack(file, inner, LIMITS)
        except UploadError:
            assert everything_below(place) == before
            assert not inner.exists() or not list(inner.iterdir())
        else:
            made = everything_below(place) - before
            assert made
            assert list(inner.iterdir()) == [result]
            for path in made:
                assert not path.is_symlink()
                assert path.resolve().is_relative_to(result.resolve())
                assert path.stem.isdigit(), "a name of our own"


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_whatever_bytes_are_damaged_it_is_a_dataset_or_a_refusal(data):
    with tempfile.TemporaryDirectory() as home:
        file, into = make_zip(Path(home) / "x.zip", two_classes()), Path(home) / "into"
        content = bytearray(file.read_bytes())
        for _ in range(data.draw(st.integers(1, 6))):
            at = data.draw(st.integers(4, len(content) - 1))
            content[at] = data.draw(st.integers(0, 255))
        file.write_bytes(content)
        try:
            unpack(file, into, LIMITS)
        except UploadError:
            assert not list(into.iterdir())


@given(st.text(max_size=400))
def test_a_class_name_is_one_harmless_part_of_a_path(text):
    name = class_name(text)
    assert "/" not in name
    assert name not in (".", "..")
    assert not name.startswith(".")
    assert len(name.encode()) <= 240
    assert class_name(name) == name
