"""``cache export`` and ``rank --features``: features travel over HTTP, weights do not."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import HfApi, constants

from hf_sfda.feature_dataset import INDEX, entry_paths
from hf_sfda.hub.access import Repo
from hf_sfda.publish.features import card_values
from hf_sfda.store import FeatureKey, FeatureStore, default_root
from hf_sfda.types import Features
from tests import factories
from tests.command import run_command
from tests.publishing import make_ranking

NAME = "me/features"
OPTIONS = ("--resamples", "100", "--permutations", "0")
MODELS = ("acme/vit", "acme/resnet", "local/timm")


@dataclass
class Saved:
    """What a run leaves: its folder, the caches of the libraries, and what is on the Hub."""

    root: Path
    repos: dict[tuple[str, str], Any] | None = None

    @property
    def work(self) -> Path:
        """Where the run was made. It holds this path, so each test works here."""
        return self.root / "work"

    def save(self, hub) -> None:
        self.repos = copy.deepcopy(hub.state.repos)
        for kept, folder in self._folders():
            shutil.copytree(folder, kept, symlinks=True)

    def restore(self, hub) -> None:
        hub.state.repos.update(copy.deepcopy(self.repos))
        for kept, folder in self._folders():
            shutil.copytree(kept, folder, symlinks=True, dirs_exist_ok=True)

    def _folders(self) -> Iterator[tuple[Path, Path]]:
        yield self.root / "saved work", self.work
        yield self.root / "saved home", Path(os.environ["HF_HOME"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Saved:
    """Empty until a test has made the run: a Hub belongs to one test, and so does a cache."""
    return Saved(tmp_path_factory.mktemp("features"))


@pytest.fixture
def work(hub, saved, monkeypatch):
    """A run of two models of the Hub and a folder, on a dataset of the Hub; made once."""
    saved.work.mkdir()
    monkeypatch.chdir(saved.work)
    if saved.repos is None:
        make_run(hub, saved.work)
        saved.save(hub)
    else:
        saved.restore(hub)
    yield saved.work
    shutil.rmtree(saved.work)


def make_run(hub, work: Path) -> None:
    for name, make in (("acme/vit", factories.tiny_vit), ("acme/resnet", factories.tiny_resnet)):
        folder = make(work / "made" / name)
        factories.write_card(folder, license="apache-2.0")
        hub.put(name, folder)
    factories.tiny_timm(work / "local" / "timm")
    (work / "data" / "data").mkdir(parents=True)
    images = factories.image_dataset(n_per_class=12, classes=3)
    images.to_parquet(work / "data" / "data" / "train-00000-of-00001.parquet")
    hub.put("acme/shapes", work / "data", repo_type="dataset")
    rank("--models", *MODELS, "-o", "run")


def rank(*arguments: str, code: int = 0) -> tuple[str, str]:
    return run_command("rank", "--dataset", "acme/shapes", *OPTIONS, *arguments, code=code)


def export(*arguments: str, code: int = 0) -> tuple[str, str]:
    return run_command("cache", "export", "run", "--to", NAME, *arguments, code=code)


def ranking(directory: str = "run") -> dict:
    return json.loads(Path(directory, "ranking.json").read_text())


def forget(hub) -> None:
    """No weights and no features are left, neither here nor on the Hub."""
    shutil.rmtree(default_root())
    for name in MODELS[:2]:
        hub.delete(name)
        shutil.rmtree(Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}")
    shutil.rmtree("local")


def test_others_rank_without_weights_and_get_the_same(hub, work):
    plan, err = export()
    assert f"dataset {NAME}: a new public repository" in plan
    assert "Features reveal something about the samples" in " ".join(err.split())
    assert ("datasets", NAME) not in hub.state.repos
    export("--yes", "--expect", err.split("--expect ")[1].split()[0])
    forget(hub)

    rank("--features", NAME, "-o", "again", "--json")
    before, after = ranking(), ranking("again")
    rows = {Path(row["model_id"]).name: row for row in before["rows"]}
    assert len(after["rows"]) == 3
    for row in after["rows"]:
        name = Path(row["model_id"]).name
        same = {k: rows[name][k] for k in ("rank", "scores", "intervals", "params", "feature_key")}
        assert {k: row[k] for k in same} == same, name
    assert {row["model_id"] for row in after["rows"]} == {"acme/vit", "acme/resnet", "timm"}
    assert {row["license"] for row in after["rows"]} == {"apache-2.0", None}
    sha = HfApi().dataset_info(NAME).sha
    assert after["config"]["features"] == f"{NAME}@{sha}"
    assert after["config"]["fingerprint"] == before["config"]["fingerprint"]
    assert "features" not in before["config"]
    [warning] = [text for text in after["warnings"] if NAME in text]
    assert warning.startswith("Features come from me/features@")
    assert "cannot be checked" in warning

    # Another metric, from what is here now: no request for features.
    hub.requests.clear()
    rank("--features", NAME, "--metric", "hscore_lw", "-o", "another")
    assert not [r.path for r in hub.requests if ".safetensors" in r.path]
    plan = json.loads(rank("--features", NAME, "--plan", "--json")[0])
    assert [model["stored"] for model in plan["models"]] == [True] * 3


def test_the_plan_counts_the_features_to_download(hub, work):
    export("--yes")
    forget(hub)
    plan = json.loads(rank("--features", NAME, "--plan", "--json")[0])
    index = [json.loads(line) for line in hub.files(NAME, "dataset")[INDEX].splitlines()]
    assert plan["download_bytes"] == sum(row["bytes"] for row in index) > 0
    assert not list(FeatureStore().entries())


def test_the_code_of_the_card_reads_features_and_labels(hub, work, capsys):
    export("--yes")
    files = hub.files(NAME, "dataset")
    _, front, body = files["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(front)["configs"] == [{"config_name": "default", "data_files": INDEX}]
    assert "--dataset acme/shapes" in body
    names: dict = {}
    exec(body.split("```python\n")[1].split("```")[0], names)
    assert sorted(names["labels"].tolist()) == [0] * 12 + [1] * 12 + [2] * 12
    stored = FeatureStore().get_by_digest(names["row"]["feature_key"])
    np.testing.assert_array_equal(names["layers"]["last"], stored.last)
    from datasets import load_dataset

    assert set(load_dataset(NAME, split="train")["model"]) == {"acme/vit", "acme/resnet", "timm"}
    assert str(work) not in "".join(map(repr, files.values())), "no path of this machine"


def test_the_command_of_the_card_asks_for_the_same_samples():
    options = {"split": "validation", "label_column": "stars", "task": "regression"}
    ranking = make_ranking(**options, samples=3000)
    assert ranking.dataset["n_samples"] == 1270, "of 3,000 that were asked for"
    command = card_values(Repo("me/features", "dataset"), ranking)["command"]
    assert command == (
        f"hf-sfda rank --dataset me/plants --revision {'d' * 40} --split validation --label-column "
        "stars --task regression --samples 3000 --seed 0 --features me/features"
    )


def test_a_second_run_adds_what_is_new_and_changes_nothing_else(hub, work):
    export("--yes")
    first = hub.files(NAME, "dataset")
    assert json.loads(export("--json")[0])["steps"] == []
    factories.tiny_vit(work / "other", seed=5)
    rank("--models", *MODELS, "other", "--samples", "30", "-o", "run")
    export("--yes")
    second = hub.files(NAME, "dataset")
    assert len(second[INDEX].splitlines()) == len(first[INDEX].splitlines()) + 4
    kept = first.keys() - {INDEX}
    assert {path: second[path] for path in kept} == {path: first[path] for path in kept}
    # Of the two samples, each run finds its own.
    assert len(json.loads(rank("--features", NAME, "--json", "-o", "a")[0])["rows"]) == 3
    args = ("--features", NAME, "--samples", "30", "--json", "-o", "b")
    assert len(json.loads(rank(*args)[0])["rows"]) == 4


def test_named_models_are_ranked_and_only_missing_ones_are_run(hub, work):
    export("--yes")
    shutil.rmtree(default_root())
    factories.tiny_vit(work / "other", seed=5)
    rank("--features", NAME, "--models", "acme/vit", "other", "-o", "again")
    events = [json.loads(line) for line in Path("again", "journal.jsonl").read_text().splitlines()]
    cached = {e["model"]: e["cached"] for e in events if e["event"] == "extracted"}
    assert cached == {"acme/vit": True, "other": False}
    assert "Features come from me/features@" in " ".join(ranking("again")["warnings"])


def test_damaged_and_foreign_features_are_refused_by_name(hub, work):
    export("--yes")
    index = [json.loads(line) for line in hub.files(NAME, "dataset")[INDEX].splitlines()]
    vit, resnet, timm = (
        next(row for row in index if row["model"] == name)
        for name in ("acme/vit", "acme/resnet", "timm")
    )
    files = hub.files(NAME, "dataset")
    broken = dict(files)
    # The features of another model under the name of this one, and one with NaN in it.
    broken[entry_paths(vit["feature_key"])[0]] = files[entry_paths(resnet["feature_key"])[0]]
    store = FeatureStore(work / "other-store")
    key = FeatureKey(**timm["key"])
    store.put(key, Features(layers={"last": np.full((36, 4), np.nan, np.float32)}))
    marker, data = store.files_of(key.digest)
    broken[entry_paths(key.digest)[0]] = marker.read_bytes()
    broken[entry_paths(key.digest)[1]] = data.read_bytes()
    put(hub, work / "broken", broken)
    shutil.rmtree(default_root())
    rank("--features", NAME, "-o", "again")
    reasons = {row["model_id"]: row["reason"] for row in ranking("again")["rows"]}
    assert reasons["acme/resnet"] is None
    assert "the marker is not one of these features" in reasons["acme/vit"]
    assert "hold NaN" in reasons["timm"]


def put(hub, folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    hub.put(NAME, folder, repo_type="dataset")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.pop("model"), "damaged in line 1: model is missing"),
        (lambda row: row.update(samples="many"), "damaged in line 1: samples"),
        (lambda row: row["key"].update(model="0" * 40), "do not fit the key"),
        (lambda row: row["key"].update(more=1), "key is not the key of a feature store"),
    ],
)
def test_a_damaged_index_is_refused(hub, work, change, message):
    export("--yes")
    files = hub.files(NAME, "dataset")
    rows = [json.loads(line) for line in files[INDEX].splitlines()]
    change(rows[0])
    put(hub, work / "broken", {**files, INDEX: "\n".join(map(json.dumps, rows)).encode()})
    _, err = rank("--features", NAME, code=2)
    assert message in " ".join(err.split())


def test_what_cannot_be_used_is_said(hub, work):
    assert "does not exist" in rank("--features", "me/none", code=2)[1]
    assert "no features dataset" in " ".join(rank("--features", "acme/shapes", code=2)[1].split())
    assert "give a dataset of the Hub" in " ".join(rank("--features", "x", code=2)[1].split())
    export("--yes")
    err = " ".join(rank("--features", NAME, "--seed", "1", "--samples", "20", code=2)[1].split())
    assert "holds no features of these 20 samples. It has: acme/shapes @" in err
    assert "(36 samples of train, seed 0)" in err
    err = " ".join(rank("--features", NAME, "--license", "mit", code=2)[1].split())
    assert "license chooses among models of the Hub" in err


def test_what_cannot_be_exported_is_said(hub, work):
    assert "OWNER/NAME" in run_command("cache", "export", "run", "--to", "x", code=1)[1]
    err = run_command("cache", "export", "run", "--to", "acme/features", code=1)[1]
    assert "belongs to acme" in " ".join(err.split())
    hub.put("me/pictures", work / "data", repo_type="dataset")
    err = run_command("cache", "export", "run", "--to", "me/pictures", "--yes", code=1)[1]
    assert "is no features dataset: it holds data/" in " ".join(err.split())
    shutil.rmtree(default_root())
    assert "no longer stored" in " ".join(export(code=1)[1].split())


def test_a_private_dataset_is_not_made_public_unnoticed(hub, work):
    hub.put("me/secret", work / "data", repo_type="dataset")
    hub.state.repos[("datasets", "me/secret")].private = True
    shutil.rmtree("run")
    run_command("rank", "--dataset", "me/secret", "--models", "acme/vit", *OPTIONS, "-o", "run")
    assert "me/secret is private, and dataset me/features is public" in flat(export()[1])
    assert "is private" not in flat(export("--private")[1])
    export("--yes", "--private")
    assert hub.state.repos[("datasets", NAME)].private


def flat(text: str) -> str:
    return " ".join(text.split())
