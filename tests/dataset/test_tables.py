"""Tables as people save them: read as they are meant, or refused with the line that is wrong."""

from __future__ import annotations

import base64
import bz2
import gzip
import http.server
import io
import json
import re
import tarfile
import threading
import zipfile
from itertools import pairwise

import pytest
from datasets import Dataset, Features

from hf_sfda import load_target
from hf_sfda.dataset.readme import check_folder, names_data_files
from hf_sfda.errors import TargetError
from tests import factories

ROWS = [(f"über text {i}", "ab"[i % 2]) for i in range(20)]


def lines(sep=",", header=("text", "label"), rows=ROWS):
    return "\n".join(sep.join(row) for row in [header, *rows]) + "\n"


def loaded(tmp_path, content, name="x.csv", **options):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_target(str(file), **options)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (lines(), "x.csv"),
        (lines(";"), "x.csv"),
        (lines("|"), "x.csv"),
        (lines("\t"), "x.csv"),
        (lines(","), "x.tsv"),
        ("sep=;\n" + lines(";"), "x.csv"),
        (lines().encode("utf-8-sig"), "x.csv"),
        (lines("\t").encode("utf-16"), "x.csv"),
        (lines(";").encode("utf-16-le"), "x.csv"),
        (lines().encode("cp1252"), "x.csv"),
        (lines().replace("\n", "\r\n"), "x.csv"),
        (gzip.compress(lines().encode(), mtime=0), "x.csv.gz"),
        (gzip.compress(lines("\t").encode(), mtime=0), "x.tsv.gz"),
    ],
)
def test_tables_of_every_dialect_are_read(tmp_path, content, name):
    target = loaded(tmp_path, content, name)
    assert target.samples == tuple(text for text, _ in ROWS)
    assert (target.input_column, target.label_column) == ("text", "label")
    assert bool(target.warnings) == (content == lines().encode("cp1252"))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("held the ball, then lost it,b", "line 4: 3 fields, but the header has 2"),
        ("trailing,b,", "line 4: 3 fields"),
        ("short", "line 4: 1 field, but"),
        ('"closed" too early,b', "line 4: .*double quotes"),
        ('"never closed,b', "line 4: "),
        ("a\0b,b", "line 4: a NUL"),
    ],
)
def test_rows_that_pandas_would_repair_are_refused_with_their_line(tmp_path, row, words):
    rows = lines().splitlines()
    with pytest.raises(TargetError, match=words):
        loaded(tmp_path, "\n".join([*rows[:3], row, *rows[3:]]))
    every = "\n".join([rows[0], *([row] * 5)])
    with pytest.raises(TargetError, match="line 2"):
        loaded(tmp_path, every)


def test_lines_are_counted_as_an_editor_does(tmp_path):
    text = 'text,label\n"two\nlines",a\n\nx,b\nshort\n'
    with pytest.raises(TargetError, match="line 6: 1 field"):
        loaded(tmp_path, text)


def test_two_columns_of_one_name_are_refused(tmp_path):
    with pytest.raises(TargetError, match="several columns called 'label'"):
        loaded(tmp_path, "text,label,label\nx,a,b\n")


def test_another_encoding_is_refused(tmp_path):
    text = lines(rows=[("日本語のテキスト" * 5 + str(i), "ab"[i % 2]) for i in range(20)])
    with pytest.raises(TargetError, match="not UTF-8 text"):
        loaded(tmp_path, text.encode("euc-jp"))


@pytest.mark.parametrize("header", [("über text 99", "a"), ("1.5", "2.5"), ("word " * 8, "c")])
def test_a_first_line_of_data_is_warned_of(tmp_path, header):
    rows = [(*row, "x") for row in ROWS]
    content = lines(header=(*header, "label"), rows=rows)
    content = lines(header=header) if header[1] in "abc" else content
    options = {"input_column": header[0], "label_column": header[1]}
    if header[1] in "abc":
        target = loaded(tmp_path, content, **options)
        assert "looks like data" in target.warnings[0]


def test_ordinary_headers_are_not_warned_of(tmp_path):
    assert loaded(tmp_path, lines(header=("0", "1")), label_column="1").warnings == ()
    rows = [("text", "a"), ("label", "b"), ("x", "a"), ("y", "b")]
    assert loaded(tmp_path, lines(rows=rows)).warnings == ()


def test_numbers_that_are_names_stay_names(tmp_path):
    rows = [(f"text {i}", "01" if i % 2 else "1") for i in range(8)]
    assert loaded(tmp_path, lines(rows=rows)).class_names == ("01", "1")


PART = 10_000  # rows that `datasets` reads at a time


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("a", "1.50"), ("1.50", "2.50")),
        (("a", "True"), ("True", "False")),
        (("True", "False"), ("0", "1")),
        (("0", "1"), ("True", "False")),
        (("a", "+1"), ("+1", "-1")),
        (("2", "1"), ("1", "b")),
        (("", ""), ("a", "b")),
        (("", ""), ("True", "False")),
        (("", ""), ("a", "1")),
    ],
)
def test_labels_of_a_long_file_are_those_in_its_cells(tmp_path, first, second):
    labels = [*first * (PART // 2), *second * (PART // 2)]
    rows = [(f"text {i}", label) for i, label in enumerate(labels)]
    target = loaded(tmp_path, lines(rows=rows), label_column="label", samples=200)
    assert set(target.class_names) == {label for label in labels if label}
    for sample, code in zip(target.samples, target.labels, strict=True):
        assert target.class_names[code] == labels[int(sample.split()[1])]


def test_texts_of_a_long_file_are_those_in_its_cells(tmp_path):
    texts = [f"text {i}" for i in range(PART)] + [f"{i}.50" for i in range(PART)]
    rows = [(text, "ab"[i % 2]) for i, text in enumerate(texts)]
    assert set(loaded(tmp_path, lines(rows=rows)).samples) <= set(texts)


def test_labels_of_several_files_are_those_in_their_cells(tmp_path):
    for name, labels in (("a", ("1.50", "2")), ("b", ("x", "1.50")), ("c", ("True", ""))):
        rows = [(f"text {name} {i}", labels[i % 2]) for i in range(20)]
        (tmp_path / f"{name}.csv").write_text(lines(rows=rows))
    target = load_target(str(tmp_path))
    assert target.class_names == ("1.50", "2", "True", "x")
    assert target.labels.tolist() == [0, 1] * 10 + [3, 0] * 10 + [2] * 10
    assert target.left_out == {"no label": 10}


def test_fractions_may_come_late(tmp_path):
    values = ["1", "2", ""] * (PART // 3 + 1) + ["0.5", ""] * 100
    rows = [(f"text {i}", value) for i, value in enumerate(values)]
    target = loaded(tmp_path, lines(rows=rows), task="regression", label_column="label")
    places = [int(sample.split()[1]) for sample in target.samples]
    assert target.labels.tolist() == [float(values[place]) for place in places]
    assert target.left_out == {"no value": values.count("")}


@pytest.mark.parametrize(
    ("others", "words", "n"),
    [
        (("b.csv",), None, 40),
        (("c.jsonl", "b.csv"), r"not read: c.jsonl\.", 40),
        (("train.csv", "part/train.csv"), r"not read: a.csv\.", 40),
        (("train.csv", "test.csv"), r"not read: a.csv\.", 20),
        (("dataset_infos.json", "b.csv", "._c.jsonl"), None, 40),
        (("a.csv.bak",), r"read as tables, too: a.csv.bak\.", 40),
    ],
)
def test_tables_that_are_left_out_of_a_folder_are_named(tmp_path, others, words, n):
    for name in ("a.csv", *others):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(lines() if ".csv" in name else "{}")
    target = load_target(str(tmp_path))
    assert target.n_available == n
    assert len(target.warnings) == bool(words)
    assert all(re.search(words, warning) for warning in target.warnings)


@pytest.mark.parametrize("place", ["here", "hub"])
@pytest.mark.parametrize("name", ["x.csv.bz2", "x.csv.zip", "x.zip", "x.csv.gz"])
def test_csv_files_in_archives_are_read_with_a_warning(hub, tmp_path, name, place):
    content = lines().encode()
    packed = bz2.compress(content) if name.endswith("bz2") else gzip.compress(content)
    if name.endswith("zip"):
        with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
            archive.writestr("x.csv", content)
        packed = buffer.getvalue()
    (tmp_path / name).write_bytes(packed)
    if place == "hub":
        hub.put("me/packed", {name: packed}, repo_type="dataset")
    target = load_target("me/packed" if place == "hub" else str(tmp_path))
    assert sorted(target.samples) == sorted(text for text, _ in ROWS)
    if name == "x.csv.gz":
        assert not target.warnings
    else:
        (warning,) = target.warnings
        assert warning.startswith(f"The csv files in {name} were read without")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (("0,5", "1,25", "2"), "values, written as texts: '0,5' was read as a class.*--task regr"),
        (("1,200", "12,500,000"), "values, written as texts: '1,200' was read as a class"),
        (("1", "nan"), "'nan' was read as a class.*leave it empty"),
        (("NULL", "NA", "a"), "'NA', 'NULL' were read as classes.*leave it empty"),
        (("none", "a"), None),
        (("a, b", "c"), None),
        (("1.2", "x,y"), None),
    ],
)
def test_labels_that_are_probably_no_names_are_warned_of(tmp_path, labels, words):
    rows = [(f"text {i}", labels[i % len(labels)]) for i in range(24)]
    target = loaded(tmp_path, lines(";", rows=rows))
    assert set(target.class_names) == set(labels)
    if words is None:
        assert not target.warnings
    else:
        (warning,) = target.warnings
        assert re.search(words, warning)


@pytest.mark.parametrize("content", [lines(";"), lines(rows=[(f"t {i}", "NA") if i % 2 else
                                                              (f"t {i}", "None")
                                                              for i in range(20)])])  # fmt: skip
def test_a_csv_on_the_hub_and_in_a_folder_is_read_like_the_file(hub, tmp_path, content):
    here = loaded(tmp_path, content, "train.csv")
    hub.put("me/table", {"train.csv": content}, repo_type="dataset")
    there, folder = load_target("me/table"), load_target(str(tmp_path))
    assert there.fingerprint == folder.fingerprint == here.fingerprint


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (
            gzip.compress(b"text,label\n", mtime=0),
            "x.csv",
            "is a gzip archive, not text. Name it .gz",
        ),
        (b"PK\3\4\0", "x.csv", "an Excel workbook, not text.*save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1", "x.csv", "an Excel workbook"),
        (b"PAR1\0", "x.csv", "a parquet file"),
        (lines(), "x.csv.gz", "not a gzip archive"),
        (gzip.compress(lines().encode(), mtime=0)[:40], "x.csv.gz", "a damaged gzip archive"),
        ("", "x.csv", "x.csv is empty"),
        ("My survey\n" + lines(), "x.csv", r"line 2: 2 fields.*Remove the lines before the column"),
        (lines("^"), "x.csv", "only one column.*semicolon"),
        ('1,"A title","A body"\n2,"Another title","Another body"\n', "x.csv", "looks like data"),
    ],
)
def test_what_is_no_table_is_refused_in_words(tmp_path, content, name, words):
    with pytest.raises(TargetError, match=words):
        loaded(tmp_path, content, name)


def test_another_separator_is_found_though_the_header_holds_a_comma(tmp_path):
    target = loaded(tmp_path, lines(";", header=("text, in full", "label")))
    assert target.input_column == "text, in full"
    assert target.class_names == ("a", "b")


def test_quotes_after_spaces_are_quotes(tmp_path):
    rows = [(f'"{label}"', f'"{text}, with more"') for text, label in ROWS]
    target = loaded(tmp_path, lines(", ", header=("label", "text"), rows=rows))
    assert target.samples == tuple(f"{text}, with more" for text, _ in ROWS)
    assert target.class_names == ("a", "b")


def test_long_numbers_are_names(tmp_path):
    digits = ["1" * 25, "2" * 25]
    target = loaded(
        tmp_path, lines(rows=[(text, digits[i % 2]) for i, (text, _) in enumerate(ROWS)])
    )
    assert target.class_names == tuple(digits)


def test_a_header_without_names_is_warned_of(tmp_path):
    target = loaded(tmp_path, "My survey,\n" + lines())
    assert "looks like data" in target.warnings[0]


def test_the_index_that_pandas_stores_is_no_label(tmp_path):
    rows = [(str(i % 3), text, label) for i, (text, label) in enumerate(ROWS)]
    for name in ("__index_level_0__", ""):
        target = loaded(tmp_path, lines(header=(name, "text", "mood"), rows=rows))
        assert target.label_column == "mood"


@pytest.mark.parametrize("twins", [("a", "a "), ("a", "A"), ("caf\u00e9", "cafe\u0301")])
def test_class_names_that_look_alike_are_warned_of(tmp_path, twins):
    names = (*twins, "b")
    rows = [(text, names[i % 3]) for i, (text, _) in enumerate(ROWS)]
    target = loaded(tmp_path, lines(rows=rows))
    assert len(target.class_names) == 3
    assert "differ only in case, spaces" in target.warnings[0]


def test_a_shifted_csv_on_the_hub_is_refused(hub):
    hub.put("me/shift", {"train.csv": "text,label\na,b,c\nd,e,f\n"}, repo_type="dataset")
    with pytest.raises(TargetError, match="line 2: 3 fields"):
        load_target("me/shift")


# -- json, arrow, webdataset


def test_nan_among_json_labels_quotes_no_class_names(tmp_path):
    rows = [{"text": text, "label": label} for text, label in ROWS]
    rows[3]["label"] = float("nan")
    target = loaded(tmp_path, "\n".join(map(json.dumps, rows)), "x.jsonl")
    assert target.class_names == ("a", "b")
    assert target.left_out == {"no label": 1}
    rows[3]["label"] = 5
    with pytest.raises(TargetError, match="values of several types"):
        loaded(tmp_path, "\n".join(map(json.dumps, rows)), "y.jsonl")


JSON_LINES = "\n".join(json.dumps({"text": text, "label": label}) for text, label in ROWS)


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.json.gz"])
def test_compressed_json_is_read(tmp_path, name):
    target = loaded(tmp_path, gzip.compress(JSON_LINES.encode(), mtime=0), name)
    assert target.samples == tuple(text for text, _ in ROWS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("null\n" * 5, "begins with 'null'. A json file must hold"),  # pyarrow dies of this
        ("null", "begins with 'null'"),
        ('"a"\n"b"\n', "begins with"),
        ("", "is empty"),
        (" \n\n", "is empty"),
        (JSON_LINES.encode("utf-16"), "is UTF-16. Save it as UTF-8"),
        (b'{"text": "a", "label": "b"}\n{"text": "\xe9", "label": "b"}\n', "line 2: not UTF-8"),
        ('{"a": 1},\n{"a": 2},\n', "one object per line"),
        ('{"text": ["a", "b"], "label": ["c", "d"]}', r"one object \('text', 'label'\)"),
        ('{"data": [{"text": "a", "label": "b"}]}', r"one object \('data'\)"),
        (gzip.compress(b"{}", mtime=0), "is a gzip archive, not text. Name it .gz"),
        (b"PK\3\4\0\0", "Excel workbook"),
    ],
)
@pytest.mark.parametrize("place", ["file", "hub"])
def test_json_that_holds_no_rows_is_refused_in_words(hub, tmp_path, content, words, place):
    with pytest.raises(TargetError, match=words):
        if place == "file":
            loaded(tmp_path, content, "train.jsonl")
        else:
            hub.put("me/odd", {"train.jsonl": content}, repo_type="dataset")
            load_target("me/odd")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_declared_class_names_are_kept(hub, kind):
    names = "\n".join(f"          '{i}': {name}" for i, name in enumerate(("cat", "dog")))
    card = (
        "---\ndataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: label\n"
        f"    dtype:\n      class_label:\n        names:\n{names}\n---\n"
    )
    rows = [(text, i % 2) for i, (text, _) in enumerate(ROWS)]
    content = (
        lines(rows=[(text, str(label)) for text, label in rows])
        if kind == "csv"
        else "\n".join(json.dumps({"text": text, "label": label}) for text, label in rows)
    )
    hub.put("me/named", {"README.md": card, f"train.{kind}": content}, repo_type="dataset")
    assert load_target("me/named").class_names == ("cat", "dog")


@pytest.mark.parametrize("place", ["x.parquet", "x.arrow", "folder", "hub"])
def test_arrow_view_types_are_read(hub, tmp_path, place):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({
        "text": pa.array([text for text, _ in ROWS], pa.string_view()),
        "label": pa.array([label for _, label in ROWS], pa.string_view()),
        "tokens": pa.array([["a"]] * len(ROWS), pa.list_view(pa.string_view())),
        "nested": pa.array([{"a": ["b"]}] * len(ROWS),
                           pa.struct([("a", pa.list_(pa.string_view()))])),
    })  # fmt: skip
    file = tmp_path / ("train.parquet" if place in ("folder", "hub") else place)
    if file.suffix == ".arrow":
        with pa.ipc.new_file(str(file), table.schema) as writer:
            writer.write_table(table)
    else:
        pq.write_table(table, file)
    if place == "hub":
        hub.put("me/views", {"train.parquet": file.read_bytes()}, repo_type="dataset")
    name = {"folder": str(tmp_path), "hub": "me/views"}.get(place, str(file))
    target = load_target(name)
    assert target.samples == tuple(text for text, _ in ROWS)
    assert (target.label_column, target.class_names) == ("label", ("a", "b"))


def _odd_columns():
    import pyarrow as pa

    n = len(ROWS)
    whole = pa.array([1] * n, pa.int8())
    tensor = pa.array([[1.0, 2.0]] * n, pa.list_(pa.float32(), 2))
    return {
        "map": pa.array([[("a", 1)]] * n, pa.map_(pa.string(), pa.int32())),
        "decimal": pa.array([1] * n, pa.decimal32(5)),
        "uuid": pa.array([b"1" * 16] * n, pa.uuid()),
        "bool8": pa.ExtensionArray.from_storage(pa.bool8(), whole),
        "tensor": pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [2]), tensor),
        "runs": pa.RunEndEncodedArray.from_arrays([n], ["a"]),
        "union": pa.UnionArray.from_sparse(whole.fill_null(0).cast(pa.int8()), [whole, whole]),
        "bytes": pa.array([b"a"] * n),
        "dictionary": pa.array(["a"] * n).dictionary_encode(),
    }


@pytest.mark.parametrize("name", sorted(_odd_columns()))
def test_columns_of_odd_types_do_not_matter(tmp_path, name):
    import pyarrow as pa

    texts, labels = zip(*ROWS, strict=True)
    table = pa.table({"text": texts, "label": labels, "odd": _odd_columns()[name]})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_table(table)
    target = load_target(str(tmp_path / "x.arrow"))
    assert (target.samples, target.class_names) == (texts, ("a", "b"))
    dropped = name in ("map", "union")
    assert bool(target.warnings) == dropped, target.warnings
    if dropped:
        assert "left out: odd" in target.warnings[0]


@pytest.mark.parametrize("kind", ["runs", "dictionary", "dictionary of views"])
def test_labels_that_arrow_compresses_are_read(tmp_path, kind):
    import pyarrow as pa

    texts = [text for text, _ in ROWS]
    codes = pa.array([0] * 10 + [1] * 10)
    names = pa.array(["a", "b"], pa.string_view() if "views" in kind else pa.string())
    labels = (
        pa.RunEndEncodedArray.from_arrays([10, 20], ["a", "b"])
        if kind == "runs"
        else pa.DictionaryArray.from_arrays(codes, names)
    )
    table = pa.table({"text": texts, "label": labels})
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_table(table)
    target = load_target(str(tmp_path / "x.arrow"))
    assert target.class_names == ("a", "b")
    assert target.labels.tolist() == codes.to_pylist()


def test_images_in_a_binary_view_are_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Image

    data = factories.image_dataset(n_per_class=4, classes=2).cast_column(
        "image", Image(decode=False)
    )
    encoded = [row["image"]["bytes"] for row in data]
    kind = pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())])
    rows = [{"bytes": item, "path": None} for item in encoded]
    for name, column in (
        ("flat", pa.array(encoded, pa.binary_view())), ("struct", pa.array(rows, kind)),
    ):  # fmt: skip
        pq.write_table(pa.table({"image": column, "label": data["label"]}), tmp_path / name)
        (tmp_path / name).rename(tmp_path / f"{name}.parquet")
        target = load_target(str(tmp_path / f"{name}.parquet"))
        assert (target.modality, len(target), target.left_out) == ("image", 8, {})


@pytest.mark.parametrize(("shards", "label"), [(1, "cls"), (3, "cls"), (3, "json")])
def test_webdataset_shards_are_read(tmp_path, shards, label):
    data = factories.image_dataset(n_per_class=6, classes=2)
    (tmp_path / "w").mkdir()
    for shard in range(shards):
        with tarfile.open(tmp_path / "w" / f"shard-{shard:05d}.tar", "w") as tar:
            for i in range(shard, len(data), shards):
                out = io.BytesIO()
                data[i]["image"].save(out, "PNG")
                number = data[i]["label"]
                text = json.dumps({"label": number}) if label == "json" else str(number)
                for name, content in ((f"{i}.png", out.getvalue()), (f"{i}.{label}",
                                                                     text.encode())):  # fmt: skip
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    target = load_target(str(tmp_path / "w"))
    assert len(target) == 12
    assert target.label_column == ("label" if label == "json" else "cls")
    assert target.input_column == "png"


# -- columns


def dataset(tmp_path, **columns):
    from datasets import Dataset

    n = len(next(iter(columns.values())))
    text = {"text": [f"text {i}" for i in range(n)]}
    data = Dataset.from_dict({**text, **columns})
    return data, tmp_path / "saved"


@pytest.mark.parametrize("name", ["label", "Labels", "category", "Class Name", "target"])
def test_a_column_called_label_beats_a_class_label_of_another_name(tmp_path, name):
    from datasets import ClassLabel

    thirds = ["a", "b", "c"] * 8
    data, place = dataset(tmp_path, **{name: thirds, "language": [0, 1] * 12})
    data.cast_column("language", ClassLabel(names=["de", "en"])).save_to_disk(place)
    target = load_target(str(place))
    assert (target.label_column, target.class_names) == (name, ("a", "b", "c"))


def test_labels_that_contradict_each_other_are_asked_about(tmp_path):
    data, place = dataset(tmp_path, category=["a", "b"] * 8, target=["x", "x", "y", "y"] * 4)
    data.save_to_disk(place)
    with pytest.raises(TargetError, match="could be the label: category, target"):
        load_target(str(place))
    data, place = dataset(tmp_path / "2", category=["a", "b"] * 8, target=[0, 1] * 8)
    data.save_to_disk(place)
    assert load_target(str(place)).label_column == "category"


@pytest.mark.parametrize("value", ["1", "word", "some words", "0.5"])
def test_the_description_of_many_columns_is_not_copied_for_each_of_them(
    tmp_path, monkeypatch, value
):
    """A copy of 784 columns takes .04 s, so 784 copies took half a minute."""
    copies = []
    copy = Features.copy
    monkeypatch.setattr(Features, "copy", lambda self: copies.append(1) or copy(self))
    select = Dataset.select_columns
    monkeypatch.setattr(Dataset, "select_columns", lambda *a: copies.append(1) or select(*a))
    names = [f"column{i}" for i in range(100)]
    rows = [[f"{value}{i}" for i in range(100)] for _ in range(20)]
    with pytest.raises(TargetError, match=r"column0.* and 90 more"):
        loaded(tmp_path, lines(header=names, rows=rows))
    assert len(copies) < 50


def test_messages_stay_short(tmp_path):
    names = [f"pixel{i}" for i in range(784)]
    content = "\n".join([",".join(names), *[",".join(["1"] * 784)] * 3])
    with pytest.raises(TargetError, match=r"pixel0 .* and 774 more") as caught:
        loaded(tmp_path, content)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("image", "https://example.org/a/{}", "URLs of images"),
        ("link", "https://example.org/{}.jpg?size=1", "URLs of images"),
        ("pic", base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(60)).decode(), "base64"),
        ("pic", "data:image/png;base64,AAAA{}", "base64"),
    ],
)
def test_images_that_are_stored_as_text_are_refused(tmp_path, column, value, words):
    rows = [(f'"{value.format(i)}"', "ab"[i % 2]) for i in range(20)]
    with pytest.raises(TargetError, match=f"holds .*{words}"):
        loaded(tmp_path, lines(header=(column, "label"), rows=rows), input_column=column)


def test_web_addresses_are_text_with_a_warning(tmp_path):
    rows = [(f"http://shop{i}.example/login", "ab"[i % 2]) for i in range(20)]
    target = loaded(tmp_path, lines(header=("url", "label"), rows=rows))
    assert "are URLs" in target.warnings[0]


def test_texts_that_hardly_differ_are_warned_of(tmp_path):
    target = loaded(tmp_path, lines(rows=[(f"t {i % 3}", "ab"[i % 2]) for i in range(20)]))
    assert "Only 3 of 20 texts are different" in target.warnings[0]


def test_the_label_minus_one_is_left_out_with_a_warning_unless_it_is_part_of_a_scale(tmp_path):
    rows = [(f"t {i}", str(i % 3 - 1)) for i in range(30)]
    target = loaded(tmp_path, lines(rows=rows))
    assert target.class_names == ("0", "1")
    assert target.left_out == {"no label": 10}
    assert "10 rows have the label -1" in target.warnings[0]
    scale = [(f"t {i}", str(i % 5 - 2)) for i in range(30)]
    assert loaded(tmp_path, lines(rows=scale)).class_names == ("-2", "-1", "0", "1", "2")


# -- settings that lead outside


@pytest.fixture
def server(tmp_path):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815 (the name that the base class calls)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
@pytest.mark.parametrize(
    "pattern",
    ["{here}/secret.csv", "{here}/*.csv", "file://{here}/secret.csv", "../../secret.csv",
     "data/../../*.csv", "{server}/x.csv", "zip://x.csv::{server}/x.zip", "~/secret.csv",
     "C:\\secret.csv"],
)  # fmt: skip
def test_settings_that_lead_outside_read_nothing(hub, tmp_path, server, monkeypatch, name, pattern):
    from hf_sfda.dataset import download_size

    (tmp_path / "secret.csv").write_text(lines())
    pattern = pattern.format(here=tmp_path, server=server[0])
    configs = json.dumps([{"config_name": "default", "data_files": [
        {"split": "train", "path": [pattern]}]}])  # fmt: skip
    text = f"configs: {configs}\n"
    text = f"---\n{text}---\n# x" if name == "README.md" else text
    hub.put("me/nosy", {name: text, "train.csv": lines()}, repo_type="dataset")
    monkeypatch.setattr("datasets.load_dataset_builder", lambda *a, **k: pytest.fail("built"))
    for read in (load_target, download_size):
        with pytest.raises(TargetError, match="outside the repository") as caught:
            read("me/nosy")
        assert "über" not in str(caught.value)
    assert server[1] == []


NESTED = "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise("abcdefghij")
)
OUTSIDE = "configs:\n- config_name: default\n  data_files: /secret.csv\n"


@pytest.mark.parametrize(
    "card",
    [
        f"\n---\n{OUTSIDE}---\n",
        f" \t\r\n---\n{OUTSIDE}---\n",
        f"---\na: 1\n---x: 2\n{OUTSIDE}---\n",
        f"---\r{OUTSIDE}---\n".replace("\n", "\r") + "\n",
        f"---\r\n{OUTSIDE}---".replace("\n", "\r\n"),
        f"---\n{OUTSIDE}--- \t\n# x",
        f"\ufeff---\n{OUTSIDE}---\n",
    ],
)
def test_settings_are_checked_wherever_datasets_finds_them(hub, monkeypatch, card):
    hub.put("me/nosy", {"README.md": card, "train.csv": lines()}, repo_type="dataset")
    monkeypatch.setattr("datasets.load_dataset_builder", lambda *a, **k: pytest.fail("built"))
    with pytest.raises(TargetError, match="outside the repository"):
        load_target("me/nosy")


@pytest.mark.parametrize(
    "settings",
    [
        "configs: &a [*a]",
        "configs:\n- data_files: &a [*a]",
        "configs: " + "[" * 5000,
        "a: &a [x, x, x, x, x, x, x, x, x]\n" + NESTED + "configs:\n- data_files: *j",
        "configs: !!timestamp x",
        "x: " + "y" * 9_000_000,
    ],
    ids=["loop", "loop of files", "deep", "bomb", "odd value", "long"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
def test_settings_that_cannot_be_read_are_an_error_of_ours(tmp_path, settings, name):
    text = f"---\n{settings}\n---\n" if name == "README.md" else settings
    (tmp_path / name).write_text(text)
    with pytest.raises(TargetError, match=f"the settings in its {name} cannot be read"):
        check_folder("me/x", tmp_path)
    assert not names_data_files(tmp_path)


@pytest.mark.parametrize("configs", ["5", "true", "abc", "[5, [a], null]", "{a: 1}", ""])
def test_configs_of_another_kind_name_no_files(tmp_path, configs):
    (tmp_path / "README.md").write_text(f"---\nconfigs: {configs}\n---\n")
    check_folder("me/x", tmp_path)
    assert not names_data_files(tmp_path)


def test_settings_that_stay_inside_are_followed(hub):
    configs = "configs:\n- config_name: default\n  data_files: data/*.csv\n"
    files = {"README.md": f"---\n{configs}---\n", "data/x.csv": lines(), "docs/a/1.png": b"x"}
    hub.put("me/inside", files, repo_type="dataset")
    assert load_target("me/inside").n_available == 20
