"""The plan of a run: what is downloaded, how long it takes, and when it asks."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from hf_sfda import RankConfig, find_candidates
from hf_sfda.dataset import target_of
from hf_sfda.errors import ConfigError
from hf_sfda.extract import make_accelerator
from hf_sfda.pipeline import plan, rank
from hf_sfda.ranking.cost import ModelLoad, estimate
from hf_sfda.ranking.plan import calibrate, known_speed
from hf_sfda.session import Session
from hf_sfda.store import FeatureKey, FeatureStore
from hf_sfda.types import Features
from tests import factories
from tests.command import run_command


@pytest.fixture
def data(tmp_path):
    return factories.image_folder(tmp_path / "data")


@pytest.fixture
def two(hub, tmp_path):
    """Two models on the Hub that can be ranked, and one that cannot."""
    vit, resnet = factories.tiny_vit(tmp_path / "vit"), factories.tiny_resnet(tmp_path / "resnet")
    for folder in (vit, resnet):
        factories.write_card(folder, pipeline_tag="image-classification")
    hub.put("acme/vit", vit, downloads=9)
    hub.put("acme/resnet", resnet, downloads=5)
    hub.put("acme/gated", vit, downloads=7, gated="auto")
    hub.requests.clear()
    return hub


def options(data, tmp_path) -> dict:
    return {
        "dataset": str(data), "samples": 30, "metric": "knn", "metrics": ("knn",),
        "out": str(tmp_path / "run"),
    }  # fmt: skip


def words(data, tmp_path) -> list[str]:
    return ["rank", "-d", str(data), "-n", "30", "--metric", "knn", "--metrics", "knn",
            "--out", str(tmp_path / "run")]  # fmt: skip


def test_a_plan_says_what_is_here_and_downloads_nothing(two, data, tmp_path):
    store = FeatureStore(tmp_path / "store")
    config = RankConfig(**options(data, tmp_path))
    session = Session(store=store)
    before = plan(config, session)
    assert [model.model_id for model in before.models] == ["acme/vit", "acme/resnet"]
    assert before.left_out == {"gated": 1}
    assert before.download_bytes >= sum(4 * (m.params or 0) for m in before.models) > 0
    assert (before.cached_bytes, before.n_unknown) == (0, 0)
    assert before.memory_bytes == 4 * max(m.params or 0 for m in before.models)
    assert before.seconds[0] < before.seconds[1]
    assert "another machine" in before.speed.basis
    assert {request.path for request in two.requests} == {"/api/models"}
    assert not (tmp_path / "run").exists()
    assert not list((tmp_path / "store").rglob("*"))

    rank(**options(data, tmp_path), store=store)
    after = plan(config, session)
    assert all(model.stored for model in after.models)
    assert (after.download_bytes, after.memory_bytes) == (0, 0)
    assert after.cached_bytes > 0
    assert after.seconds[1] < before.seconds[1]
    more = plan(config.replace(samples=20), session)
    assert not any(model.stored for model in more.models) and more.download_bytes == 0


def test_a_candidate_that_is_here_calibrates_the_time(hub, data, tmp_path):
    folder = factories.tiny_vit(tmp_path / "vit")
    store = FeatureStore(tmp_path / "store")
    config = RankConfig(**options(data, tmp_path), models=(str(folder),))
    planned = plan(config, Session(store=store))
    assert planned.speed.basis.startswith("from 30 samples of ")
    fast, slow = planned.speed.per_second
    assert fast == 4 * slow > 0
    assert not list((tmp_path / "store").rglob("*.safetensors")), "nothing is kept"
    assert hub.requests == []


@pytest.mark.parametrize("labels", [np.linspace(0, 1, 30), np.eye(30, 4)])
def test_a_calibration_does_not_look_at_labels(hub, data, tmp_path, labels):
    folder = factories.tiny_vit(tmp_path / "vit")
    config = RankConfig(**options(data, tmp_path))
    target = replace(target_of(config), labels=labels)
    speed = calibrate(
        find_candidates([str(folder)]), target, config, FeatureStore(tmp_path), make_accelerator()
    )
    assert speed is not None and "30 samples" in speed.basis


def test_earlier_runs_say_how_fast_this_machine_is(tmp_path):
    store = FeatureStore(tmp_path)
    assert known_speed(store, "image", "float32").per_second is None
    for number, seconds in enumerate((2.0, 4.0, 8.0, 0.1)):
        key = FeatureKey(f"m{number}", "i", "image", "float32", None, 1)
        features = Features({"last": np.ones((10, 2), np.float32)}, params=800, seconds=seconds)
        store.put(key, features)
    speed = known_speed(store, "image", "float32")
    assert speed.per_second == (3000, 1500), "quartiles of 4000, 2000, 1000"
    assert "3 earlier models here" in speed.basis
    assert known_speed(store, "text", "float32").per_second is None


def test_a_measured_speed_takes_the_place_of_the_table():
    known = {"samples": 100, "modality": "image", "device": "cpu", "cores": 9}
    start = estimate([], **known)
    with_model = estimate([ModelLoad(10**6)], **known, speed=(1e6, 1e5))
    fixed = estimate([ModelLoad(0)], **known)
    assert np.allclose(np.subtract(with_model, fixed), (100, 1000))
    assert start < with_model


def test_plan_is_shown_alone(two, data, tmp_path):
    out, log = run_command(*words(data, tmp_path), "--plan", "--format", "human")
    assert "Plan     2 candidates on 30 samples" in out and "left out: gated (1)" in out
    assert "Target" in log
    assert not (tmp_path / "run").exists()
    document = json.loads(run_command(*words(data, tmp_path), "--plan", "--json")[0])
    assert [model["model_id"] for model in document["models"]] == ["acme/vit", "acme/resnet"]
    assert document["download_bytes"] > 0 and document["estimate_basis"]
    assert run_command(*words(data, tmp_path), "--plan", "-q")[0].split() == [
        "acme/vit", "acme/resnet",
    ]  # fmt: skip
    run_command(*words(data, tmp_path), "--plan", "--author", "nobody", code=1)


def test_a_large_download_is_not_begun_where_nobody_can_be_asked(two, data, tmp_path):
    _, log = run_command(*words(data, tmp_path), "--ask-above", "0", "--json", code=2)
    assert "of weights would be downloaded, more than the 0 GB of --ask-above" in log
    assert "Add --yes" in log
    assert {request.path for request in two.requests} == {"/api/models"}
    out, _ = run_command(*words(data, tmp_path), "--ask-above", "0", "--json", "--yes")
    assert len(json.loads(out)["rows"]) == 3
    out, _ = run_command(*words(data, tmp_path), "--ask-above", "0", "--json")
    assert json.loads(out)["rows"], "everything is here now"


@pytest.mark.parametrize(("answer", "code"), [("n\n", 1), ("y\n", 0)])
def test_on_a_terminal_rank_asks_before_a_large_download(
    two, data, tmp_path, monkeypatch, answer, code
):
    import io

    terminal = io.StringIO(answer)
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", terminal)
    arguments = [*words(data, tmp_path), "--ask-above", "0", "--format", "human"]
    out, log = run_command(*arguments, code=code)
    assert "Go on?" in out + log and "Plan     2 candidates" in log
    assert (tmp_path / "run" / "ranking.json").exists() == (code == 0)


def test_a_small_local_run_is_as_it_was(hub, data, tmp_path):
    folder = factories.tiny_vit(tmp_path / "vit")
    arguments = [*words(data, tmp_path), "--models", str(folder), "--ask-above", "0"]
    _, log = run_command(*arguments, "--format", "human")
    assert "Plan" not in log and "Go on?" not in log


def test_an_error_of_the_one_who_approves_ends_the_run(two, data, tmp_path):
    from hf_sfda.pipeline import run

    def refuse(planned):
        raise ConfigError(f"{len(planned.models)} are too many")

    config = RankConfig(**options(data, tmp_path))
    with pytest.raises(ConfigError, match="2 are too many"):
        run(replace(config, seed=1), approve=refuse)
    assert {request.path for request in two.requests} == {"/api/models"}
