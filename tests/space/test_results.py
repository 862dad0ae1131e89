"""Results as the Space keeps them: fresh soon, there on bad days, and read with one token only."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from hf_sfda.errors import ConfigError
from hf_sfda.publish.leaderboards import to_ranking
from hf_sfda.publish.row_files import SCHEMA_VERSION
from hf_sfda.publish.rows import make_run
from hf_sfda.report.files import to_document
from hf_sfda.space.results import Results, Snapshot, leaderboard_name, modality_of
from hf_sfda.space.settings import Limits, Settings, refresh_seconds
from tests.publishing import make_ranking
from tests.waiting import until

REPO = "me/results"
HEAD = r"/api/datasets/me/results"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Retries happen, their pauses do not; those of a slow Hub do."""
    monkeypatch.setattr("hf_sfda.hub.api.time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def publish(hub, *rankings, **settings) -> str:
    runs = [make_run(ranking) for ranking in rankings]
    files = {run.path: run.parquet() for run in runs} or {"README.md": "# Results\n"}
    return hub.put(REPO, files, repo_type="dataset", **settings)


def names(snapshot: Snapshot) -> list[str]:
    return [leaderboard_name(leaderboard) for leaderboard in snapshot.leaderboards]


def documents(snapshot: Snapshot) -> list[dict]:
    return [to_document(to_ranking(leaderboard)) for leaderboard in snapshot.leaderboards]


PLANTS = make_ranking()
BIRDS = make_ranking(dataset="me/birds")


# -- reading


def test_the_first_look_reads_the_hub_and_the_next_ones_do_not(hub, clock):
    sha = publish(hub, PLANTS, BIRDS)
    results = Results(REPO, clock=clock)
    assert hub.seen() == [], "nothing is read before somebody looks"
    snapshot = results.snapshot()
    assert (snapshot.sha, snapshot.problem) == (sha, None)
    assert snapshot.read_at is not None
    assert names(snapshot) == ["me/birds", "me/plants"]
    assert [to_ranking(leaderboard).rows for leaderboard in snapshot.leaderboards] == [
        BIRDS.rows,
        PLANTS.rows,
    ]
    asked = len(hub.requests)
    clock.now += 59
    assert results.snapshot() is snapshot
    assert len(hub.requests) == asked


def test_what_is_old_is_shown_while_it_is_read_again(hub, clock):
    publish(hub, PLANTS)
    results = Results(REPO, clock=clock)
    first = results.snapshot()
    sha = publish(hub, BIRDS)
    slow = hub.faults.add(path_regex=HEAD, action="delay", seconds=0.3)
    clock.now += 61
    began = len(hub.requests)
    seen = [results.snapshot() for _ in range(5)]
    assert all(snapshot is first for snapshot in seen), "nobody waits"
    until(lambda: results.snapshot().sha == sha)
    assert slow.hits == 1
    assert names(results.snapshot()) == ["me/birds", "me/plants"]
    heads = [r for r in hub.requests[began:] if r.path.startswith(f"{HEAD}/revision/main")]
    assert len(heads) == 1, "five looks at what is old are one question"


def test_an_unchanged_dataset_costs_one_question(hub, clock):
    publish(hub, PLANTS)
    results = Results(REPO, clock=clock)
    first = results.snapshot()
    began = len(hub.requests)
    again = results.refresh()
    assert len(hub.requests) - began == 1
    assert again.leaderboards is first.leaderboards, "boards are not made anew"
    assert again.read_at is not None
    assert again.read_at >= first.read_at


def test_visitors_who_come_at_once_read_the_hub_once(hub, clock):
    publish(hub, PLANTS)
    results = Results(REPO, clock=clock)
    hub.faults.add(path_regex=HEAD, action="delay", seconds=0.3)
    barrier, found = threading.Barrier(4), []

    def visit() -> None:
        barrier.wait()
        found.append(results.snapshot())

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(20)
    assert len(found) == 4
    assert all(snapshot is found[0] for snapshot in found)
    assert names(found[0]) == ["me/plants"]
    assert len(hub.seen("GET", rf"{HEAD}/revision/main")) == 1


@pytest.mark.parametrize("given", ["me", "", "me/", "/x", "a/b/c"])
def test_only_owner_and_name_are_a_results_dataset(given):
    with pytest.raises(ConfigError, match="give OWNER/NAME, such as me/results"):
        Results(given)


def test_a_page_address_prefix_is_taken_off():
    assert Results("datasets/me/results").repo.id == "me/results"


# -- bad days


def test_while_the_hub_is_down_the_last_results_stay_and_it_is_said(hub, clock):
    publish(hub, PLANTS)
    results = Results(REPO, clock=clock)
    first = results.snapshot()
    hub.stop()
    down = results.refresh()
    assert down.leaderboards is first.leaderboards
    assert (down.sha, down.read_at) == (first.sha, first.read_at)
    assert down.problem is not None
    assert "Cannot read dataset me/results" in down.problem
    hub.start()
    publish(hub, BIRDS)
    clock.now += 61
    results.snapshot()
    until(lambda: results.snapshot().problem is None)
    assert names(results.snapshot()) == ["me/birds", "me/plants"]


def test_a_hub_that_was_down_from_the_start_is_asked_again(hub, clock):
    publish(hub, PLANTS)
    hub.stop()
    results = Results(REPO, clock=clock)
    empty = results.snapshot()
    assert (empty.sha, empty.leaderboards, empty.read_at) == (None, (), None)
    assert empty.problem
    hub.start()
    clock.now += 61
    assert results.snapshot() is empty
    until(lambda: names(results.snapshot()) == ["me/plants"])


def test_a_restart_while_the_hub_is_down_shows_the_copy_on_disk(hub, clock, tmp_path):
    publish(hub, PLANTS, BIRDS)
    first = Results(REPO, folder=tmp_path, clock=clock).snapshot()
    hub.stop()
    again = Results(REPO, folder=tmp_path, clock=clock).snapshot()
    assert (again.sha, again.read_at) == (first.sha, first.read_at)
    assert names(again) == names(first)
    assert documents(again) == documents(first)
    assert again.problem
    # Another dataset's copy is another file.
    assert Results("me/other", folder=tmp_path, clock=clock).snapshot().leaderboards == ()


def test_the_copy_on_disk_spares_reading_what_has_not_changed(hub, tmp_path):
    publish(hub, PLANTS)
    Results(REPO, folder=tmp_path).snapshot()
    began = len(hub.requests)
    again = Results(REPO, folder=tmp_path).snapshot()
    assert (names(again), again.problem) == (["me/plants"], None)
    assert len(hub.requests) - began == 1


def ruin_rows(path, about):
    path.write_bytes(path.read_bytes()[:-200])


def ruin_other_table(path, about):
    import pyarrow as pa

    pq.write_table(pa.table({"x": [1]}), path)


def ruin_about(path, about):
    about.write_text('{"sha": ')


def ruin_time(path, about):
    about.write_text(json.dumps({"sha": "0" * 40, "at": "yesterday"}))


def ruin_keys(path, about):
    about.write_text("[]")


def lose_about(path, about):
    about.unlink()


@pytest.mark.parametrize(
    "ruin", [ruin_rows, ruin_other_table, ruin_about, ruin_time, ruin_keys, lose_about]
)
def test_a_damaged_copy_is_no_copy(hub, tmp_path, ruin):
    sha = publish(hub, PLANTS)
    Results(REPO, folder=tmp_path).snapshot()
    (copy,) = tmp_path.glob("*.parquet")
    ruin(copy, copy.with_suffix(".json"))
    hub.stop()
    lost = Results(REPO, folder=tmp_path).snapshot()
    assert (lost.sha, lost.leaderboards) == (None, ())
    assert lost.problem
    hub.start()
    found = Results(REPO, folder=tmp_path).snapshot()
    assert (found.sha, names(found), found.problem) == (sha, ["me/plants"], None)


def test_a_folder_that_cannot_be_written_costs_the_copy_and_nothing_else(hub, tmp_path):
    publish(hub, PLANTS)
    (tmp_path / "taken").write_text("a file stands where the folder should be")
    snapshot = Results(REPO, folder=tmp_path / "taken").snapshot()
    assert (names(snapshot), snapshot.problem) == (["me/plants"], None)


# -- a dataset that is not as it should be


def test_a_missing_results_dataset_is_reported_with_what_to_do(hub):
    snapshot = Results(REPO).snapshot()
    assert (snapshot.sha, snapshot.leaderboards) == (None, ())
    assert "There is no dataset me/results, or this Space may not read it." in snapshot.problem
    assert "hf-sfda publish RUN --to me/results" in snapshot.problem


def test_a_dataset_without_results_is_no_problem(hub):
    sha = publish(hub)
    snapshot = Results(REPO).snapshot()
    assert (snapshot.sha, snapshot.leaderboards, snapshot.problem) == (sha, (), None)


def close(hub) -> None:
    """A gated dataset still tells its newest commit to everybody, and its files to some."""
    hub.set(REPO, "dataset", gated="manual")
    publish(hub, BIRDS)


@pytest.mark.parametrize(
    ("happens", "message"),
    [
        (lambda hub: hub.delete(REPO, "dataset"), "There is no dataset me/results"),
        (close, "gated"),
        (lambda hub: hub.set(REPO, "dataset", private=True), "There is no dataset me/results"),
        (lambda hub: hub.set(REPO, "dataset", disabled=True), "disabled"),
    ],
    ids=["deleted", "gated", "private", "disabled"],
)
def test_what_was_read_outlives_a_dataset_that_goes_away(hub, happens, message):
    publish(hub, PLANTS)
    stranger = hub.account("stranger")
    results = Results(REPO, token=stranger)
    first = results.snapshot()
    happens(hub)
    gone = results.refresh()
    assert gone.leaderboards is first.leaderboards
    assert message in gone.problem


def newer_schema(ranking) -> dict[str, bytes]:
    run = make_run(ranking)
    table = pq.read_table(io.BytesIO(run.parquet()))
    version = {b"hf_sfda.schema_version": str(SCHEMA_VERSION + 1).encode()}
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(version), sink)
    return {run.path: sink.getvalue()}


def test_results_of_a_newer_schema_are_not_guessed_at(hub):
    publish(hub, PLANTS)
    results = Results(REPO)
    first = results.snapshot()
    hub.put(REPO, newer_schema(BIRDS), repo_type="dataset")
    newer = results.refresh()
    assert (newer.sha, newer.leaderboards) == (first.sha, first.leaderboards)
    assert f"has schema version {SCHEMA_VERSION + 1}" in newer.problem


# -- whose token


def test_a_private_dataset_is_read_with_the_servers_token_which_is_shown_to_nobody(
    hub, monkeypatch
):
    monkeypatch.delenv("HF_TOKEN")
    publish(hub, PLANTS, private=True)
    results = Results(REPO, token=hub.token)
    assert names(results.snapshot()) == ["me/plants"]
    assert {request.account for request in hub.requests} == {"me"}
    hub.stop()
    down = results.refresh()
    for shown in (repr(results), repr(down), str(down.problem), repr(results.repo)):
        assert hub.token not in shown
    settings = Settings(REPO, results_token=hub.token, visitor_token=hub.token)
    assert hub.token not in repr(settings)


def test_a_wrong_token_is_said_and_not_shown(hub):
    publish(hub, PLANTS)
    wrong = "hf_wrongwrongwrongwrongwrongwrong12"
    snapshot = Results(REPO, token=wrong).snapshot()
    assert snapshot.leaderboards == ()
    assert "token" in snapshot.problem
    assert wrong not in snapshot.problem


# -- names


def test_boards_are_called_by_dataset_config_and_split(hub):
    def named(config, split, task="image-classification"):
        dataset = {**PLANTS.dataset, "config": config, "split": split, "task": task}
        return replace(PLANTS, dataset=dataset)

    publish(
        hub,
        named(None, "train"),
        named("large", "test", "text-classification"),
        named(None, "validation"),
    )
    snapshot = Results(REPO).snapshot()
    assert sorted(names(snapshot)) == [
        "me/plants",
        "me/plants @validation",
        "me/plants:large @test",
    ]
    kinds = {
        leaderboard_name(leaderboard): modality_of(leaderboard)
        for leaderboard in snapshot.leaderboards
    }
    assert kinds["me/plants"] == "images"
    assert kinds["me/plants:large @test"] == "texts"
    large = snapshot.leaderboard("me/plants:large @test")
    assert large is not None
    assert large.about["dataset_config"] == "large"
    assert snapshot.leaderboard("nobody/nothing") is snapshot.leaderboards[0]
    assert Snapshot(snapshot.repo).leaderboard("me/plants") is None


# -- settings


def test_a_deployed_space_is_told_by_its_variables(hub, monkeypatch):
    def python(code: str, **variables: str) -> str:
        env = {k: v for k, v in os.environ.items() if not k.startswith("HF_SFDA_")}
        done = subprocess.run(
            [sys.executable, "-c", code], env={**env, **variables}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = python(
        "from hf_sfda.space.settings import Settings\n"
        "s = Settings.from_environment()\n"
        "print(s.results, s.refresh, s.limits.samples, s.visitor_token, len(s.results_token))\n"
        "print(s)",
        HF_SFDA_RESULTS=REPO,
        HF_SFDA_REFRESH="5",
        HF_SFDA_MAX_SAMPLES="1_000",
    )
    assert shown.startswith(f"{REPO} 5.0 1000 None {len(hub.token)}\n")
    assert hub.token not in shown


@pytest.mark.parametrize("environment", [{}, {"HF_SFDA_RESULTS": ""}])
def test_without_results_a_space_says_which_variable_is_missing(environment):
    with pytest.raises(ConfigError, match="HF_SFDA_RESULTS is not set"):
        Settings.from_environment(environment)


def test_a_limit_that_is_no_number_stops_a_space():
    with pytest.raises(ConfigError, match=r"HF_SFDA_MAX_SAMPLES is 'many'"):
        Settings.from_environment({"HF_SFDA_RESULTS": REPO, "HF_SFDA_MAX_SAMPLES": "many"})


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 60.0), ("  ", 60.0), ("5", 5.0), (" 0.5 ", 0.5), ("1e3", 1000.0)]
)
def test_the_refresh_time_of_results_is_read_from_the_environment(text, seconds):
    assert refresh_seconds({"HF_SFDA_REFRESH": text}) == seconds
    assert refresh_seconds({}) == 60.0


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "1 minute"])
def test_a_refresh_that_is_no_time_is_refused(text):
    with pytest.raises(ConfigError, match=rf"HF_SFDA_REFRESH is {re.escape(repr(text))}"):
        refresh_seconds({"HF_SFDA_REFRESH": text})


def test_limits_and_refresh_have_defaults():
    assert Settings(REPO).limits == Limits()
    assert Settings(REPO).refresh == 60.0


BEFORE = ["", "import huggingface_hub, huggingface_hub.constants"]
TAKE = """
import os, subprocess, sys
{before}
from hf_sfda.space.settings import take_token
token = take_token()
from huggingface_hub.utils import build_hf_headers
from huggingface_hub import HfApi
from hf_sfda.hub import hub_api
child = "import os; print(sorted(k for k in os.environ if k.startswith(('HF_TOKEN', 'HUGGING'))))"
print(token)
print("authorization" in build_hf_headers(), "authorization" in HfApi()._build_hf_headers())
print(build_hf_headers(token=token)["authorization"])
print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout.strip())
print(take_token() == {again})
"""


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_the_servers_token_is_taken_and_nothing_uses_it_unasked(hub, tmp_path, before, name):
    env = {k: v for k, v in os.environ.items() if k != "HF_TOKEN"}
    env |= {name: hub.token, "HF_HOME": str(tmp_path)}
    code = TAKE.format(before=before, again="None")
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        hub.token,
        "False False",
        f"Bearer {hub.token}",
        "[]",
        "True",
    ]


@pytest.mark.parametrize("before", BEFORE)
def test_a_login_on_this_machine_is_not_used_unasked_either(hub, tmp_path, before):
    (tmp_path / "token").write_text(hub.token)
    env = {k: v for k, v in os.environ.items() if k != "HF_TOKEN"} | {"HF_HOME": str(tmp_path)}
    code = TAKE.format(before=before, again="token")
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [hub.token, "False False"]
