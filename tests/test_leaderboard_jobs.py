"""Schedule, webhook and workflow: planned, idempotent, and silent about secrets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from hf_sfda.cli import main
from hf_sfda.leaderboard.jobs import REQUIREMENT
from hf_sfda.leaderboard.schedule import cron_of
from tests import factories

BOARD = "me/my.board"
SETTINGS = {"datasets": ["me/shapes"], "models": ["acme/vit"], "metric": "knn", "metrics": ["knn"],
            "samples": 12, "folds": 2, "resamples": 100, "permutations": 1}  # fmt: skip
HOOK_SECRET = "a-long-random-text-that-nobody-knows"


@pytest.fixture
def hf_sfda(hub, tmp_path, monkeypatch, capsys):
    """The command, run in this process; no output may hold a secret."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setattr("hf_sfda.cli.leaderboard.send_warnings_to", lambda say: None)

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["hf-sfda", "leaderboard", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert (end.value.code or 0) == code, out + err
        for secret in (hub.token, HOOK_SECRET):
            assert secret not in out + err
        return out, err

    return run


@pytest.fixture
def board(hub, hf_sfda):
    """A leaderboard without any update."""
    Path("settings.yaml").write_text(json.dumps(SETTINGS))
    hf_sfda("init", BOARD, "--config", "settings.yaml", "--yes")
    return hf_sfda


def only(table: dict) -> dict:
    (one,) = table.values()
    return one


# -- init and update from the command line


def test_init_shows_the_files_and_writes_them_once(hub, hf_sfda):
    asked = ["init", "me/board", "-d", "me/shapes", "-m", "acme/vit", "acme/b", "--format", "human"]
    out, err = hf_sfda(*asked)
    assert "Set up leaderboard me/board as me" in out
    assert "+- me/shapes\n" in out
    assert "+- acme/b\n" in out
    (expect,) = re.findall(r"--expect ([0-9a-f]{12})", " ".join(err.split()))
    assert not hub.state.repos
    hf_sfda(*asked, "--yes", "--expect", expect)
    files = hub.files("me/board", "dataset")
    assert yaml.safe_load(files["leaderboard.yaml"])["models"] == ["acme/vit", "acme/b"]
    assert b"No results yet." in files["README.md"]
    head = hub.repo("me/board").head.sha
    out, _ = hf_sfda(*asked, "--yes")
    assert "Nothing to do: dataset me/board is set up like this already" in out
    assert hub.repo("me/board").head.sha == head


def test_init_keeps_away_from_other_data_and_other_people(hub, hf_sfda):
    hub.put("me/photos", {"cat.png": b"x"}, repo_type="dataset")
    _, err = hf_sfda("init", "me/photos", "-d", "me/shapes", "--yes", code=1)
    assert "is no results dataset" in err
    _, err = hf_sfda("init", "acme/board", "-d", "me/shapes", "--yes", code=1)
    assert "belongs to acme" in err
    _, err = hf_sfda("init", "me/board", code=2)
    assert "names no datasets" in err
    _, err = hf_sfda("init", "me/board", "-d", "me/shapes", "--metric", "magic", code=2)
    assert "magic" in err
    _, err = hf_sfda("init", "me/board; rm", "-d", "me/shapes", code=2)
    assert "OWNER/NAME" in err


def test_results_of_a_newer_version_are_left_alone_by_every_command(hub, board):
    table = pa.table({"x": [1]}).replace_schema_metadata({"hf_sfda.schema_version": "99"})
    pq.write_table(table, "newer.parquet")
    newer = {"data/me--shapes/ffffffffffffffff.parquet": Path("newer.parquet").read_bytes()}
    hub.put(BOARD, newer, repo_type="dataset")
    head = hub.repo(BOARD).head
    Path("other.yaml").write_text(json.dumps(SETTINGS | {"samples": 50}))
    for asked in (
        ["init", BOARD, "--config", "other.yaml", "--yes"],
        ["update", BOARD, "--yes"],
        ["status", BOARD],
        ["schedule", BOARD, "--yes"],
        ["webhook", BOARD, "--yes"],
    ):
        _, err = board(*asked, code=1)
        assert "has schema version 99; this hf-sfda knows up to 1" in " ".join(err.split())
    assert hub.repo(BOARD).head is head
    assert not hub.state.scheduled_jobs and not hub.state.webhooks


def test_update_and_status_from_the_command_line(hub, board, tmp_path):
    factories.image_dataset(n_per_class=6, classes=2).push_to_hub("me/shapes", split="train")
    folder = factories.tiny_vit(tmp_path / "vit")
    factories.write_card(folder, library_name="transformers")
    hub.put("acme/vit", folder)
    out, err = board("update", BOARD, "--format", "human")
    assert "measure 1 candidate, then one commit to main" in out
    assert "+ acme/vit @ " in out
    assert "Nothing was written" in err
    out, _ = board("status", BOARD, "--format", "human")
    assert "never updated" in out
    assert "pending: acme/vit" in out
    out, _ = board("update", BOARD, "--yes", "--json")
    (done,) = json.loads(out)["done"]
    assert done["commit"] == hub.repo(BOARD).head.sha
    out, _ = board("status", BOARD, "--json")
    (one,) = json.loads(out)["datasets"]
    assert [m["model"] for m in one["pool"]] == ["acme/vit"]
    assert board("status", BOARD, "-q")[0] == "acme/vit\n"
    assert "nothing is pending" in board("status", BOARD, "--format", "human")[0]
    out, _ = board("update", BOARD, "--yes", "--format", "human")
    assert "Nothing to do: me/shapes is up to date (1 models)" in out


# -- schedule


def test_a_schedule_is_made_once_changed_and_renewed(hub, board):
    out, _ = board("schedule", BOARD)
    assert f"+ uv run --with {REQUIREMENT} hf-sfda leaderboard update {BOARD} --yes" in out
    assert hub.state.scheduled_jobs == {}
    board("schedule", BOARD, "--yes")
    job = only(hub.state.scheduled_jobs)
    assert job["spec"]["command"] == [
        "uv", "run", "--with", REQUIREMENT, "hf-sfda", "leaderboard", "update", BOARD, "--yes",
    ]  # fmt: skip
    assert job["spec"]["secrets"] == {"HF_TOKEN": hub.token}
    assert (job["schedule"], job["concurrency"]) == ("@daily", False)
    assert job["spec"]["timeoutSeconds"] == 6 * 3600

    out, _ = board("schedule", BOARD, "--yes")
    assert "runs @daily already" in out
    assert only(hub.state.scheduled_jobs)["id"] == job["id"]

    out, _ = board("schedule", BOARD, "--every", "0 6 * * 1", "--yes")
    assert "- @daily\n+ 0 6 * * 1\n" in out
    assert only(hub.state.scheduled_jobs) == {**job, "schedule": "0 6 * * 1"}

    out, _ = board("schedule", BOARD, "--flavor", "t4-small", "--yes")
    assert f"- scheduled Job {job['id']}" in out
    other = only(hub.state.scheduled_jobs)
    assert (other["spec"]["flavor"], other["schedule"]) == ("t4-small", "@daily")

    board("schedule", BOARD, "--flavor", "t4-small", "--renew", "--yes")
    assert only(hub.state.scheduled_jobs)["id"] != other["id"]


def test_a_schedule_cut_short_is_tidied_up_by_the_next_one(hub, board):
    board("schedule", BOARD, "--yes")
    hub.faults.add(path_regex="/api/scheduled-jobs/", method="DELETE")
    _, err = board("schedule", BOARD, "--flavor", "t4-small", "--yes", code=1)
    assert "Cannot schedule the update" in err
    assert len(hub.state.scheduled_jobs) == 2
    board("schedule", BOARD, "--flavor", "t4-small", "--yes")
    assert only(hub.state.scheduled_jobs)["spec"]["flavor"] == "t4-small"


def test_schedules_of_other_leaderboards_are_left_alone(hub, board):
    board("schedule", BOARD, "--yes")
    board("init", "me/my-board", "--config", "settings.yaml", "--yes")
    board("schedule", "me/my-board", "--yes")
    assert len(hub.state.scheduled_jobs) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--every", "often"], "'often'; write one of @annually"),
        (["--flavor", "huge"], "no hardware 'huge'. Allowed: cpu-basic"),
        (["--timeout", "soon"], "'soon'; write seconds, or 90m"),
    ],
)
def test_a_schedule_that_is_none(hub, board, options, said):
    _, err = board("schedule", BOARD, *options, code=1)
    assert said in err


def test_a_file_called_like_the_command_is_not_run_instead(hub, board):
    Path("hf-sfda").write_text("print('gotcha')")
    _, err = board("schedule", BOARD, "--yes", code=1)
    assert "A file here is called 'hf-sfda'" in err
    assert hub.state.scheduled_jobs == {}


def test_a_schedule_needs_a_leaderboard(hub, hf_sfda):
    _, err = hf_sfda("schedule", "me/none", code=1)
    assert "leaderboard init me/none" in err


# -- webhook


def test_a_webhook_is_made_once_and_follows_the_settings(hub, board):
    out, _ = board("webhook", BOARD)
    assert "+ watches dataset me/shapes\n+ watches model acme/vit\n" in out
    assert hub.state.webhooks == hub.state.jobs == {}
    board("webhook", BOARD, "--yes")
    hook, job = only(hub.state.webhooks), only(hub.state.jobs)
    assert hook["job"]["command"] == job["spec"]["command"]
    assert hook["job"]["secrets"] == {"HF_TOKEN": hub.token}
    assert hook["domains"] == ["repo"]
    assert "watches all of it already" in board("webhook", BOARD, "--yes")[0]
    out, _ = board("webhook", BOARD, "--watch", "org:acme", "--yes")
    assert "+ watches org acme" in out
    assert "watches dataset" not in out
    assert {"type": "org", "name": "acme"} in only(hub.state.webhooks)["watched"]
    assert len(hub.state.jobs) == 1, "the Job is not run again for that"
    board("webhook", BOARD, "--renew", "--yes")
    assert only(hub.state.webhooks)["id"] != hook["id"]


def test_a_webhook_for_a_receiver_of_ones_own(hub, board, monkeypatch):
    url = "https://example.org/hook"
    _, err = board("webhook", BOARD, "--url", url, code=1)
    assert "Set WEBHOOK_SECRET" in err
    monkeypatch.setenv("WEBHOOK_SECRET", HOOK_SECRET)
    _, err = board("webhook", BOARD, "--url", "http://example.org", code=1)
    assert "https://" in err
    board("webhook", BOARD, "--url", url, "--yes")
    hook = only(hub.state.webhooks)
    assert (hook["url"], hook["secret"]) == (url, HOOK_SECRET)
    assert hub.state.jobs == {}
    assert "already" in board("webhook", BOARD, "--url", url, "--yes")[0]
    board("webhook", BOARD, "--yes")
    assert len(hub.state.webhooks) == 2, "one that starts a Job is another thing"


def test_a_webhook_that_watches_nothing_known(hub, board):
    _, err = board("webhook", BOARD, "--watch", "planet:mars", code=1)
    assert "Cannot watch 'planet:mars'; write one of user:NAME, org:NAME" in err


# -- GitHub Actions


def test_a_workflow_is_written_and_kept(hub, board):
    path = Path(".github/workflows/board.yaml")
    asked = ["schedule", BOARD, "--github-actions", str(path), "--every", "@weekly"]
    out, _ = board(*asked)
    assert f"+      - run: hf-sfda leaderboard update {BOARD} --yes" in out
    assert not path.exists()
    board(*asked, "--yes")
    workflow = yaml.safe_load(path.read_text())
    assert workflow[True]["schedule"] == [{"cron": cron_of("@weekly")}]
    *_, step = workflow["jobs"]["update"]["steps"]
    assert step["env"] == {"HF_TOKEN": "${{ secrets.HF_TOKEN }}"}
    assert "says this already" in board(*asked, "--yes")[0]
    assert hub.state.scheduled_jobs == {}
    path.write_text("name: mine\n")
    _, err = board(*asked, "--yes", code=1)
    assert "not ours" in err
    assert path.read_text() == "name: mine\n"


def test_the_command_of_the_job_works_on_a_machine_that_has_nothing(hub, board, hub_env, tmp_path):
    factories.image_dataset(n_per_class=6, classes=2).push_to_hub("me/shapes", split="train")
    folder = factories.tiny_vit(tmp_path / "vit")
    factories.write_card(folder, library_name="transformers")
    hub.put("acme/vit", folder)
    board("schedule", BOARD, "--yes")
    spec = only(hub.state.scheduled_jobs)["spec"]
    assert spec["command"][:4] == ["uv", "run", "--with", REQUIREMENT]  # installs hf-sfda
    command = [str(Path(sys.executable).with_name(spec["command"][4])), *spec["command"][5:]]
    done = subprocess.run(
        command, env={**hub_env, **spec["secrets"]}, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert hub.token not in done.stdout + done.stderr
    assert b"| 1 | [acme/vit](" in hub.files(BOARD, "dataset")["README.md"]


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, hf_sfda.leaderboard\nprint([m for m in ('torch', 'transformers', 'yaml', "
    code += "'pyarrow', 'jinja2', 'huggingface_hub', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
