"""Audio, from the command line to the leaderboard."""

from __future__ import annotations

import json

import pytest

from hf_sfda.dataset import load_target, sounds
from hf_sfda.publish.leaderboards import make_leaderboards, to_ranking
from hf_sfda.publish.rows import dump_rows, make_run, read_results
from hf_sfda.ranking.runs import read_ranking
from hf_sfda.space.results import modality_of
from hf_sfda.space.samples import previews, read_target, write_target
from tests import factories
from tests.command import run_command


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    factories.sound_folder(folder / "tones", 12, ["low", "mid", "high"])
    factories.tiny_wav2vec2(folder / "one", seed=1)
    factories.tiny_wav2vec2(folder / "two", seed=2, feat_extract_norm="layer")
    factories.tiny_bert(folder / "text")
    return folder


def run(work, *arguments: str, code: int = 0) -> tuple[str, str]:
    return run_command(*arguments, cwd=work, code=code)


@pytest.fixture(scope="module")
def ranked(work):
    options = ("--resamples", "100", "--permutations", "2", "--out", "run")
    models = ("one", "two", "text")
    run(work, "rank", "--dataset", "tones", "--models", *models, *options)
    return json.loads((work / "run" / "ranking.json").read_text())


def test_sounds_are_ranked(ranked):
    assert ranked["dataset"]["task"] == "audio-classification"
    status = {row["model_id"]: row["status"] for row in ranked["rows"]}
    assert status == {"one": "ok", "two": "ok", "text": "skipped"} or status["text"] == "failed"
    scores = {row["model_id"]: row["scores"] for row in ranked["rows"]}
    assert min(scores["one"]["knn"], scores["two"]["knn"]) > 0.5  # three classes


def test_a_text_model_is_refused_by_its_name(ranked):
    (row,) = [row for row in ranked["rows"] if row["model_id"] == "text"]
    assert "model type bert is not read for sounds" in row["reason"]


def test_there_is_no_calibration_for_sounds(ranked):
    assert any("not calibrated for sounds" in warning for warning in ranked["warnings"])
    assert all(row.get("expected_regret") is None for row in ranked["rows"])


def test_the_report_counts_sounds(work, ranked):
    page = (work / "run" / "report.html").read_text()
    assert "audio classification" in page
    out, _ = run(work, "compare", "run", "one", "two")
    assert "one" in out and "two" in out


def test_a_target_of_sounds_travels_between_processes(work, tmp_path, monkeypatch):
    target = load_target(str(work / "tones"))
    for memory in (2**30, 100):
        monkeypatch.setattr("hf_sfda.dataset.inputs.IN_MEMORY", memory)
        target = load_target(str(work / "tones"))
        write_target(target, tmp_path)
        back = read_target(tmp_path)
        assert isinstance(back.samples, sounds.LazySounds) == (memory == 100)
        for one, other in zip(target.samples, back.samples, strict=True):
            assert one.rate == other.rate and (one.values == other.values).all()
    assert previews(target, [0])[0] == {"image": None, "text": target.sample_ids[0]}


def test_a_run_on_sounds_becomes_a_leaderboard_of_sounds(work, ranked, tmp_path):
    ranking = read_ranking(work / "run")
    (tmp_path / "rows.parquet").write_bytes(dump_rows(make_run(ranking).rows))
    (leaderboard,) = make_leaderboards(read_results(tmp_path / "rows.parquet", "rows.parquet"))
    assert modality_of(leaderboard) == "sounds"
    again = to_ranking(leaderboard)
    assert [row.scores for row in again.ranked] == [row.scores for row in ranking.ranked]
    assert any("not calibrated for sounds" in text for text in again.warnings)
