"""The journal is readable whatever happens, and holds no secrets."""

from __future__ import annotations

import json

import pytest

from hf_sfda.errors import StoreError
from hf_sfda.journal import Journal, prepare_directory


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


def test_no_directory_no_journal():
    prepare_directory(None)
    Journal(None).write("event")


def test_a_full_disk_silences_the_journal(tmp_path):
    journal = Journal(tmp_path / "missing")
    journal.write("event")
    journal.write("event")
