"""The journal is readable whatever happens, and holds no secrets."""

from __future__ import annotations

import json

import pytest

import hf_sfda
from hf_sfda.errors import ConfigError, StoreError
from hf_sfda.journal import Journal, prepare_directory, refuse_other_dataset


def test_events_are_lines_without_tokens(tmp_path):
    prepare_directory(tmp_path / "run")
    journal = Journal(tmp_path / "run")
    journal.write("started", note="Bearer hf_abcdefghijklmnopqrstuvwxyz0123")
    journal.write("done", model="ünïcode/模型")
    lines = (tmp_path / "run" / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    first, second = map(json.loads, lines)
    assert first["event"] == "started"
    assert "abcdefghij" not in lines[0]
    assert second["model"] == "ünïcode/模型"


def test_a_directory_that_cannot_be_made_is_found_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"Cannot write the run directory .*--out"):
        prepare_directory(tmp_path / "file" / "run")


def test_what_strangers_wrote_never_breaks_a_line(tmp_path):
    journal = Journal(tmp_path)
    journal.write("failed", reason="a\ud800b\x1b[31m\u202e\n")
    line = (tmp_path / "journal.jsonl").read_bytes()
    assert json.loads(line)["reason"] == "a\ud800b\x1b[31m\u202e\n"
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert b"\x1b" not in line


def test_a_line_that_was_cut_spoils_no_other(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"event": "started"}\n{"event": "tar')
    journal = Journal(tmp_path)
    journal.write("started")
    journal.write("ranked")
    lines = path.read_text().splitlines()
    assert [json.loads(lines[i])["event"] for i in (0, 2, 3)] == ["started", "started", "ranked"]


def ranked(directory, dataset: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / "ranking.json").write_text(json.dumps({"config": {"dataset": dataset}}))


def test_a_directory_of_another_dataset_is_refused(tmp_path):
    ranked(tmp_path / "run", "me/plants")
    prepare_directory(tmp_path / "run", "me/plants")
    for check in (prepare_directory, refuse_other_dataset):
        with pytest.raises(ConfigError, match=r"a run on me/plants.* on acme/plants.*--out"):
            check(tmp_path / "run", "acme/plants")
    with pytest.raises(ConfigError, match="me/plants:large"):
        prepare_directory(tmp_path / "run", "me/plants:large")


def test_ranking_into_the_directory_of_another_dataset_starts_no_work(tmp_path, hub):
    ranked(tmp_path / "run", "me/plants")
    with pytest.raises(ConfigError, match=r"a run on me/plants"):
        hf_sfda.rank("acme/plants", "acme/vit", out=str(tmp_path / "run"))
    assert not hub.requests
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["ranking.json"]


def test_a_run_that_has_not_finished_counts(tmp_path):
    journal = Journal(tmp_path)
    journal.write("started", config={"dataset": "me/typo"})
    prepare_directory(tmp_path, "me/plants")  # the typo has come to nothing
    journal.write("target", id="me/plants")
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"event": "tar')
    prepare_directory(tmp_path, "me/plants")
    with pytest.raises(ConfigError, match="me/plants"):
        prepare_directory(tmp_path, "acme/plants")


def test_two_spellings_of_a_folder_are_one_dataset(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    ranked(tmp_path / "run", "photos")
    for spelling in ("./photos", "photos/", str(tmp_path / "photos")):
        prepare_directory(tmp_path / "run", spelling)
    with pytest.raises(ConfigError, match=r"on photos, and this one is on \./other"):
        prepare_directory(tmp_path / "run", "./other")


@pytest.mark.parametrize("content", ["", "[" * 5000, "[]", '{"config": 5}', "\xff"])
def test_a_ranking_that_cannot_be_read_holds_nothing_back(tmp_path, content):
    (tmp_path / "ranking.json").write_text(content, encoding="latin-1")
    (tmp_path / "journal.jsonl").write_text(content, encoding="latin-1")
    prepare_directory(tmp_path, "me/plants")


def test_without_a_directory_nothing_is_written():
    prepare_directory(None)
    Journal(None).write("event")


def test_a_full_disk_silences_the_journal(tmp_path):
    journal = Journal(tmp_path / "missing")
    journal.write("event")
    journal.write("event")
