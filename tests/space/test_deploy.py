"""``hf-sfda space deploy`` over HTTP: what a Space holds, and that it is ours to change."""

from __future__ import annotations

import html
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi

from hf_sfda.cli import main
from hf_sfda.errors import ConfigError, PublishError
from hf_sfda.hub.plan import Plan, execute
from hf_sfda.publish import plan_publication
from hf_sfda.space.deploy import plan_deploy
from hf_sfda.space.deploy.files import space_files
from hf_sfda.space.deploy.options import make_options
from tests.processes import with_default_signals
from tests.publishing import SECRET, save_run

ROOT = Path(__file__).parents[2]
SPACE, RESULTS = "me/board", "me/results"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    real = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: real(min(seconds, 0.01)))


@pytest.fixture
def results(hub, tmp_path):
    """A Hub with results of ours."""
    execute(plan_publication(save_run(tmp_path / "run"), to=RESULTS))
    hub.requests.clear()
    return hub


def plan_it(space: str = SPACE, *, results: str = RESULTS, token=None, **options) -> Plan:
    return plan_deploy(space, results, make_options(results, **options), token=token)


def deploy(space: str = SPACE, **options):
    plan = plan_it(space, **options)
    return plan, execute(plan, options.get("token"))


def settings(hub, space: str = SPACE) -> dict[str, dict[str, str]]:
    kept = hub.repo(space, "space").space
    return {
        kind: {name: one["value"] for name, one in kept[kind].items()}
        for kind in ("variables", "secrets")
    }


def hardware(hub, space: str = SPACE) -> tuple[str, int | None]:
    runtime = hub.repo(space, "space").space["runtime"]
    return runtime["hardware"]["requested"], runtime["gcTimeout"]


def files(hub, space: str = SPACE) -> dict[str, bytes]:
    return hub.files(space, "space")


def readme(hub, space: str = SPACE) -> str:
    return files(hub, space)["README.md"].decode()


def front(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def writes(hub) -> list[str]:
    """What was asked of the Hub that changes something."""
    return [
        f"{r.method} {r.path}"
        for r in hub.requests
        if r.method not in ("GET", "HEAD") and "/paths-info/" not in r.path
    ]


# -- what a Space holds


def test_the_space_holds_the_app_its_requirements_and_this_very_package():
    held = space_files()
    assert held["app.py"] == (ROOT / "space" / "app.py").read_bytes()
    assert held["requirements.txt"] == (ROOT / "space" / "requirements.txt").read_bytes()
    git = ["git", "-C", str(ROOT), "ls-files", "hf_sfda", "cards", "space"]
    known = subprocess.run(git, capture_output=True, text=True, check=True).stdout.splitlines()
    moved = {"cards/": "hf_sfda/_cards/", "space/": "hf_sfda/_space/"}
    for path in known:
        place = next((path.replace(a, b, 1) for a, b in moved.items() if path.startswith(a)), path)
        if (ROOT / path).exists():
            assert held[place] == (ROOT / path).read_bytes(), path
    for path in held:
        assert "__pycache__" not in path and not path.endswith(".pyc")
        assert path in ("app.py", "requirements.txt") or path.startswith("hf_sfda/")


def test_requirements_are_what_is_tested_with():
    """Every pin is that of constraints.txt, and every dependency that is pinned there is here."""
    from importlib.metadata import requires

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    def pins(name: str) -> dict[str, str]:
        lines = [line for line in (ROOT / name).read_text().splitlines() if line[:1].isalpha()]
        found = [Requirement(line) for line in lines]
        return {canonicalize_name(one.name): str(one.specifier) for one in found}

    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    extras = ("space", "timm", "audio", "mcp")
    direct = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    waiting, needed = [Requirement(line) for line in direct], {"spaces"}
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name == "hf-sfda" or (name in needed and not one.extras):
            continue
        needed.add(name)
        for line in requires(name) or ():
            child = Requirement(line)
            extras = [{"extra": extra} for extra in ("", *one.extras)]
            if child.marker is None or any(child.marker.evaluate(extra) for extra in extras):
                if canonicalize_name(child.name) not in needed:
                    waiting.append(child)
    tested, installed = pins("constraints.txt"), pins("space/requirements.txt")
    assert installed == {name: pin for name, pin in tested.items() if name in needed}
    version = front((ROOT / "space" / "README.md").read_text())["sdk_version"]
    assert f"=={version}" == tested["gradio"]


def test_the_card_is_one_the_hub_accepts():
    about = front((ROOT / "space" / "README.md").read_text())
    assert (about["sdk"], about["app_file"], about["hf_oauth"]) == ("gradio", "app.py", True)
    assert about["hf_oauth_scopes"] == ["read-repos", "gated-repos"]
    assert about["tags"] == ["leaderboard"]
    assert len(about["short_description"]) <= 60, "the Hub's limit"
    colours = ["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"]
    assert about["colorFrom"] in colours and about["colorTo"] in colours
    major, minor, *_ = map(int, str(about["python_version"]).split("."))
    assert (major, minor) >= (3, 11), "what hf_sfda needs"


# -- from nothing to a Space


def test_the_plan_names_every_file_and_writes_nothing(results):
    plan = plan_it(hardware="zero-a10g", sleep=600, variables=["HF_SFDA_MAX_SAMPLES=500"])
    text = plan.render()
    assert "1. space me/board: a new public Space on zero-a10g\n" in text
    assert "+ variable HF_SFDA_RESULTS=me/results\n" in text
    assert "+ variable HF_SFDA_MAX_SAMPLES=500\n" in text
    assert "+ sleeps after 600 s without a visitor" in text
    assert "2. space me/board: one commit to main\n" in text
    assert {file.path for file in plan.steps[1].files} == {*space_files(), "README.md"}
    for path in ("new     app.py", "new     hf_sfda/space/deploy/plan.py", "new     README.md"):
        assert path in text
    assert "+from hf_sfda.space.app import launch_on_hub\n" in text
    assert "+sdk: gradio\n" in text
    assert "files of hf-sfda" in text
    assert "+def plan_deploy" not in text, "the package is not printed"
    assert writes(results) == []
    assert ("spaces", SPACE) not in results.state.repos


def test_a_space_is_made_with_its_settings_and_then_filled(results, api: HfApi):
    _, done = deploy(hardware="zero-a10g", sleep=600, variables=["HF_SFDA_MAX_SAMPLES=500"])
    assert [one.description for one in done] == ["space me/board: made", "space me/board"]
    assert done[1].commit == results.repo(SPACE, "space").head.sha
    made, *rest = writes(results)
    assert made == "POST /api/repos/create"
    assert [one for one in rest if "/commit/" in one] == [rest[-1]]
    held = files(results)
    held.pop(".gitattributes")
    text = held.pop("README.md").decode()
    assert held == space_files()
    assert settings(results)["variables"] == {
        "HF_SFDA_RESULTS": RESULTS,
        "HF_SFDA_MAX_SAMPLES": "500",
    }
    assert hardware(results) == ("zero-a10g", 600)
    assert front(text)["datasets"] == [RESULTS]
    assert "Check out the configuration reference" not in text, "the Hub's own words are replaced"
    assert text.count("<!-- hf-sfda:begin space -->") == 1
    assert "hf-sfda space deploy me/board --results me/results" in text
    info = api.space_info(SPACE)
    assert (info.card_data.title, info.private) == ("Which checkpoint should I fine-tune?", False)


def test_deploying_twice_changes_nothing(results):
    options = {"hardware": "zero-a10g", "sleep": 600, "variables": ["HF_SFDA_JOBS=2"]}
    deploy(**options)
    results.requests.clear()
    plan, done = deploy(**options)
    assert (plan.steps, done) == ((), [])
    assert plan.up_to_date == ("space me/board is deployed like this already",)
    assert writes(results) == []
    assert deploy()[0].steps == (), "what is not named is left as it is"
    assert hardware(results) == ("zero-a10g", 600)


def test_a_space_is_private_if_asked_for(results):
    plan, _ = deploy(private=True)
    assert "a new private Space" in plan.render()
    assert results.repo(SPACE, "space").private


def test_an_organisation_of_ours_is_ours(results):
    token = results.account("me", orgs=("acme",))
    deploy("acme/board", token=token)
    assert "app.py" in files(results, "acme/board")


def test_results_of_somebody_else_may_be_shown(results, tmp_path):
    theirs = results.account("acme")
    run = save_run(tmp_path / "theirs")
    execute(plan_publication(run, to="acme/results", token=theirs), theirs)
    deploy(results="acme/results")
    assert settings(results)["variables"]["HF_SFDA_RESULTS"] == "acme/results"


# -- a new version


@pytest.fixture
def older(results):
    """A Space that an older version deployed, and whose owner wrote in it."""
    deploy()
    held = files(results)
    card = held["README.md"].decode()
    card = card.replace("title: Which checkpoint should I fine-tune?", 'title:  "Pets"  # mine')
    card = card.replace("emoji: 🧭\n", "").replace("sdk_version: 6.31.0", "sdk_version: 6.0.0")
    card = card.replace("- leaderboard\n", "- leaderboard\n- pets\n")
    card = card.replace("# Which checkpoint should I fine-tune?", "# Pets!\n\nHello.  ")
    new = {
        "README.md": card + "\n## Thanks\n",
        "app.py": "import gradio\n",
        "hf_sfda/gone.py": "X = 1\n",
        "hf_sfda/old/[x]*.py": "Y = 2\n",
        "hf_sfda/scoring.py": "# old\n",
        "notes/mine.md": "mine",
    }
    results.put(SPACE, new, repo_type="space")
    repo = results.repo(SPACE, "space")
    repo.head.files.pop("hf_sfda/store.py")
    return results


def test_a_new_version_replaces_its_own_files_and_nothing_else(older):
    before = readme(older)
    plan, _ = deploy()
    changes = {file.path: file.verb for file in plan.steps[0].files}
    assert changes == {
        "README.md": "changed",
        "app.py": "changed",
        "hf_sfda/gone.py": "deleted",
        "hf_sfda/old/[x]*.py": "deleted",
        "hf_sfda/scoring.py": "changed",
        "hf_sfda/store.py": "new",
    }
    text = plan.render()
    assert "   deleted hf_sfda/gone.py\n" in text
    assert "--- a/hf_sfda/gone.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-X = 1\n" in text
    assert "-# old\n" in text
    held, ours = files(older), space_files()
    assert {k: v for k, v in held.items() if k in ours} == ours
    assert set(held) == {*ours, "README.md", ".gitattributes", "notes/mine.md"}
    assert held["notes/mine.md"] == b"mine"
    after = readme(older)
    assert after == before.replace("sdk_version: 6.0.0", "sdk_version: 6.31.0")
    assert "emoji" not in front(after), "what its owner took out stays out"
    assert deploy()[0].steps == ()


def test_only_what_changed_is_fetched(older):
    older.requests.clear()
    plan_it()
    fetched = {
        r.path.split("/resolve/")[1].split("/", 1)[1] for r in older.seen("GET", "/resolve/")
    }
    assert fetched == {
        "README.md",
        "app.py",
        "hf_sfda/gone.py",
        "hf_sfda/old/[x]*.py",
        "hf_sfda/scoring.py",
    }


def test_other_results_change_the_variable_and_the_card(results, tmp_path):
    deploy()
    execute(plan_publication(save_run(tmp_path / "other"), to="me/other"))
    plan, _ = deploy(results="me/other")
    assert "- variable HF_SFDA_RESULTS=me/results\n+ variable HF_SFDA_RESULTS=me/other\n" in (
        plan.render()
    )
    assert [step.where().split(":")[1].split(",")[0] for step in plan.steps] == [
        " variables",
        " one commit to main",
    ]
    assert front(readme(results))["datasets"] == ["me/other"]
    assert "datasets/me/other" in readme(results)


def test_a_space_made_by_hand_keeps_its_card(results, api: HfApi):
    api.create_repo(SPACE, repo_type="space", space_sdk="gradio")
    card = readme(results).replace("title: Board", "title: Pets")
    results.put(SPACE, {"README.md": card, "LICENSE": "x"}, repo_type="space", title="Pets")
    deploy()
    about = front(readme(results))
    assert (about["title"], about["emoji"], about["sdk_version"]) == ("Pets", "🐠", "6.31.0")
    assert about["short_description"] == "Checkpoints ranked for your dataset, with error bars"
    assert about["hf_oauth_scopes"] == ["read-repos", "gated-repos"]
    assert "Check out the configuration reference" in readme(results)
    assert settings(results)["variables"] == {"HF_SFDA_RESULTS": RESULTS}


def test_a_space_without_a_card_gets_one(results, api: HfApi):
    api.create_repo(SPACE, repo_type="space", space_sdk="gradio")
    del results.repo(SPACE, "space").head.files["README.md"]
    deploy()
    assert front(readme(results))["datasets"] == [RESULTS]


# -- settings


def test_variables_of_others_stay_and_equal_ones_are_not_repeated(results, api: HfApi):
    deploy(variables=["HF_SFDA_JOBS=2"])
    api.add_space_variable(SPACE, "THEIRS", "1")
    results.requests.clear()
    plan, _ = deploy(variables=["HF_SFDA_JOBS=3"])
    assert len(results.seen("POST", "/variables")) == 1
    assert "- variable HF_SFDA_JOBS=2\n+ variable HF_SFDA_JOBS=3\n" in plan.render()
    assert settings(results)["variables"] == {
        "HF_SFDA_RESULTS": RESULTS,
        "HF_SFDA_JOBS": "3",
        "THEIRS": "1",
    }


def test_secrets_are_taken_from_the_environment_and_never_shown(results, monkeypatch):
    monkeypatch.setenv("MY_SECRET", SECRET)
    for time_ in ("new", "again"):
        plan, done = deploy(secrets=["MY_SECRET"])
        text = "+ secret MY_SECRET, from your environment; its current value cannot be read"
        assert text in plan.render()
        everything = plan.render() + json.dumps(plan.to_dict()) + repr(plan) + repr(done)
        assert SECRET not in everything
        assert len(plan.steps) == (2 if time_ == "new" else 1), "it cannot be read back"
        digest = plan.digest
    assert settings(results)["secrets"] == {"MY_SECRET": SECRET}
    monkeypatch.setenv("MY_SECRET", "another-value")
    assert plan_it(secrets=["MY_SECRET"]).digest == digest, "no digest of a secret either"
    deploy(secrets=["MY_SECRET"])
    assert settings(results)["secrets"] == {"MY_SECRET": "another-value"}


def test_hardware_and_sleep_are_asked_for_once(results):
    deploy(hardware="zero-a10g")
    plan, done = deploy(hardware="t4-small", sleep=300)
    assert [step.where() for step in plan.steps] == ["space me/board: hardware"]
    assert "- zero-a10g\n+ t4-small\n" in plan.render()
    assert hardware(results) == ("t4-small", 300)
    assert done[0].url.endswith("/spaces/me/board/settings")
    results.requests.clear()
    plan, _ = deploy(hardware="t4-small", sleep=-1)
    assert "- sleeps after 300 s without a visitor\n+ never sleeps\n" in plan.render()
    assert "t4-small" not in plan.render()
    assert writes(results) == ["POST /api/spaces/me/board/sleeptime"]
    assert deploy(hardware="t4-small", sleep=-1)[0].steps == ()
    assert hardware(results) == ("t4-small", -1)


def test_files_go_before_hardware_and_after_settings(older, monkeypatch):
    monkeypatch.setenv("HF_TOKEN_OF_SPACE", "read-only-value")
    plan, _ = deploy(
        variables=["HF_SFDA_JOBS=2"], secrets=["HF_TOKEN_OF_SPACE"], hardware="t4-small"
    )
    wheres = [step.where() for step in plan.steps]
    assert wheres[0] == "space me/board: variables and secrets"
    assert wheres[1].startswith("space me/board: one commit to main, on ")
    assert wheres[2] == "space me/board: hardware"


# -- what to know before


def test_private_results_need_a_token_and_a_private_space(results, monkeypatch):
    results.set(RESULTS, private=True)
    plan = plan_it()
    assert len(plan.warnings) == 2
    assert "space me/board is public: everybody would see the results" in plan.warnings[0]
    assert "pass --secret HF_TOKEN=VARIABLE" in plan.warnings[1]
    monkeypatch.setenv("HF_TOKEN", results.token)
    (warning,) = plan_it(private=True, secrets=["HF_TOKEN"]).warnings
    assert "is the token you deploy with, which may write" in warning
    monkeypatch.setenv("READ_TOKEN", results.read_token)
    assert deploy(private=True, secrets=["HF_TOKEN=READ_TOKEN"])[0].warnings == ()
    assert settings(results)["secrets"] == {"HF_TOKEN": results.read_token}
    assert plan_it(variables=["HF_SFDA_JOBS=2"]).warnings == (), "it has a token already"


# -- refusals


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"app.py": "x"}, "holds another app: app.py. It is left as it is"),
        ({"Dockerfile": "x", "a.py": "y"}, "Dockerfile and 1 more files"),
        (
            {"README.md": "---\ntitle: [\n---\n"},
            r"README.md of space me/board is not valid YAML: .* line",
        ),
        (
            {"README.md": "# x\n<!-- hf-sfda:begin space -->\n", "app.py": "x"},
            "1 x `<!-- hf-sfda:begin space -->` and 0 x",
        ),
        ({"README.md": "---\n{title: x}\n---\n"}, "cannot be extended"),
    ],
)
def test_what_is_not_ours_is_left_alone(results, held, message):
    results.put(SPACE, held, repo_type="space")
    head = results.repo(SPACE, "space").head
    with pytest.raises(PublishError, match=message):
        plan_it()
    assert results.repo(SPACE, "space").head is head
    assert writes(results) == []


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ("acme/board", {}, "acme/board belongs to acme, and you are me. .* such as me/board"),
        (SPACE, {"results": "me/none"}, "dataset me/none is not on the Hub, or this token may not"),
        (SPACE, {"results": "me/plants"}, "dataset me/plants holds no results of hf-sfda"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(results, space, options, message):
    results.put("me/plants", {"train/a.csv": "1"}, repo_type="dataset")
    with pytest.raises(PublishError, match=message):
        plan_it(space, **options)
    assert writes(results) == []


@pytest.mark.parametrize("exists", [True, False])
def test_a_token_that_may_only_read_is_refused(results, exists):
    if exists:
        deploy()
    with pytest.raises(PublishError, match="The token of me may only read"):
        plan_it(token=results.read_token)


def test_a_gated_results_dataset_is_named(results):
    card = results.files(RESULTS, "dataset")["README.md"]
    results.put("acme/gated", {"README.md": card}, repo_type="dataset", gated="manual")
    with pytest.raises(PublishError, match="Cannot read dataset acme/gated: gated, and no token"):
        plan_it(results="acme/gated")
    results.grant("acme/gated", "me")
    assert (
        "acme/gated is gated, and space me/board is public"
        in plan_it(results="acme/gated").warnings[0]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hardware": "abacus"}, "There is no hardware 'abacus'. Allowed: cpu-basic, "),
        ({"variables": ["HF_SFDA_MAX_SAMPELS=1"]}, "There is no variable HF_SFDA_MAX_SAMPELS. All"),
        ({"variables": ["HF_SFDA_MAX_SAMPLES=many"]}, "must be a whole number"),
        ({"variables": ["HF_SFDA_RESULTS=me/x"]}, "is set by --results"),
        ({"variables": ["=1"]}, "write NAME=VALUE"),
        ({"variables": ["A-B=1"]}, "write NAME=VALUE"),
        ({"variables": ["A=1\n2"]}, "one line of text"),
        ({"variables": [f"A={SECRET}"]}, "The value of A looks like a token, .* --secret A"),
        ({"variables": ["HOME=x"], "secrets": ["HOME"]}, "HOME is both a variable and a secret"),
        ({"secrets": ["NOT_SET_ANYWHERE"]}, "NOT_SET_ANYWHERE is not set. Export it first"),
        ({"secrets": [f"HF_TOKEN={SECRET}"]}, "named after = is not set. .* command line"),
        ({"secrets": [SECRET]}, "the name of an environment variable"),
        ({"sleep": 0}, "--sleep is 0; give seconds, or -1"),
        ({"sleep": 60}, "cpu-basic sleeps after 48 hours"),
        ({"sleep": 60, "hardware": "cpu-basic"}, "cpu-basic sleeps after 48 hours"),
    ],
)
def test_options_that_are_not_allowed_are_refused(results, options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        plan_it(**options)
    assert SECRET not in str(caught.value)
    assert writes(results) == []


def test_a_sleep_time_needs_paid_hardware(results):
    deploy()
    with pytest.raises(ConfigError, match="cpu-basic sleeps after 48 hours"):
        plan_it(sleep=60)
    assert plan_it(sleep=60, hardware="t4-small").steps


def test_hardware_that_nobody_pays_for_is_refused(results, monkeypatch):
    token = results.account("me", pays=False)
    assert token == results.token
    with pytest.raises(
        PublishError, match=r"payment required .* --hardware zero-a10g.*Step 1 of 2"
    ):
        deploy()
    assert ("spaces", SPACE) not in results.state.repos
    deploy(hardware="zero-a10g")
    with pytest.raises(PublishError, match=r"hardware of space me/board: .*402.*Step 1 of 1"):
        deploy(hardware="t4-small")
    assert hardware(results)[0] == "zero-a10g"


# -- broken off


SET_UP = {"variables": ["HF_SFDA_JOBS=2"], "secrets": ["MY_SECRET"], "hardware": "t4-small"}
STRAY = "hf_sfda/gone.py"


@pytest.mark.parametrize(
    "action", ["status", *(pytest.param(x, marks=pytest.mark.slow) for x in ("drop", "lose"))]
)
@pytest.mark.parametrize(
    "where", ["secrets", "variables", "preupload/main", "commit/main", "hardware"]
)
def test_an_update_that_breaks_off_is_finished_by_the_same_command(
    results, monkeypatch, where, action
):
    monkeypatch.setenv("MY_SECRET", "sesame-of-the-space")
    deploy(hardware="zero-a10g")
    results.put(SPACE, {STRAY: "X = 1\n"}, repo_type="space")
    before = files(results)
    results.faults.add(path_regex=f"/{where}$", method="POST", action=action, status=500)
    # A lost commit is seen to have arrived, and the client itself asks for an upload again.
    if (where, action) != ("commit/main", "lose") and where != "preupload/main":
        with pytest.raises(PublishError, match="The same command does the rest") as caught:
            deploy(**SET_UP)
        assert "sesame" not in str(caught.value)
        app = before if where != "hardware" else {k: before[k] for k in before if k != STRAY}
        assert files(results) == app, "all of it or nothing"
        if where != "hardware":
            assert hardware(results) == ("zero-a10g", None), "asked for at the end"
    deploy(**SET_UP)
    check_set_up(results)


@pytest.mark.parametrize("action", ["status", pytest.param("drop", marks=pytest.mark.slow), "lose"])
@pytest.mark.parametrize("where", ["/repos/create", "/commit/main"])
def test_a_space_that_is_half_made_is_finished_by_the_same_command(
    results, monkeypatch, where, action
):
    monkeypatch.setenv("MY_SECRET", "sesame-of-the-space")
    results.faults.add(path_regex=f"{where}$", method="POST", action=action, status=500)
    if (where, action) != ("/commit/main", "lose"):  # which is seen to have arrived
        with pytest.raises(PublishError, match="The same command does the rest"):
            deploy(**SET_UP)
        made = ("spaces", SPACE) in results.state.repos
        assert made == (
            (where, action) not in [("/repos/create", "status"), ("/repos/create", "drop")]
        )
        if made:
            assert set(files(results)) == {".gitattributes", "README.md"}, "no app yet"
            assert hardware(results)[0] == "t4-small", "as it was made"
    deploy(**SET_UP)
    assert front(readme(results))["title"] == "Which checkpoint should I fine-tune?"
    assert "Check out" not in readme(results), "the same card as without the accident"
    check_set_up(results)


def check_set_up(hub) -> None:
    """Everything is as asked for, and nothing is left to do."""
    assert set(files(hub)) == {*space_files(), "README.md", ".gitattributes"}
    assert settings(hub) == {
        "variables": {"HF_SFDA_RESULTS": RESULTS, "HF_SFDA_JOBS": "2"},
        "secrets": {"MY_SECRET": "sesame-of-the-space"},
    }
    assert hardware(hub)[0] == "t4-small"
    hub.requests.clear()
    deploy(**{**SET_UP, "secrets": []})
    assert writes(hub) == []


def test_a_space_that_moved_after_the_plan_is_refused(older):
    plan = plan_it()
    older.put(SPACE, {"notes/mine.md": "newer"}, repo_type="space")
    with pytest.raises(PublishError, match="changed by somebody else after the plan was made"):
        execute(plan)
    assert files(older)["hf_sfda/gone.py"] == b"X = 1\n"
    deploy()
    assert files(older)["notes/mine.md"] == b"newer"


def test_a_space_that_somebody_else_makes_after_the_plan_is_left_alone(results, api: HfApi):
    plan = plan_it()
    api.create_repo(SPACE, repo_type="space", space_sdk="docker")
    results.put(SPACE, {"Dockerfile": "x"}, repo_type="space")
    with pytest.raises(PublishError, match=r"Cannot make space me/board: .*already created"):
        execute(plan)
    assert "app.py" not in files(results)


def test_a_hub_that_is_down_is_named(results):
    results.stop()
    with pytest.raises(PublishError, match="cannot be reached"):
        plan_it()


# -- what was deployed runs


@pytest.mark.slow
def test_the_deployed_tree_serves_the_page(results, api: HfApi, hub_env, tmp_path):
    """As the Hub runs it: the repository's files, its variables, ``python app.py``."""
    deploy(variables=["HF_SFDA_MAX_SAMPLES=500"])
    folder = Path(api.snapshot_download(SPACE, repo_type="space", local_dir=tmp_path / "space"))
    page = folder / "hf_sfda" / "space" / "app.py"
    title = "Which checkpoint should I fine-tune?"
    assert title in page.read_text()
    page.write_text(page.read_text().replace(title, "The page out of the Space's own copy"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    server = subprocess.Popen(
        with_default_signals([sys.executable, "app.py"]),
        cwd=folder,
        env={
            **hub_env,
            **settings(results)["variables"],
            "GRADIO_SERVER_PORT": str(port),
            "TMPDIR": str(temporary),
        },
        stdout=(log := tmp_path / "log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        text = wait_for(f"http://127.0.0.1:{port}/", server, log)
        assert "The page out of the Space's own copy" in html.unescape(text)
        from gradio_client import Client

        client = Client(f"http://127.0.0.1:{port}", verbose=False)
        assert "acme/vit" in str(client.predict(api_name="/leaderboard"))
        server.terminate()  # as the Hub ends it
        assert server.wait(60) == 0, log.read_text()
        assert [path for path in temporary.rglob("*") if path.is_file()] == []
    finally:
        server.kill()
        server.wait()


def wait_for(url: str, server: subprocess.Popen, log: Path) -> str:
    """The page, as soon as somebody answers."""
    while server.poll() is None:  # pytest-timeout ends a server that neither answers nor ends
        with suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(url) as page:
            return page.read().decode()
        threading.Event().wait(0.2)
    raise AssertionError(log.read_text())


# -- the command


@pytest.fixture
def hf_sfda(results, monkeypatch, capsys):
    """The command, run in this process."""
    monkeypatch.setattr("hf_sfda.cli._options.send_warnings_to", lambda say: None)

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["hf-sfda", "space", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert (end.value.code or 0) == code, err
        for secret in (SECRET, results.token):
            assert secret not in out + err
        return out, err

    return run


def test_deploying_shows_the_plan_carries_it_out_and_then_finds_nothing_to_do(
    results, hf_sfda, monkeypatch
):
    monkeypatch.setenv("MY_SECRET", SECRET)
    asked = ["deploy", SPACE, "--results", RESULTS, "--secret", "MY_SECRET", "--variable"]
    asked += ["HF_SFDA_JOBS=2", "--hardware", "zero-a10g", "--sleep", "600"]
    out, err = hf_sfda(*asked, "--format", "human")
    assert "Deploy Space me/board as me" in out
    assert "+ secret MY_SECRET, from your environment" in out
    assert "Nothing was written" in err
    assert writes(results) == []
    (expect,) = re.findall(r"--expect ([0-9a-f]{12})", " ".join(err.split()))
    out, err = hf_sfda(*asked, "--yes", "--expect", expect, "--format", "human")
    assert err.count("Done") == 2
    assert settings(results)["secrets"] == {"MY_SECRET": SECRET}
    out, _ = hf_sfda("deploy", f"spaces/{SPACE}", "--results", f"datasets/{RESULTS}", "--json")
    assert json.loads(out)["steps"] == []
    out, _ = hf_sfda(*asked, "--yes", "-q")
    assert out.strip() == f"{results.url}/spaces/{SPACE}/settings"


def test_mistakes_are_one_line(hf_sfda):
    for arguments, code, text in (
        (("board", "--results", RESULTS), 2, "SPACE is 'board'; give a space as OWNER/NAME"),
        ((SPACE, "--results", "x"), 2, "--results is 'x'; give a dataset as OWNER/NAME"),
        ((SPACE,), 2, "--results"),
        ((SPACE, "--results", RESULTS, "--hardware", "x"), 2, "There is no hardware 'x'"),
        ((SPACE, "--results", "me/none"), 1, "not on the Hub"),
    ):
        _, err = hf_sfda("deploy", *arguments, code=code)
        assert text in " ".join(err.split())
        assert "Traceback" not in err


def test_importing_the_command_loads_no_gradio():
    code = "import sys, hf_sfda.cli, hf_sfda.space.deploy\nprint([m for m in ('torch', 'gradio', "
    code += "'transformers', 'pandas', 'pyarrow', 'jinja2', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
