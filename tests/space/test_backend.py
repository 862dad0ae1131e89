"""What visitors of the Space may see of a board's dataset: what the Hub lets them, now."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

import hf_sfda
from hf_sfda.errors import SfdaError
from hf_sfda.publish.rows import make_run
from hf_sfda.space.backend import Backend
from hf_sfda.space.jobs import Jobs
from hf_sfda.space.settings import Limits, Settings
from tests import factories

DATASET = "anna/shapes"
MODELS = ("acme/vit", "acme/resnet")


@pytest.fixture
def backend(hub, tmp_path, monkeypatch):
    """A server with a board on `DATASET`, whose features are here and whose data is not."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = tmp_path / "data" / "train-00000-of-00001.parquet"
    data.parent.mkdir()
    factories.image_dataset(n_per_class=12, classes=2).to_parquet(data)
    hub.put(DATASET, {"data/train-00000-of-00001.parquet": data.read_bytes()}, repo_type="dataset")
    for make, name in zip((factories.tiny_vit, factories.tiny_resnet), MODELS, strict=True):
        hub.put(name, make(tmp_path / name))
    ranking = hf_sfda.rank(DATASET, MODELS, samples=24, permutations=0, metrics=["sfda_cv"])
    run = make_run(ranking)
    hub.put("me/results", {run.path: run.parquet()}, repo_type="dataset")
    _forget_data()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.delenv("HF_TOKEN")
    jobs = Jobs(Limits(seconds=120), tmp_path / "jobs")
    yield Backend(Settings("me/results", results_token=hub.token), jobs)
    jobs.close()


def _shared() -> list[Path]:
    """What lies of the dataset in the caches that all visitors share."""
    hub, datasets = Path(os.environ["HF_HUB_CACHE"]), Path(os.environ["HF_DATASETS_CACHE"])
    return [*hub.glob("datasets--anna--shapes"), *datasets.glob("anna___shapes")]


def _forget_data() -> None:
    for folder in _shared():
        shutil.rmtree(folder)


def samples(backend: Backend, token: str | None) -> int:
    """How many samples a visitor sees who compares."""
    try:
        _, target = backend.compare(backend.require_view(DATASET), *MODELS, token=token)
    except SfdaError as error:
        assert f"{DATASET} is not on the Hub" in str(error)
        return 0
    assert target is not None
    assert all(picture.size == target.samples[0].size for picture in target.samples)
    return len(target)


def test_a_private_dataset_is_read_for_its_owner_alone_and_leaves_nothing(backend, hub):
    hub.set(DATASET, repo_type="dataset", private=True)
    anna, hub.requests[:] = hub.account("anna"), []
    assert samples(backend, None) == 0
    assert samples(backend, anna) == 24
    assert _shared() == []
    assert samples(backend, None) == samples(backend, hub.account("ben")) == 0
    read = [r for r in hub.requests if DATASET in r.path and r.status == 200]
    assert {request.account for request in read} == {"anna"}


def test_a_cache_does_not_answer_for_the_hub(backend, hub):
    """On one's own machine it may hold what one read oneself before the server was started."""
    hf_sfda.load_target(DATASET, samples=24)
    assert _shared()
    hub.set(DATASET, repo_type="dataset", private=True)
    assert samples(backend, None) == 0
    assert samples(backend, hub.account("anna")) == 24
    assert samples(backend, None) == 0


def test_a_public_dataset_is_read_once_for_all(backend, hub):
    assert samples(backend, hub.account("anna")) == 24
    hub.requests.clear()
    assert samples(backend, None) == 24
    assert not [request for request in hub.requests if DATASET in request.path]
