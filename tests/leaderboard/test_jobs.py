"""Schedule, webhook and workflow: planned, idempotent, and silent about secrets."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shlex
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from hf_sfda import __version__
from hf_sfda.cli import main
from hf_sfda.cli.leaderboard import _status_text
from hf_sfda.leaderboard.package import CLIENT, build_wheel, package_files
from hf_sfda.leaderboard.schedule import cron_of
from tests import factories

BOARD = "me/my.board"
SETTINGS = {"datasets": ["me/shapes"], "models": ["acme/vit"], "metric": "knn", "metrics": ["knn"],
            "samples": 12, "folds": 2, "resamples": 100, "permutations": 1}  # fmt: skip
INFO = f"hf_sfda-{__version__}.dist-info"
COPY = f"leaderboard/package/hf_sfda-{__version__}-py3-none-any.whl"
NEWER = "leaderboard/package/hf_sfda-9.9.0-py3-none-any.whl"
HOOK_SECRET = "a-long-random-text-that-nobody-knows"


@pytest.fixture
def hf_sfda(hub, tmp_path, monkeypatch, capsys):
    """The command, run in this process; no output may hold a secret."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setattr("hf_sfda.cli._options.send_warnings_to", lambda say: None)

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
    assert "is not a results dataset" in err
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
        assert "has schema version 99; this hf-sfda knows up to 3" in " ".join(err.split())
    assert hub.repo(BOARD).head is head
    assert not hub.state.scheduled_jobs and not hub.state.webhooks


def test_update_and_status_work_from_the_command_line(hub, board, tmp_path):
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
    assert set(done) == {"what", "url", "commit"}
    assert done["commit"] == hub.repo(BOARD).head.sha
    out, _ = board("status", BOARD, "--json")
    (one,) = json.loads(out)["datasets"]
    assert [m["model"] for m in one["pool"]] == ["acme/vit"]
    assert board("status", BOARD, "-q")[0] == "acme/vit\n"
    out, _ = board("status", BOARD, "--format", "human")
    assert "nothing is pending" in out
    assert re.search(r"\n      1  +\.?\d+\.?\d*  acme/vit\n", out)
    out, _ = board("update", BOARD, "--yes", "--format", "human")
    assert "Nothing to do: me/shapes is up to date (1 models)" in out


def test_status_shows_places_and_scores_as_a_ranking_does():
    models = [("a/a", 1, 0.87213), ("b/b", 1, 0.776), ("c/c", 2, 0.5)]
    status = {
        "dataset": "me/plants", "revision": "bdf45fc0000", "metric": "three_heads",
        "last_update": "2026-11-28", "without_score": {"d/d": "gated"}, "changed": [], "new": [],
        "pool": [
            {"model": model, "rank": rank, "tie_group": group, "value": value}
            for rank, (model, group, value) in enumerate(models, 1)
        ],
    }  # fmt: skip
    assert str(_status_text({"datasets": [status]})).splitlines() == [
        "me/plants @ bdf45fc, by three_heads, last update 2026-11-28",
        "    1-2    .872  a/a",
        "    1-2    .776  b/b",
        "      3    .500  c/c",
        "      -  d/d: gated",
        "  nothing is pending",
    ]


# -- schedule


def test_a_schedule_is_made_once_changed_and_renewed(hub, board):
    added = hub.repo(BOARD, "dataset").head.sha
    out, _ = board("schedule", BOARD)
    assert f"hf download {BOARD} {COPY} --repo-type dataset --revision {added}" in out
    assert f"hf-sfda leaderboard update {BOARD} --yes" in out
    assert hub.state.scheduled_jobs == {}
    board("schedule", BOARD, "--yes")
    job = only(hub.state.scheduled_jobs)
    assert job["spec"]["command"][-4:] == ["leaderboard", "update", BOARD, "--yes"]
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
    ("options", "message"),
    [
        (["--every", "often"], "'often'; write one of @annually"),
        (["--flavor", "huge"], "no hardware 'huge'. Allowed: cpu-basic"),
        (["--timeout", "soon"], "'soon'; write seconds, or 90m"),
    ],
)
def test_a_bad_schedule_is_refused(hub, board, options, message):
    _, err = board("schedule", BOARD, *options, code=1)
    assert message in err


def test_a_file_called_like_the_command_is_not_run_instead(hub, board):
    board("schedule", BOARD, "--yes")
    command = only(hub.state.scheduled_jobs)["spec"]["command"]
    for name in ("hf-sfda", "bash", "leaderboard"):
        Path(name).write_text("print('gotcha')")
    assert "runs @daily already" in board("schedule", BOARD, "--yes")[0]
    board("schedule", BOARD, "--renew", "--yes")
    assert only(hub.state.scheduled_jobs)["spec"]["command"] == command


def test_the_job_stays_at_its_commit_while_results_are_added(hub, board):
    board("schedule", BOARD, "--yes")
    hub.put(BOARD, {"notes.md": b"x"}, repo_type="dataset")
    assert "runs @daily already" in board("schedule", BOARD, "--yes")[0]


def test_an_index_is_used_where_a_release_is_named(hub, board):
    board("schedule", BOARD, "--requirement", "hf-sfda[timm]==9.9", "--yes")
    assert only(hub.state.scheduled_jobs)["spec"]["command"] == [
        "uv", "run", "--with", "hf-sfda[timm]==9.9", "hf-sfda", "leaderboard", "update", BOARD,
        "--yes",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["schedule", "webhook"])
def test_a_leaderboard_without_a_copy_says_how_to_get_one(hub, board, command):
    files = {path: data for path, data in hub.files(BOARD, "dataset").items() if path != COPY}
    hub.put("me/older", files, repo_type="dataset")
    _, err = board(command, "me/older", "--yes", code=1)
    assert "holds no copy of hf-sfda that could be installed" in err
    assert "`hf-sfda leaderboard init me/older`" in " ".join(err.split())
    board("init", "me/older", "--yes")
    assert hub.files("me/older", "dataset")["leaderboard.yaml"] == files["leaderboard.yaml"]
    board(command, "me/older", "--yes")


# -- the copy of hf-sfda


def test_a_newer_version_updates_the_copy_through_its_plan(hub, board, monkeypatch):
    board("schedule", BOARD, "--yes")
    job = only(hub.state.scheduled_jobs)
    before = hub.files(BOARD, "dataset")
    assert "Nothing to do" in board("init", BOARD, "--yes")[0]
    newer = {**package_files(), "hf_sfda/new.py": b"X = 1\n"}
    monkeypatch.setattr("hf_sfda.leaderboard.package.package_files", lambda: newer)
    monkeypatch.setattr("hf_sfda.leaderboard.package._NAME", "hf_sfda-9.9.0")

    out, err = board("init", BOARD)
    assert f"+++ b/{NEWER}" in out
    assert f"--- a/{COPY}" in out
    assert out.count("a wheel of hf-sfda, ") == 2
    assert hub.files(BOARD, "dataset") == before
    (expect,) = re.findall(r"--expect ([0-9a-f]{12})", " ".join(err.split()))

    # Other bytes than those that were planned are not written.
    monkeypatch.setattr(
        "hf_sfda.leaderboard.package.package_files", lambda: {**newer, "hf_sfda/more.py": b""}
    )
    board("init", BOARD, "--yes", "--expect", expect, code=1)
    assert hub.files(BOARD, "dataset") == before
    monkeypatch.setattr("hf_sfda.leaderboard.package.package_files", lambda: newer)
    _, err = board("init", BOARD, "--yes", "--expect", expect, "--format", "human")
    assert "Jobs use the new copy once they are scheduled again" in " ".join(err.split())

    after = hub.files(BOARD, "dataset")
    assert set(after) - set(before) == {NEWER}
    assert set(before) - set(after) == {COPY}
    assert {path: after[path] for path in set(after) & set(before)} == {
        path: before[path] for path in set(after) & set(before)
    }
    board("schedule", BOARD, "--yes")
    other = only(hub.state.scheduled_jobs)
    assert other["id"] != job["id"]
    assert NEWER in " ".join(other["spec"]["command"])


def test_the_wheel_is_the_one_that_the_build_makes(tmp_path):
    """Same files, same requirements; and the same bytes whenever it is made."""
    wheel = build_wheel()
    assert wheel == build_wheel()
    path = tmp_path / Path(COPY).name
    path.write_bytes(wheel)
    built = build_with_hatchling(tmp_path / "built")
    with zipfile.ZipFile(path) as ours, zipfile.ZipFile(built) as theirs:
        assert path.name == built.name
        inside = [{n for n in one.namelist() if ".dist-info/" not in n} for one in (ours, theirs)]
        assert inside[0] == inside[1]
        assert all(ours.read(name) == theirs.read(name) for name in inside[0])
        ours_says, theirs_says = (
            importlib.metadata.PathDistribution(zipfile.Path(one, f"{INFO}/"))
            for one in (ours, theirs)
        )
        assert ours_says.version == theirs_says.version
        assert set(ours_says.requires) == set(theirs_says.requires)
        assert ours_says.metadata["Requires-Python"] == theirs_says.metadata["Requires-Python"]
        assert ours_says.metadata.get_all("Provides-Extra") == (
            theirs_says.metadata.get_all("Provides-Extra")
        )
        assert list(ours_says.entry_points) == list(theirs_says.entry_points)


def build_with_hatchling(out: Path) -> Path:
    out.mkdir()
    code = "from hatchling.build import build_wheel\nprint(build_wheel(__import__('sys').argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip
    return out / done.stdout.strip().splitlines()[-1]


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


def test_a_webhook_for_an_own_receiver_needs_https_and_a_secret(hub, board, monkeypatch):
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


def test_a_webhook_that_watches_an_unknown_kind_is_refused(hub, board):
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


@pytest.mark.parametrize(
    "requirement", ['x; python_version < "3.13"', "x$(id)", "`id`", "a: b", "a #b", "a\nb", "a\\b"]
)
def test_a_requirement_that_breaks_the_workflow_is_refused(hub, board, requirement):
    asked = ["schedule", BOARD, "--github-actions", "board.yaml", "--requirement", requirement]
    _, err = board(*asked, "--yes", code=1)
    assert "which a workflow cannot hold as it is" in err
    assert not Path("board.yaml").exists()


def test_a_requirement_with_a_marker_stays_what_it_is(hub, board):
    requirement = "hf-sfda[timm] @ https://example.org/x.whl ; python_version < '3.13'"
    asked = ["schedule", BOARD, "--github-actions", "board.yaml", "--requirement", requirement]
    board(*asked, "--yes")
    workflow = yaml.safe_load(Path("board.yaml").read_text())
    _, install, _ = workflow["jobs"]["update"]["steps"]
    *_, given = shlex.split(install["run"])
    assert given == requirement


@pytest.fixture
def machine(hub_env, tmp_path) -> dict[str, str]:
    """The environment of a machine without hf-sfda, where installing needs no index.

    What hf-sfda depends on is there already. `uv run --with WHAT` makes a fresh environment and
    installs WHAT without its dependencies, with pip.
    """
    programs, libraries = tmp_path / "programs", tmp_path / "libraries"
    programs.mkdir()
    libraries.mkdir()
    installed = Path(sysconfig.get_path("purelib"))
    for entry in installed.iterdir():
        if "hf_sfda" not in entry.name:
            (libraries / entry.name).symlink_to(entry)
    script = UV.format(python=sys.executable, libraries=libraries, venvs=tmp_path)
    for name in ("uv", "hf"):
        (programs / name).write_text(script if name == "uv" else HF.format(python=sys.executable))
        (programs / name).chmod(0o755)
    env = {name: value for name, value in hub_env.items() if name not in ("PYTHONPATH", "HF_TOKEN")}
    return {**env, "PATH": f"{programs}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}


UV = """#!{python}
import os, subprocess, sys, tempfile, venv
from pathlib import Path

assert sys.argv[1:3] == ["run", "--with"], sys.argv
what, command = sys.argv[3], sys.argv[4:]
if what.startswith("huggingface_hub"):
    os.execvp(command[0], command)
folder = tempfile.mkdtemp(prefix="venv-", dir="{venvs}")
venv.create(folder, with_pip=False, symlinks=True)
(path,) = Path(folder).glob("lib/python*/site-packages")
(path / "libraries.pth").write_text("{libraries}\\n")
pip = ["{python}", "-m", "pip", "--python", folder + "/bin/python", "install", "--no-index"]
subprocess.run([*pip, "--no-deps", what], check=True, stdout=sys.stderr)
os.environ["PATH"] = folder + "/bin:" + os.environ["PATH"]
os.execvp(command[0], command)
"""
HF = """#!{python}
from huggingface_hub.cli.hf import main
main()
"""


@pytest.mark.slow  # `rank --on-jobs` runs on the same machine in tests/cli/test_jobs.py
def test_the_command_of_the_job_works_on_a_machine_that_has_nothing(hub, board, machine, tmp_path):
    """For a private leaderboard; the next test but one has a public one."""
    factories.image_dataset(n_per_class=6, classes=2).push_to_hub("me/shapes", split="train")
    folder = factories.tiny_vit(tmp_path / "vit")
    factories.write_card(folder, library_name="transformers")
    hub.put("acme/vit", folder)
    hub.set(BOARD, repo_type="dataset", private=True)
    board("schedule", BOARD, "--yes")
    spec = only(hub.state.scheduled_jobs)["spec"]
    # Whoever may write to the leaderboard cannot change what runs with the owner's token.
    hub.put(BOARD, {COPY: b"not a wheel"}, repo_type="dataset")
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    done = subprocess.run(
        spec["command"], env={**machine, **spec["secrets"]}, cwd=nowhere,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert hub.token not in done.stdout + done.stderr
    assert b"| 1 | [acme/vit](" in hub.files(BOARD, "dataset")["README.md"]
    assert list(nowhere.iterdir()) == []


@pytest.mark.slow
def test_the_machine_of_the_test_has_no_hf_sfda(machine):
    """Else the test above would prove nothing."""
    script = 'uv run --with "$0" hf-sfda --version'
    done = subprocess.run(
        ["bash", "-c", script, "hf-sfda[timm]==0.1.0"],
        env=machine, capture_output=True, text=True,
    )  # fmt: skip
    assert "No matching distribution found for hf-sfda" in done.stderr


@pytest.mark.slow
def test_the_workflow_installs_and_updates(hub, board, machine, tmp_path):
    """Its steps, one after the other, as a runner of GitHub would."""
    factories.image_dataset(n_per_class=6, classes=2).push_to_hub("me/shapes", split="train")
    factories.write_card(factories.tiny_vit(tmp_path / "vit"), library_name="transformers")
    hub.put("acme/vit", tmp_path / "vit")
    board("schedule", BOARD, "--github-actions", "board.yaml", "--yes")
    workflow = yaml.safe_load(Path("board.yaml").read_text())
    _, install, update = workflow["jobs"]["update"]["steps"]
    token = {"HF_TOKEN": hub.token}
    assert install["env"] == update["env"] == {"HF_TOKEN": "${{ secrets.HF_TOKEN }}"}
    client, download, package = install["run"].splitlines()
    assert client == f'python -m pip install "{CLIENT}"'  # is there already
    folder = tmp_path / "runner"
    folder.mkdir()
    name = re.fullmatch(r'python -m pip install "(.+)"', package)[1]
    for command in (download, f'uv run --with "{name}" {update["run"]}'):
        done = subprocess.run(
            ["bash", "-c", command], env={**machine, **token}, cwd=folder,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert b"| 1 | [acme/vit](" in hub.files(BOARD, "dataset")["README.md"]


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, hf_sfda.leaderboard\nprint([m for m in ('torch', 'transformers', 'yaml', "
    code += "'pyarrow', 'jinja2', 'huggingface_hub', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
