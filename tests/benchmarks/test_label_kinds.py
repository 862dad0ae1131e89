"""The benchmark of the kinds of label: its data are read as meant, its table is right."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections import Counter

import pytest

from benchmarks import label_kinds
from hf_sfda.config import METRICS_OF
from tests.benchmarks.debs import write_deb


def test_ratings_are_read_from_the_archive_in_the_archive(tmp_path):
    text = "1\t2.5\tso good\r\n2\t-1.25\ttwo\ttabs\r\n3\t0.5\t \r\nnot a rating\r\n"
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        info = tarfile.TarInfo("hutto_ICWSM_2014/tweets_GroundTruth.txt")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text.encode()))
    sdist = tmp_path / "sdist.zip"
    with zipfile.ZipFile(sdist, "w") as outer:
        outer.writestr(label_kinds._ARCHIVE, inner.getvalue())
    columns = label_kinds.read_ratings(sdist, "tweets")
    assert columns == {"text": ["so good", "two\ttabs"], "rating": [2.5, -1.25]}


INDEX = """\
Package: editor
Tag: role::program, use::editing,
 works-with::text, works-with::TODO
Description: edits
 .
 many texts

Package: editor-data
Source: editor (1.0)
Tag: use::editing, works-with::text
Description: of a source that is there

Package: copy
Tag: use::editing, works-with::text
Description: edits many texts

Package: half
Tag: use::viewing, works-with-format::png
Description: without what it works with

Package: untagged
Description: no tags

Package: player
Tag: use::playing, works-with::audio, use::viewing
Description: plays
"""


def test_packages_have_the_frequent_tags_of_both_facets(tmp_path, monkeypatch):
    index = tmp_path / "Packages"
    index.write_text(INDEX)
    assert label_kinds.read_packages(index) == {
        "text": ["edits many texts", "plays"],
        "tags": [
            ["use::editing", "works-with::text"],
            ["use::playing", "works-with::audio", "use::viewing"],
        ],
    }
    monkeypatch.setattr(label_kinds, "_N_LABELS", 3)  # the first three, as each is there once
    assert label_kinds.read_packages(index)["tags"][1] == ["use::playing"]


def synset(number, word, gloss, above=None):
    pointers = f"001 @ {above:08} n 0000" if above is not None else "000"
    return f"{number:08} 05 n 01 {word} 0 {pointers} | {gloss}"


def write_wordnet(path, **lines):
    files = {
        f"./usr/share/wordnet/data.{part}": "\n".join(of).encode() for part, of in lines.items()
    }
    return write_deb(path, files)


def test_concepts_are_paired_by_what_is_above(tmp_path):
    lines = []
    for n in range(0, 600, 2):
        lines.append(synset(n, f"kind_{n}", f"a general concept, number {n}"))
        lines.append(synset(n + 1, f"case_{n}", f'a special concept, number {n}; "no, {n}"', n))
    lines.append(synset(600, "brief", "too short", 0))
    columns = label_kinds.read_concepts(write_wordnet(tmp_path / "wordnet.deb", noun=lines))
    pairs = list(zip(columns["first"], columns["second"], columns["relation"], strict=True))
    for first, second, relation in pairs:
        (one, number), (other, its) = (text.partition(":")[0].split() for text in (first, second))
        if relation == "neither":
            assert number != its
            assert "kind" in (one, other)
        else:
            assert number == its
            assert (one, other) == (("case", "kind") if relation == "below" else ("kind", "case"))
    texts = [text for pair in pairs for text in pair[:2]]
    assert len(set(texts)) == len(texts) > 300
    assert all(re.fullmatch(r"(kind|case) \d+: a \w+ concept, number \d+", text) for text in texts)
    counts = Counter(columns["relation"])
    assert max(counts.values()) - min(counts.values()) <= 1


def test_one_word_of_an_example_has_a_tag_where_its_part_of_speech_must_be_read(tmp_path):
    package = write_wordnet(
        tmp_path / "wordnet.deb",
        noun=[synset(1, "run", 'a race; "the run was too long"; "a run"'), synset(2, "cat", "c")],
        verb=[synset(3, "go", 'move; "they go home early"'), synset(4, "run", "move fast")],
        adj=[synset(5, "dead(p)", 'not alive; "the man was dead, alas"')],
        adv=[synset(6, "dead", 'quite; "you are dead right"; "dead or dead tired"')],
    )
    columns = label_kinds.read_words(package)
    found = dict(zip(map(" ".join, columns["tokens"]), columns["part"], strict=True))
    assert found["the run was too long"] == [None, "noun", None, None, None]
    # Left out: short ones, words of one part of speech, words that are there twice or were used.
    assert len(found) == 2
    assert found["the man was dead , alas"] == [None, None, None, "adj", None, None]


def test_the_default_order_of_each_kind_is_compared():
    for kind, scores in label_kinds.SCORES.items():
        name = "single-label" if kind == "text pairs" else kind
        assert scores[0] == METRICS_OF[name][0]
        assert set(METRICS_OF[name]) <= set(scores)


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table with the regression "tweets"; ``params`` says the opposite of the other scores."""
    path = tmp_path / "table.csv"
    monkeypatch.setattr(label_kinds, "TABLE", path)
    monkeypatch.setattr(label_kinds, "_RESAMPLES", 100)
    path.write_text(",".join(label_kinds._FIELDS) + "\n")
    label_kinds.store("tweets", rows("tweets", "regression", (0.5, 0.4, 0.1)))
    return path


def rows(target, kind, values):
    return [
        {
            "kind": kind,
            "target": target,
            "checkpoint": f"model-{n}",
            **dict.fromkeys(label_kinds.SCORES[kind], -n),
            "params": n,
            "value": value,
        }
        for n, value in enumerate(values)
    ]


def test_the_table_says_what_the_first_pick_of_each_score_loses(table):
    label_kinds.store("products", rows("products", "regression", (0.2, 0.3, 0.4)))
    report = label_kinds.report().splitlines()
    assert report[0] == "| regression | tweets | products | mean tau | mean loss |"
    assert report[2].startswith("| `logme` | 1.00 [1.00, 1.00] (0.0) | -1.00 [-1.00, -1.00] (20.0)")
    assert report[2].endswith("| 0.00 | 10.0 |")
    assert report[-1].startswith("| `params` | -1.00 [-1.00, -1.00] (40.0) |")


def test_each_kind_has_a_table_with_its_scores(table):
    label_kinds.store("packages", rows("packages", "multi-label", (0.5, 0.1, 0.4)))
    of_values, of_labels = label_kinds.report().split("\n\n")
    assert "`hscore`" in of_labels
    assert "`hscore`" not in of_values
    assert of_labels.startswith("| multi-label | packages |")


def test_rows_of_a_target_are_replaced_and_others_stay(table):
    before = label_kinds.stored_rows()
    label_kinds.store("packages", rows("packages", "multi-label", (0.5, 0.1)))
    label_kinds.store("packages", rows("packages", "multi-label", (0.6,)))
    stored = label_kinds.stored_rows()
    assert stored[:3] == before
    assert [row["value"] for row in stored[3:]] == ["0.6"]
