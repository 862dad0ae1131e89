"""The files that a visitor can take away, and where they lie until then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_sfda.space.backend import view_of
from tests.report_fixture import example_ranking

pytest.importorskip("gradio")


@pytest.fixture
def downloads():
    from hf_sfda.space.tabs import downloads

    return downloads


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.*") if path.is_file())


def test_files_of_a_board_are_shared(downloads, tmp_path):
    view = view_of(example_ranking(), "me/emoji")
    first, second = (downloads(view, tmp_path) for _ in range(2))
    assert [button.value for button in first] == [button.value for button in second]
    assert files_below(tmp_path) == ["me--emoji-sfda_cv.csv", "me--emoji-sfda_cv.json"]


def test_files_of_ones_own_ranking_go_with_the_job(downloads, tmp_path):
    shared, job = tmp_path / "shared", tmp_path / "job"
    shared.mkdir()
    job.mkdir()
    view = view_of(example_ranking(), "mine", folder=job / "downloads")
    buttons = downloads(view, shared)
    assert all(button.visible for button in buttons)
    (document,) = job.rglob("*.json")
    assert json.loads(document.read_text())["dataset"]["id"] == "me/emoji"
    assert files_below(shared) == []


def test_a_job_that_is_gone_is_not_brought_back(downloads, tmp_path):
    view = view_of(example_ranking(), "mine", folder=tmp_path / "gone" / "downloads")
    assert not any(button.visible for button in downloads(view, tmp_path))
    assert files_below(tmp_path) == []
    assert not (tmp_path / "gone").exists()
