"""``rank --on-jobs``: planned, started once, followed, and brought back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import factories
from tests.command import run_command
from tests.leaderboard.test_jobs import machine

__all__ = ["machine"]  # a fixture
RUNS = "me/hf-sfda-runs"
OPTIONS = ("--metrics", "knn", "--metric", "knn", "--resamples", "100", "--permutations", "0")
JOB = ("--on-jobs", "t4-small")


@pytest.fixture
def work(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    factories.image_dataset(n_per_class=6, classes=2).push_to_hub("me/shapes", split="train")
    folder = factories.tiny_vit(tmp_path / "made" / "vit")
    factories.write_card(folder, library_name="transformers")
    hub.put("acme/vit", folder)
    (tmp_path / "models.txt").write_text("acme/vit\n")
    return tmp_path


def rank(*arguments: str, code: int = 0) -> tuple[str, str]:
    asked = ("rank", "--dataset", "me/shapes", "--models", "models.txt", *OPTIONS, *arguments)
    out, err = run_command(*asked, code=code)
    return " ".join(out.split()), " ".join(err.split())


def only(table: dict) -> dict:
    (one,) = table.values()
    return one


def run_here(hub, machine, tmp_path, *, stage: str = "COMPLETED") -> None:
    """What the Hub does: run the command of the only Job."""
    job = only(hub.state.jobs)
    done = subprocess.run(
        job["spec"]["command"], env={**machine, **job["spec"]["secrets"]}, cwd=tmp_path,
        capture_output=True, text=True,
    )  # fmt: skip
    assert hub.token not in done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    job["log"] = ["Target   me/shapes", *done.stdout.splitlines()]
    job["status"] = {"stage": stage, "message": None}


@pytest.mark.slow
def test_a_run_goes_to_the_hub_and_comes_back(hub, work, machine, tmp_path):
    plan, err = rank(*JOB)
    assert "Rank me/shapes in a Job as me" in plan
    assert f"dataset {RUNS}: a new private repository" in plan
    assert "a Job of me on t4-small: $0.60 per hour, at most $3.60 within 6h" in plan
    assert "+ hf-sfda rank --dataset me/shapes --models acme/vit --revision" in plan
    assert not hub.state.jobs
    assert ("datasets", RUNS) not in hub.state.repos
    expected = err.split("--expect ")[1].split()[0]
    _, err = rank(*JOB, "--yes", "--expect", expected)
    assert "Done started Job" in err
    assert hub.state.repos[("datasets", RUNS)].private
    assert hub.token not in json.dumps(only(hub.state.jobs)["spec"]["command"])

    # It runs: the same command starts no other one.
    out, _ = rank(*JOB, "--yes")
    assert "is running" in out
    assert len(hub.state.jobs) == 1

    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    run_here(hub, machine, nowhere)
    assert list(nowhere.iterdir()) == []
    out, err = rank(*JOB, "--follow", "--json")
    row = json.loads(out)["rows"][0]
    assert (row["model_id"], row["rank"]) == ("acme/vit", 1)
    folder = Path("runs/me--shapes")
    assert json.loads((folder / "ranking.json").read_text())["rows"][0] == row
    assert (folder / "report.html").is_file()
    assert (folder / "journal.jsonl").is_file()
    # It is finished: nothing is paid for again, with or without --follow.
    rank(*JOB, "--yes", "--json")
    assert len(hub.state.jobs) == 1
    # Other options are another run.
    plan, _ = rank(*JOB, "--samples", "8")
    assert "1. a Job of me on t4-small" in plan, "the package is there already"


def test_following_shows_the_log_and_says_why_a_job_failed(hub, work):
    rank(*JOB, "--yes")
    job = only(hub.state.jobs)
    job["log"] = ["Target   me/shapes", f"a secret: {hub.token}"]
    job["status"] = {"stage": "ERROR", "message": "out of memory"}
    _, err = run_command(
        "rank", "--dataset", "me/shapes", "--models", "acme/vit", *OPTIONS, *JOB, "--follow",
        code=0,
    )  # fmt: skip
    assert "Nothing was written" in err, "the failed Job is not followed: a new one is planned"
    job["status"] = {"stage": "RUNNING", "message": None}

    def fail(*args: object, **kwargs: object) -> object:
        job["status"] = {"stage": "ERROR", "message": "out of memory"}
        return real(*args, **kwargs)

    from huggingface_hub import HfApi

    real = HfApi.fetch_job_logs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HfApi, "fetch_job_logs", fail)
        _, err = rank(*JOB, "--follow", "--format", "human", code=1)
    assert "Target me/shapes" in err
    assert hub.token not in err
    assert "ended with ERROR (out of memory)" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "data"), "data is on this machine"),
        (("--models", "made/vit"), "made/vit is on this machine"),
        (("--dataset", "me/none"), "Cannot read dataset me/none"),
        (("--on-jobs", "t9000"), "There is no hardware 't9000'"),
        (("--job-timeout", "soon"), "The timeout is 'soon'"),
        (("--runs-repo", "acme/runs"), "name one of yours, such as me/hf-sfda-runs"),
    ],
)
def test_what_cannot_run_there_is_refused_before_anything_is_written(hub, work, arguments, message):
    (work / "data").mkdir()
    asked = {"--dataset": "me/shapes", "--models": "acme/vit", "--on-jobs": "t4-small"}
    asked |= dict([arguments])
    words = [word for pair in asked.items() for word in pair]
    code = 2 if "this machine" in message else 1
    _, err = run_command("rank", *words, "--yes", code=code)
    assert message in " ".join(err.split())
    assert not hub.state.jobs
    assert ("datasets", RUNS) not in hub.state.repos
