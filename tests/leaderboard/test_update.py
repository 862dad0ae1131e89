"""A leaderboard as a story over HTTP: real checkpoints, the real pipeline, the real client.

Every update runs on a machine that has nothing: a feature store of its own, empty. What it knows
of earlier updates it knows from the repository.
"""

from __future__ import annotations

import io
import itertools
import json
import logging
import shutil
import threading
import time
from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

import hf_sfda
from hf_sfda.errors import PublishError, ScanError, TargetError
from hf_sfda.hub.commit import Commit
from hf_sfda.hub.plan import execute
from hf_sfda.leaderboard import update as update_module
from hf_sfda.leaderboard.init import plan_init
from hf_sfda.leaderboard.update import leaderboard_status, plan_update
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore
from tests import factories
from tests.waiting import PATIENCE

BOARD = "me/board"
COMMIT_PATH = r"/api/datasets/me/board/commit/main"
SCORING = {
    "metric": "knn",
    "metrics": ["knn", "logme", "params"],
    "samples": 24,
    "folds": 2,
    "resamples": 100,
    "permutations": 1,
}
CARD = {"pipeline_tag": "image-classification", "library_name": "transformers"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Retries happen, their pauses do not."""
    real = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: real(min(seconds, 0.01)))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Checkpoints to push: name -> folder."""
    root = tmp_path_factory.mktemp("zoo")
    made = {f"vit{seed}": factories.tiny_vit(root / f"vit{seed}", seed=seed) for seed in range(3)}
    made["resnet"] = factories.tiny_resnet(root / "resnet")
    made["nan"] = factories.tiny_vit(root / "nan", seed=7)
    weights = load_file(made["nan"] / "model.safetensors")
    weights[sorted(weights)[0]] = np.full_like(weights[sorted(weights)[0]], np.nan)
    save_file(weights, made["nan"] / "model.safetensors", metadata={"format": "pt"})
    for folder in made.values():
        factories.write_card(folder, **CARD)
    return made


class Board:
    """The leaderboard and its Hub, for a test."""

    def __init__(self, hub, tmp_path):
        self.hub, self._tmp, self._numbers = hub, tmp_path, itertools.count()

    def settings(self, **changes) -> None:
        values = {"datasets": ["me/shapes"], **SCORING, **changes}
        execute(plan_init(BOARD, json.dumps(values)))

    def store(self) -> FeatureStore:
        return FeatureStore(self._tmp / f"store-{next(self._numbers)}")

    def plan(self, store=None):
        return plan_update(BOARD, Session(store=store or self.store()))

    def update(self, store=None) -> list:
        self.hub.requests.clear()
        return execute(self.plan(store))

    @property
    def commits(self) -> int:
        return len(self.hub.repo(BOARD).commits)

    def downloaded(self) -> set[str]:
        """Models whose weights were fetched by the last update."""
        seen = self.hub.seen("GET", r".*/resolve/.*/model\.safetensors")
        return {"/".join(request.path.split("/")[1:3]) for request in seen}

    def log(self) -> list[dict]:
        text = self.hub.files(BOARD, "dataset").get("leaderboard/log.jsonl", b"")
        return [json.loads(line) for line in text.splitlines()]

    def rows(self, metric: str | None = None) -> dict[str, dict]:
        """model -> its newest row with a metric, by default the one that sorts."""
        run = self.log()[-1]["run"]
        files = self.hub.files(BOARD, "dataset")
        (path,) = [path for path in files if run in path]
        rows = pq.read_table(io.BytesIO(files[path])).to_pylist()
        return {row["model"]: row for row in rows if row["metric"] == (metric or row["ranked_by"])}

    def ranked(self) -> set[str]:
        return {model for model, row in self.rows().items() if row["status"] == "ok"}

    def readme(self) -> str:
        return self.hub.files(BOARD, "dataset")["README.md"].decode()


@pytest.fixture
def board(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    factories.image_dataset(n_per_class=8, classes=3).push_to_hub("me/shapes", split="train")
    return Board(hub, tmp_path)


def assert_as_if_ranked_at_once(board: Board, tmp_path, models: list[str]) -> None:
    """The board's numbers are, to the bit, those of one run over the whole pool."""
    truth = hf_sfda.rank(
        "me/shapes", models, store=FeatureStore(tmp_path / "truth"), **SCORING
    ).ranked
    rows = board.rows()
    assert {row.model_id for row in truth} == board.ranked()
    for row in truth:
        kept = rows[row.model_id]
        assert (kept["value"], kept["rank"], kept["tie_group"], kept["p_best"]) == (
            row.scores["knn"],
            row.rank,
            row.tie_group,
            row.p_best,
        )
        assert (kept["low"], kept["high"]) == row.intervals["knn"]
        assert (kept["rank_low"], kept["rank_high"]) == row.rank_interval
        assert kept["noise_floor"] == row.noise_floor
        assert kept["model_revision"] == row.revision


def test_a_regression_sorts_by_the_default_of_its_task(board, zoo, hub):
    """Two updates: the pool is the same although the settings name the default of classes."""
    data = factories.image_dataset(n_per_class=8, classes=3)
    ages = [row / 4 + label for row, label in enumerate(data["label"])]
    data.remove_columns("label").add_column("age", ages).push_to_hub("me/ages", split="train")
    hub.put("acme/vit", zoo["vit0"], downloads=50)
    board.settings(datasets=["me/ages"], metric="auto", metrics=["three_heads", "knn", "logme"])
    board.update()
    hub.put("acme/other", zoo["vit1"], downloads=60)
    board.update()
    assert board.downloaded() == {"acme/other"}
    row = board.rows()["acme/vit"]
    assert (row["task"], row["ranked_by"]) == ("image-regression", "logme")
    assert board.ranked() == {"acme/vit", "acme/other"} == set(board.rows("knn"))
    assert board.update() == []


def test_an_update_writes_what_is_predicted_of_fine_tuning(board, zoo, hub):
    board.settings(metric="three_heads", metrics=["three_heads"])
    hub.put("acme/vit", zoo["vit0"], downloads=50)
    hub.put("acme/resnet", zoo["resnet"], downloads=40)
    board.update()
    files = hub.files(BOARD, "dataset")
    (path,) = [path for path in files if path.startswith("finetuning/")]
    rows = pq.read_table(io.BytesIO(files[path])).to_pylist()
    scores = board.rows()
    assert {row["model"] for row in rows} == board.ranked()
    for row in rows:
        assert (row["kind"], row["accuracy"]) == ("predicted", None)
        assert row["expected_regret"] > 0
        assert row["p_best"] == scores[row["model"]]["p_best"]
        assert row["run"] == scores[row["model"]]["run"]
    assert "| P(best) | behind |" in board.readme()
    assert board.update() == []


def test_ten_updates_while_models_appear_change_vanish_and_fail(board, zoo, hub, tmp_path):
    board.settings()
    hub.put("acme/vit", zoo["vit0"], downloads=50)
    hub.put("acme/resnet", zoo["resnet"], downloads=40)

    board.update()  # 1: the first two
    assert board.downloaded() == board.ranked() == {"acme/vit", "acme/resnet"}
    assert [e["status"] for e in board.log()[-1]["measured"]] == ["ok", "ok"]

    before = board.commits
    assert board.update() == []  # 2: nothing new
    assert board.plan().up_to_date == ("me/shapes is up to date (2 models)",)
    assert (board.commits, board.downloaded()) == (before, set())

    hub.put("acme/other", zoo["vit1"], downloads=60)
    board.update()  # 3: one more
    assert board.downloaded() == {"acme/other"}
    assert board.ranked() == {"acme/vit", "acme/resnet", "acme/other"}

    was = board.rows()["acme/vit"]
    sha = hub.put("acme/vit", zoo["vit2"])
    plan = board.plan()
    assert f"+ acme/vit @ {sha[:7]} (was {was['model_revision'][:7]})" in plan.render()
    board.update()  # 4: one changed
    assert board.downloaded() == {"acme/vit"}
    now = board.rows()["acme/vit"]
    assert now["model_revision"] == sha
    assert now["value"] != was["value"]

    hub.delete("acme/resnet")
    assert "- acme/resnet: acme/resnet is not on the Hub" in board.plan().render()
    board.update()  # 5: one gone
    assert board.downloaded() == set()
    assert board.ranked() == {"acme/vit", "acme/other"}
    gone = board.rows()["acme/resnet"]
    assert (gone["status"], gone["value"]) == ("failed", None)
    assert "not on the Hub" in gone["reason"]
    assert "| acme/resnet | failed | acme/resnet is not on the Hub" in board.readme()

    hub.put("acme/broken", zoo["nan"], downloads=30)
    board.update()  # 6: one fails
    assert board.downloaded() == {"acme/broken"}
    broken = board.rows()["acme/broken"]
    assert (broken["status"], broken["rank"]) == ("failed", None)
    assert broken["reason"]

    before = board.commits
    assert board.update() == []  # 7: the same failure is not tried again
    assert (board.commits, board.downloaded()) == (before, set())

    hub.put("acme/broken", zoo["vit0"])
    board.update()  # 8: repaired
    assert board.downloaded() == {"acme/broken"}
    assert board.ranked() == {"acme/vit", "acme/other", "acme/broken"}

    hub.set("acme/other", gated="manual")
    board.update()  # 9: one closes its doors
    assert board.ranked() == {"acme/vit", "acme/broken"}
    assert board.rows()["acme/other"]["status"] == "skipped"

    hub.set("acme/other", gated=False)
    assert "+ acme/other (measured before)" in board.plan().render()
    board.update()  # 10: and opens them again
    assert board.downloaded() == set()
    assert board.ranked() == {"acme/vit", "acme/other", "acme/broken"}

    assert [len(event["measured"]) for event in board.log()] == [2, 1, 1, 0, 1, 1, 0, 0]
    assert "are merged" not in board.readme(), "the board shows one run, with its ties"
    assert_as_if_ranked_at_once(board, tmp_path, ["acme/broken", "acme/other", "acme/vit"])
    kept = hub.files(BOARD, "dataset")
    assert len([path for path in kept if path.startswith("data/")]) == 8, "history is kept"


def test_pseudo_values_come_back_to_the_bit(board, zoo, hub, tmp_path, monkeypatch):
    """LogME has no shares of samples; its ties rest on jackknife groups. NCTI compares the models
    of a pool with each other.
    """
    monkeypatch.setitem(SCORING, "metric", "logme")
    monkeypatch.setitem(SCORING, "metrics", ["logme", "ncti"])
    board.settings()
    hub.put("acme/a", zoo["vit0"])
    board.update()
    hub.put("acme/b", zoo["vit1"])
    board.update()
    options = {**SCORING, "models": ["acme/a", "acme/b"]}
    truth = hf_sfda.rank("me/shapes", store=FeatureStore(tmp_path / "truth"), **options)
    rows = board.rows()
    for row in truth.ranked:
        kept = rows[row.model_id]
        assert (kept["value"], kept["rank"], kept["tie_group"], kept["p_best"]) == (
            row.scores["logme"],
            row.rank,
            row.tie_group,
            row.p_best,
        )
        assert (kept["low"], kept["high"]) == row.intervals["logme"]
        assert board.rows("ncti")[row.model_id]["value"] == row.scores["ncti"]


def test_a_crash_between_ranking_and_commit_changes_nothing(board, zoo, hub, monkeypatch):
    board.settings()
    hub.put("acme/vit", zoo["vit0"])
    store, before = board.store(), board.commits
    plan = board.plan(store)
    with monkeypatch.context() as patch:
        patch.setattr(Commit, "execute", lambda self, api: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            execute(plan)
    assert board.commits == before
    assert list(store.entries())
    board.update(store)
    assert board.downloaded() == set(), "the features were kept"
    assert board.ranked() == {"acme/vit"}


def test_a_hub_that_dies_at_the_commit_leaves_nothing_half_published(board, zoo, hub):
    board.settings()
    hub.put("acme/vit", zoo["vit0"])
    store, before = board.store(), board.commits
    plan = board.plan(store)
    hub.faults.add(path_regex=COMMIT_PATH, method="POST", status=503, times=1)
    with pytest.raises(PublishError, match="same command does the rest"):
        execute(plan)
    assert board.commits == before
    board.update(store)
    assert (board.commits, board.ranked()) == (before + 1, {"acme/vit"})


def test_two_updates_at_once_are_both_in(board, zoo, hub, tmp_path, monkeypatch):
    """Both read the same commit; one knows a model that the other has never heard of."""
    board.settings()
    hub.put("acme/a", zoo["vit0"])
    early = board.plan()
    hub.put("acme/b", zoo["vit1"])
    late = board.plan()
    meet, real, calls = (
        threading.Barrier(2, timeout=PATIENCE),
        update_module.build_commit,
        itertools.count(),
    )

    def build_commit(*arguments):
        commit = real(*arguments)
        if next(calls) < 2:
            meet.wait()
        return commit

    monkeypatch.setattr(update_module, "build_commit", build_commit)
    errors: list[BaseException] = []

    def run(plan):
        try:
            execute(plan)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(plan,)) for plan in (early, late)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert board.ranked() == {"acme/a", "acme/b"}
    measured = [one["model"] for event in board.log() for one in event["measured"]]
    assert sorted(measured) == ["acme/a", "acme/b"], "each is written once"
    monkeypatch.setattr(update_module, "build_commit", real)
    assert board.plan().steps == ()
    assert_as_if_ranked_at_once(board, tmp_path, ["acme/a", "acme/b"])


def test_an_update_with_an_old_plan_takes_no_model_out(board, zoo, hub):
    board.settings()
    hub.put("acme/a", zoo["vit0"])
    early = board.plan()
    hub.put("acme/b", zoo["vit1"])
    board.update()
    before = board.commits
    (done,) = execute(early)
    assert "nothing is left to write" in done.description
    assert (board.commits, board.ranked()) == (before, {"acme/a", "acme/b"})


def test_several_processes_are_refused(board, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(PublishError, match="one process"):
        board.plan()


def test_an_update_is_refused_if_the_settings_changed_after_its_plan(board, zoo, hub):
    board.settings()
    hub.put("acme/a", zoo["vit0"])
    plan = board.plan()
    board.settings(samples=20)
    with pytest.raises(PublishError, match=r"leaderboard\.yaml of me/board was changed"):
        execute(plan)
    assert board.log() == []


def test_new_data_start_a_new_pool(board, zoo, hub):
    board.settings()
    hub.put("acme/a", zoo["vit0"])
    board.update()
    old = board.log()[-1]["pool"]
    data = factories.image_dataset(n_per_class=9, classes=3, seed=5)
    data.push_to_hub("me/shapes", split="train")
    board.update()
    event = board.log()[-1]
    assert event["pool"] != old
    assert [one["model"] for one in event["measured"]] == ["acme/a"]
    assert "1 earlier run on this split" in board.readme()


def test_the_budget_is_spread_over_updates(board, zoo, hub):
    for number, name in enumerate(("vit0", "vit1", "vit2")):
        hub.put(f"acme/{name}", zoo[name], downloads=10 - number)
    board.settings(budget={"candidates": 2})
    board.update()
    assert board.ranked() == {"acme/vit0", "acme/vit1"}
    assert board.log()[-1]["pending"] == ["acme/vit2"]
    status = leaderboard_status(BOARD)["datasets"][0]
    assert (status["new"], status["next_update_measures"]) == (["acme/vit2"], ["acme/vit2"])
    board.update()
    assert board.ranked() == {"acme/vit0", "acme/vit1", "acme/vit2"}


def test_changed_models_keep_their_place_until_they_are_measured_again(board, zoo, hub):
    hub.put("acme/a", zoo["vit0"], downloads=9)
    hub.put("acme/b", zoo["vit1"], downloads=8)
    board.settings(budget={"candidates": 1})
    board.update()
    board.update()
    old = board.rows()["acme/b"]["model_revision"]
    hub.put("acme/a", zoo["vit2"])
    new = hub.put("acme/b", zoo["resnet"])
    board.update()
    assert board.downloaded() == {"acme/a"}
    assert board.rows()["acme/b"]["model_revision"] == old
    board.update()
    assert board.downloaded() == {"acme/b"}
    assert board.rows()["acme/b"]["model_revision"] == new


def test_named_models_are_each_answered_for(board, zoo, hub):
    hub.put("acme/a", zoo["vit0"])
    board.settings(models=["acme/a", "acme/never"])
    board.update()
    assert board.rows()["acme/never"]["status"] == "failed"
    board.settings(models=["acme/never"])
    board.update()
    assert board.ranked() == set()
    assert board.rows()["acme/a"]["reason"] == "no longer named in leaderboard.yaml"


def test_weights_that_never_arrived_say_nothing_about_the_model(board, zoo, hub, caplog):
    hub.put("acme/a", zoo["vit0"])
    board.settings()
    hub.faults.add(path_regex=r"/acme/a/resolve/.*/model\.safetensors", status=503, times=50)
    plan = board.plan()
    with caplog.at_level(logging.WARNING, "hf_sfda"):
        (done,) = execute(plan)
    assert "nothing is left to write" in done.description
    assert board.log() == []
    hub.faults.clear()
    board.update()
    assert board.ranked() == {"acme/a"}


def test_an_ill_hub_takes_nobody_out_of_the_pool(board, zoo, hub):
    hub.put("acme/a", zoo["vit0"])
    board.settings(models=["acme/a"])
    board.update()
    hub.faults.add(path_regex=r"/api/models/acme/a", status=503, times=50)
    with pytest.raises(PublishError, match="Cannot tell what became of acme/a"):
        board.plan()


def test_a_revision_that_is_gone_is_gone(board, zoo, hub, api):
    hub.put("acme/a", zoo["vit0"])
    owner = type(api)(token=hub.account("acme"))
    owner.create_tag("acme/a", tag="v1")
    hub.put("acme/a", zoo["vit1"])
    board.settings(models=["acme/a@v1"])
    board.update()
    assert board.ranked() == {"acme/a"}
    owner.delete_tag("acme/a", tag="v1")
    board.update()
    assert board.ranked() == set()
    assert "no such revision" in board.rows()["acme/a"]["reason"]


def test_a_dataset_that_is_gone_is_left_as_it_is(board, zoo, hub):
    hub.put("acme/a", zoo["vit0"])
    board.settings(datasets=["me/none", "me/shapes"])
    plan = board.plan()
    assert "me/none is left as it is" in plan.warnings[0]
    execute(plan)
    assert board.ranked() == {"acme/a"}
    hub.delete("me/shapes", "dataset")
    with pytest.raises(TargetError):
        board.plan()


def test_my_private_model_is_not_named_by_a_public_board(board, zoo, hub):
    # A name that no module of ours has: the repository holds a copy of the package.
    hub.put("me/undisclosed", zoo["vit0"], private=True)
    hub.put("acme/a", zoo["vit1"])
    board.settings()
    board.update()
    assert set(board.rows()) == {"acme/a"}
    assert b"undisclosed" not in b"".join(hub.files(BOARD, "dataset").values())


def test_a_damaged_record_is_named(board, zoo, hub):
    hub.put("acme/a", zoo["vit0"])
    board.settings()
    board.update()
    (path,) = [p for p in hub.files(BOARD, "dataset") if p.endswith(".safetensors")]
    hub.put(BOARD, {path: b"nonsense"}, repo_type="dataset")
    hub.put("acme/b", zoo["vit1"])
    with pytest.raises(PublishError, match=r"acme--a.* is damaged .*next update measures"):
        board.update()
    hub.put(BOARD, {"leaderboard/log.jsonl": b"[]\n"}, repo_type="dataset")
    with pytest.raises(PublishError, match=r"Line 1 of leaderboard/log\.jsonl"):
        board.plan()


def test_status_lists_new_models_before_an_update_and_the_pool_after_it(board, zoo, hub):
    with pytest.raises(PublishError, match="leaderboard init me/board"):
        leaderboard_status(BOARD)
    hub.put("acme/a", zoo["vit0"])
    board.settings()
    (before,) = leaderboard_status(BOARD)["datasets"]
    assert (before["last_update"], before["pool"], before["new"]) == (None, [], ["acme/a"])
    board.update()
    (after,) = leaderboard_status(BOARD)["datasets"]
    assert [one["model"] for one in after["pool"]] == ["acme/a"]
    assert (after["new"], after["changed"]) == ([], [])
    assert after["last_update"] == board.log()[-1]["time"]


def test_the_newest_ranking_counts_whatever_the_clock_says(board, zoo, hub, monkeypatch):
    years = iter((2026, 2025))

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(next(years), 1, 1, tzinfo=tz)

    monkeypatch.setattr("hf_sfda.pipeline.datetime", Clock)
    hub.put("acme/a", zoo["vit0"])
    board.settings()
    board.update()
    hub.delete("acme/a")
    hub.put("acme/b", zoo["vit1"])
    board.update()
    assert "| 1 | [acme/b](" in board.readme()
    assert "| acme/a | failed |" in board.readme()
    assert board.rows()["acme/b"]["created_at"] == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_a_local_folder_of_the_same_name_is_refused(board, zoo, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    board.settings(models=["acme/a"])
    factories.image_folder(tmp_path / "me" / "shapes", classes=2)
    with pytest.raises(PublishError, match="me/shapes is also a folder or file here"):
        board.plan()
    shutil.rmtree(tmp_path / "me")
    shutil.copytree(zoo["vit0"], tmp_path / "acme" / "a")
    with pytest.raises(ScanError, match="acme/a is also a folder here"):
        board.plan()
