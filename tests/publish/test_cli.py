"""``hf-sfda publish`` as a user runs it, in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hf_sfda.cli import main
from tests.publishing import SECRET, make_ranking, save_run

HF_SFDA = Path(sys.executable).with_name("hf-sfda")
CARD = "---\nlicense: mit  # free\n---\n# A model\n"


@pytest.fixture
def runs(hub, tmp_path, monkeypatch):
    """The Hub and the working directory of a user who has ranked and has a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in ("acme/vit", "me/resnet"):
        hub.put(name, {"README.md": CARD})
    return save_run(tmp_path / "runs" / "plants")


@pytest.fixture
def hf_sfda(hub, runs, monkeypatch, capsys):
    """The command, run in this process: to start one costs more than all it does."""
    monkeypatch.setattr("hf_sfda.cli._options.send_warnings_to", lambda say: None)

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["hf-sfda", "publish", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert (end.value.code or 0) == code, err
        for secret in (SECRET, hub.token):
            assert secret not in out + err
        return out, err

    return run


def commits(hub) -> int:
    return sum(len(repo.commits) for repo in hub.state.repos.values())


def test_the_command_shows_the_plan_carries_it_out_and_then_finds_nothing_to_do(hub, hf_sfda):
    asked = ["runs/plants", "--to", "me/results", "--card", "me/resnet", "--create-pr", "acme/vit",
             "--collection", "For plants", "--top", "1", "--format", "human"]  # fmt: skip
    before = commits(hub)
    out, err = hf_sfda(*asked)
    for part in (
        "1. dataset me/results: a new public repository",
        "2. model me/resnet: one commit to main",
        "3. model acme/vit: opens a pull request",
        "4. a new collection 'For plants' of me",
        "+model-index:",
        "+| 1 | [acme/vit](",
    ):
        assert part in out
    assert max(map(len, out.splitlines())) > 120, "a diff is not wrapped"
    assert "Nothing was written" in err
    assert commits(hub) == before
    assert len(hub.state.repos) == 2

    (expect,) = re.findall(r"--expect ([0-9a-f]{12})", " ".join(err.split()))
    out, err = hf_sfda(*asked, "--yes", "--expect", expect)
    assert "+model-index:" in out, "the plan is shown first"
    assert err.count("Done") == 4
    assert b"hf-sfda:begin" in hub.files("me/resnet")["README.md"]
    assert len(hub.repo("acme/vit").discussions) == 1
    assert hub.files("acme/vit")["README.md"].decode() == CARD

    before = commits(hub)
    out, _ = hf_sfda(*asked, "--yes")
    assert out.count("Nothing to do:") == 4
    assert commits(hub) == before


def test_json_is_one_document_and_quiet_is_addresses(hub, hf_sfda):
    out, _ = hf_sfda("runs/plants", "--to", "me/results", "--json")
    plan = json.loads(out)
    assert [file["path"] for file in plan["steps"][0]["files"]][1] == "README.md"
    assert plan["steps"][0]["files"][0]["change"] == "new"
    assert plan["done"] == []
    out, _ = hf_sfda("runs/plants", "--to", "me/results", "--yes", "-q")
    assert out.strip() == f"{hub.url}/datasets/me/results/commit/" + hub.repo("me/results").head.sha
    out, _ = hf_sfda("runs/plants", "--to", "me/results", "--yes", "--json")
    assert json.loads(out)["steps"] == []


def test_a_plan_other_than_the_expected_one_is_refused(hub, hf_sfda, tmp_path):
    out, _ = hf_sfda("runs/plants", "--to", "me/results", "--json")
    shown = json.loads(out)["digest"]
    save_run(tmp_path / "runs" / "plants", make_ranking({"acme/vit": 0.1}))
    _, err = hf_sfda("runs/plants", "--to", "me/results", "--yes", "--expect", shown, code=1)
    assert f"not {shown}: something changed" in err
    assert len(hub.state.repos) == 2


def test_failures_are_one_line_without_the_token(hub, hf_sfda, monkeypatch):
    _, err = hf_sfda("runs/none", "--to", "me/results", code=1)
    assert "Cannot read runs/none/ranking.json" in err
    _, err = hf_sfda("runs/plants", "--to", "acme/results", code=1)
    assert "belongs to acme" in err
    Path("token").write_text(SECRET)
    _, err = hf_sfda("runs/plants", "--to", "me/results", "--token-file", "token", code=1)
    assert "check that the token is valid" in err
    assert "Traceback" not in err
    _, err = hf_sfda("runs/plants", code=2)
    assert "--to" in err
    monkeypatch.setenv("HF_TOKEN", hub.read_token)
    _, err = hf_sfda("runs/plants", "--to", "me/results", code=1)
    assert "may only read" in err


def test_the_installed_command_publishes(hub, runs, hub_env, tmp_path):
    done = subprocess.run(
        [HF_SFDA, "publish", "runs/plants", "--to", "me/results", "--yes", "-q"],
        env=hub_env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(hub.repo("me/results").head.sha)
    assert done.stderr == ""


def test_a_secret_inside_a_run_never_leaves(hub, hf_sfda, tmp_path):
    from hf_sfda.types import ModelRow

    row = ModelRow("acme/x", None, "failed", f"401 for Bearer {SECRET}")
    save_run(tmp_path / "runs" / "plants", make_ranking(extra_rows=(row,)))
    hf_sfda("runs/plants", "--to", "me/results", "--yes", "--format", "agent")
    for content in hub.files("me/results", "dataset").values():
        assert SECRET.encode() not in content
    assert SECRET not in (tmp_path / "runs" / "plants" / "journal.jsonl").read_text()


def test_importing_the_command_loads_nothing_heavy():
    code = "import sys, hf_sfda.cli, hf_sfda.publish\nprint([m for m in ('torch', 'transformers', "
    code += "'pandas', 'pyarrow', 'jinja2', 'huggingface_hub', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_token_in_any_log_whatever_its_level(hub, runs, caplog, monkeypatch):
    from hf_sfda.hub.plan import execute
    from hf_sfda.publish import plan_publication
    from hf_sfda.space.deploy import plan_deploy
    from hf_sfda.space.deploy.options import make_options

    monkeypatch.setenv("MY_SECRET", SECRET)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    caplog.set_level(0)
    hub.faults.add(path_regex="/api/whoami-v2", status=429, times=1)
    hub.faults.add(path_regex="/api/datasets/me/results$", action="drop", times=1)
    execute(plan_publication(runs, to="me/results", cards=["me/resnet"], create_pr="acme/vit"))
    execute(plan_deploy("me/b", "me/results", make_options("me/results", secrets=["MY_SECRET"])))
    assert hub.repo("me/b", "space").space["secrets"]["MY_SECRET"]["value"] == SECRET
    assert "trying again" in caplog.text, "something is logged"
    for secret in (hub.token, SECRET):
        assert secret not in caplog.text
