"""``rank --shards`` and ``hf-sfda merge``: several jobs, one ranking."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hf_sfda.config import RankConfig
from hf_sfda.errors import ConfigError
from hf_sfda.store import default_root
from tests import factories
from tests.command import run_command

OPTIONS = ("--resamples", "200", "--permutations", "0")
MODELS = ("vit", "resnet", "timm", "vit2", "missing")


@pytest.fixture
def work(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    factories.tiny_vit(tmp_path / "vit")
    factories.tiny_vit(tmp_path / "vit2", seed=3)
    factories.tiny_resnet(tmp_path / "resnet")
    factories.tiny_timm(tmp_path / "timm")
    factories.image_folder(tmp_path / "shapes", n_per_class=12)
    return tmp_path


def rank(*arguments: str, code: int = 0) -> tuple[str, str]:
    models = [str(Path(name)) for name in MODELS]
    return run_command(
        "rank", "--dataset", "shapes", "--models", *models, *OPTIONS, *arguments, code=code
    )


def ranking(directory: str) -> dict:
    return json.loads(Path(directory, "ranking.json").read_text())


def without_versions(document: dict) -> dict:
    return {k: v for k, v in document.items() if k not in ("versions", "created_at", "config")}


def test_the_shards_of_a_run_merge_into_the_ranking_of_one_job(work):
    rank("-o", "whole")
    for shard in range(3):
        rank("--shards", "3", "--shard", str(shard))
    folders = [f"runs/shapes--shard-{shard}-of-3" for shard in range(3)]
    names = [[Path(r["model_id"]).name for r in ranking(folder)["rows"]] for folder in folders]
    assert [set(n) for n in names] == [{"vit", "vit2"}, {"resnet", "missing"}, {"timm"}]
    assert ranking(folders[1])["config"]["shard"] == 1

    out, _ = run_command("merge", *folders, "--json")
    merged, whole = ranking("runs/shapes"), ranking("whole")
    assert json.loads(out)["rows"] == merged["rows"]
    assert Path("runs/shapes/report.html").is_file()
    assert without_versions(merged) == without_versions(whole)
    assert merged["config"]["fingerprint"] == whole["config"]["fingerprint"]
    assert "shard" not in merged["config"]
    assert sorted(merged["config"]["models"]) == sorted(whole["config"]["models"])

    # The merged run is one like any other.
    run_command("merge", "runs/shapes", folders[0], "-o", "again")
    assert ranking("again")["rows"] == whole["rows"]
    run_command("compare", "runs/shapes", "vit", "resnet", "--json")


def test_more_shards_than_candidates_leave_some_without_work(work):
    rank("--shards", "9", "--shard", "8", "-o", "empty", code=1)
    rank("--shards", "9", "--shard", "0", "-o", "first")
    run_command("merge", "empty", "first", "-o", "both")
    assert [Path(row["model_id"]).name for row in ranking("both")["rows"]] == ["vit"]


def test_a_model_that_one_run_ranked_and_another_lost_is_ranked(work):
    rank("-o", "whole")
    document = ranking("whole")
    [vit] = [row for row in document["rows"] if Path(row["model_id"]).name == "vit"]
    vit |= {"status": "failed", "reason": "the disk is full", "rank": None}
    shutil.copytree("whole", "lost")
    Path("lost/ranking.json").write_text(json.dumps(document))
    run_command("merge", "lost", "whole", "-o", "both")
    assert ranking("both")["rows"] == ranking("whole")["rows"]


def test_runs_that_cannot_be_compared_are_refused(work):
    rank("-o", "a")
    rank("-o", "b", "--samples", "18")
    rank("-o", "c", "--layers", "last")
    err = " ".join(run_command("merge", "a", "b", code=2)[1].split())
    assert "b was ranked on other samples than a (shapes, 18 samples; shapes, 36 samples)" in err
    err = " ".join(run_command("merge", "a", "c", code=2)[1].split())
    assert "c was ranked with other options than a: " in err
    assert "layers" in err
    assert "Cannot read" in run_command("merge", "a", "nothing", code=2)[1]
    shutil.rmtree(default_root())
    assert "no longer stored" in " ".join(run_command("merge", "a", code=2)[1].split())


def test_the_numbers_of_shards_are_checked():
    with pytest.raises(ConfigError, match=r"with 3 shards they are 0 to 2"):
        RankConfig("d", shards=3, shard=3)
    with pytest.raises(ConfigError, match="shards"):
        RankConfig("d", shards=0)
    assert RankConfig("d", shards=4, shard=1).fingerprint() == RankConfig("d").fingerprint()
    assert "shards" not in RankConfig("d").to_dict()
