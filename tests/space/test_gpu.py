"""The path by way of ZeroGPU: forced on, with a CPU in place of the GPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hf_sfda.config import RankConfig
from hf_sfda.dataset import images, load_target
from hf_sfda.errors import JobError
from hf_sfda.extract.run import feature_key
from hf_sfda.space import gpu
from hf_sfda.space.samples import previews, read_target, write_target
from hf_sfda.space.worker import read_candidates, write_candidates
from hf_sfda.store import FeatureStore
from hf_sfda.types import Candidate, TextPair, Word
from tests import factories
from tests.space.test_events import PLAN
from tests.targets import make_target

# -- the target on disk


def same(one: object, other: object) -> None:
    assert one.describe() == other.describe()
    assert one.inputs_fingerprint == other.inputs_fingerprint
    assert one.sample_ids == other.sample_ids
    assert np.array_equal(one.labels, other.labels)
    assert one.modality == other.modality
    assert len(one.samples) == len(other.samples)


@pytest.mark.parametrize("in_memory", [True, False])
def test_pictures_are_handed_over_pixel_by_pixel(tmp_path, monkeypatch, in_memory):
    if not in_memory:
        monkeypatch.setattr("hf_sfda.dataset.inputs.IN_MEMORY", 0)
    folder = factories.image_folder(tmp_path / "data", n_per_class=4, size=20)
    shutil.copy(next(folder.rglob("*.png")), folder / "kind_00" / "wide.png")
    target = load_target(str(folder))
    assert isinstance(target.samples, tuple) == in_memory
    write_target(target, tmp_path)
    again = read_target(tmp_path)
    same(target, again)
    assert isinstance(again.samples, images.LazyImages) != in_memory
    for one, other in zip(target.samples, again.samples, strict=True):
        assert (one.size, one.mode, one.tobytes()) == (other.size, other.mode, other.tobytes())


@pytest.mark.parametrize(
    ("column", "labels"),
    [("score", [i / 3 for i in range(12)]), ("labels", [["a"], ["a", "b"], ["b"]] * 4)],
)
def test_labels_of_each_kind_are_handed_over(tmp_path, column, labels):
    from datasets import Dataset

    data = Dataset.from_dict({"text": [f"text {i}" for i in range(12)], column: labels})
    data.to_parquet(tmp_path / "x.parquet")
    target = load_target(str(tmp_path / "x.parquet"))
    write_target(target, tmp_path)
    same(target, read_target(tmp_path))
    assert read_target(tmp_path).labels.dtype == target.labels.dtype


def test_texts_are_handed_over(tmp_path):
    target = make_target(["a text", "naïve 😀 花", "x\ny"], "text")
    write_target(target, tmp_path)
    same(target, read_target(tmp_path))
    assert list(read_target(tmp_path).samples) == list(target.samples)


def test_pairs_of_texts_are_handed_over(tmp_path):
    target = make_target([TextPair("a", "naïve 😀 花"), TextPair("x\ny", "| b")], "text")
    write_target(target, tmp_path)
    again = read_target(tmp_path)
    same(target, again)
    assert list(again.samples) == target.samples
    assert all(isinstance(sample, TextPair) for sample in again.samples)


def test_words_are_handed_over(tmp_path):
    words = [Word(("a", "naïve 😀", ""), 1), Word(("alone",), 0), Word(("x", "y"), 1)]
    target = replace(make_target(words, "text"), label_kind="token")
    write_target(target, tmp_path)
    again = read_target(tmp_path)
    same(target, again)
    assert list(again.samples) == words
    assert all(isinstance(sample, Word) for sample in again.samples)
    assert again.labels.dtype == np.int64


def test_a_word_is_shown_in_its_sentence():
    words = [Word(("the", "ship", "sails"), 1), Word(("far",) * 200 + ("ship",), 200)]
    shown = previews(make_target(words, "text"), [0, 1])
    assert shown[0]["text"] == "the [ship] sails"
    assert shown[1]["text"].endswith("far far [ship]") and len(shown[1]["text"]) < 300


def test_both_texts_of_a_pair_are_shown():
    target = make_target([TextPair("a premise", "it " * 500), "alone"], "text")
    shown = previews(target, [0, 1])
    assert shown[0]["text"].startswith("a premise | it it") and len(shown[0]["text"]) < 300
    assert shown[1]["text"] == "alone"


# -- the step itself, without a fork


@pytest.fixture
def fetched(tmp_path):
    """A job's directory as the fetching process leaves it: three models, one of them broken."""
    data = factories.image_folder(tmp_path / "data", n_per_class=4)
    target = load_target(str(data))
    folders = [factories.tiny_vit(tmp_path / f"m{i}", seed=i) for i in range(3)]
    (folders[1] / "model.safetensors").write_bytes(b"broken")
    candidates = [
        Candidate(f"a/{i}", revision=f"r{i}", path=folder, library="transformers", params=1)
        for i, folder in enumerate(folders)
    ]
    candidates.append(Candidate("a/skipped", skip="too large"))
    write_target(target, tmp_path)
    write_candidates(tmp_path, candidates)
    return tmp_path, target


def test_the_step_stores_features_and_says_what_failed(fetched):
    directory, target = fetched
    config = RankConfig(dataset="data")
    store = FeatureStore(directory / "store")
    events = [e for e in gpu.extract(str(directory), config.to_dict(), str(store.root), 60) if e]
    became = {e["model"]: e["reason"] for e in events if e["event"] == "extracted"}
    assert became["a/0"] is None
    assert became["a/2"] is None
    assert "a/skipped" not in became
    assert became["a/1"]
    stored = [
        store.has(feature_key(c, target, config))
        for c in read_candidates(directory)
        if c.skip is None
    ]
    assert stored == [True, False, True]
    assert json.loads(json.dumps(events)) == events, "plain values, fit to travel"


def test_an_extraction_that_is_closed_runs_no_further_model(fetched):
    directory, target = fetched
    config = RankConfig(dataset="data")
    store = FeatureStore(directory / "store")
    step = gpu.extract(str(directory), config.to_dict(), str(store.root), 60)
    next(event for event in step if event and event["event"] == "progress")
    step.close()
    last = read_candidates(directory)[2]
    assert not store.has(feature_key(last, target, config))


def test_an_error_that_ends_the_extraction_is_an_event(tmp_path):
    step = gpu.extract(str(tmp_path), RankConfig(dataset="data").to_dict(), str(tmp_path), 60)
    (event,) = [event for event in step if event is not None]
    assert event["event"] == "failed"
    assert "FileNotFoundError" in event["message"]


# -- around it


class FakeJob:
    """A job whose processes only write down that they ran."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.planned = PLAN
        self.cancelled = False
        self.too_long = "too long"
        self.verbs: list[str] = []

    def run(self, verb, deadline):
        self.verbs.append(verb)
        yield {"event": "fetched", "store": "s"} if verb == "fetch" else {"event": "ranked"}

    def work(self):
        class Work:
            config = RankConfig(dataset="data")

        return Work()


@pytest.fixture
def job(tmp_path):
    write_candidates(
        tmp_path, [Candidate("a/0", path=tmp_path), Candidate("a/1"), Candidate("a/2", skip="no")]
    )
    return FakeJob(tmp_path)


def stepping(monkeypatch, *events, error=None):
    def step(directory, config, store, seconds):
        assert (store, seconds) == ("s", 30)
        yield from events
        if error is not None:
            raise error

    monkeypatch.setattr(gpu, "register", lambda: step)


def done(model, reason=None):
    return {"event": "extracted", "model": model, "reason": reason, "cached": False}


class GradioError(Exception):
    """As gradio's: the text is in ``message``."""

    def __init__(self, message):
        super().__init__()
        self.message = message


def test_failures_on_the_gpu_are_not_tried_again(job, monkeypatch):
    stepping(monkeypatch, done("a/0"), None, done("a/1", "NaN"))
    events = list(gpu.rank_on_gpu(job, float("inf")))
    assert events[-1] == {"event": "ranked"}
    assert {"event": "fetched", "store": "s"} not in events
    assert job.verbs == ["fetch", "rank"]
    left = read_candidates(job.directory)
    assert [(c.skip, c.status) for c in left[:2]] == [(None, "skipped"), ("NaN", "failed")]
    assert left[2].skip == "no"


def test_when_the_gpu_is_taken_away_what_was_done_is_ranked(job, monkeypatch):
    stepping(monkeypatch, done("a/0"), error=GradioError("GPU task aborted"))
    assert list(gpu.rank_on_gpu(job, float("inf")))[-1] == {"event": "ranked"}
    left = read_candidates(job.directory)
    assert left[0].skip is None
    assert left[1].skip == "not run on the GPU: GPU task aborted"


def test_without_a_gpu_the_visitor_hears_why(job, monkeypatch):
    stepping(monkeypatch, error=GradioError("You have exceeded your quota."))
    with pytest.raises(JobError, match=r"exceeded your quota\. Try again later"):
        list(gpu.rank_on_gpu(job, float("inf")))
    assert job.verbs == ["fetch"]


@pytest.mark.parametrize(("cancelled", "deadline"), [(True, float("inf")), (False, 0.0)])
def test_a_gpu_step_ends_when_it_is_cancelled_or_out_of_time(job, monkeypatch, cancelled, deadline):
    closed = []

    def step(*_):
        try:
            yield from [None] * 10
        finally:
            closed.append(True)

    monkeypatch.setattr(gpu, "register", lambda: step)
    job.cancelled = cancelled
    with pytest.raises(JobError, match="Cancelled" if cancelled else "too long"):
        list(gpu.rank_on_gpu(job, deadline))
    assert closed


def test_the_gpu_seconds_grow_with_the_models_within_bounds():
    from dataclasses import replace

    def plan(params, n):
        model = replace(PLAN.models[0], params=params, download_bytes=10**12)
        return replace(PLAN, models=(model,) * n, n_samples=2000)

    assert gpu.gpu_seconds(plan(1000, 1)) == gpu._SHORTEST
    assert gpu.gpu_seconds(plan(10**12, 12)) == gpu._LONGEST
    some, more = gpu.gpu_seconds(plan(100_000_000, 2)), gpu.gpu_seconds(plan(300_000_000, 2))
    assert gpu._SHORTEST < some < more < gpu._LONGEST


@pytest.mark.slow
def test_a_job_on_zero_gpu_runs_with_the_real_spaces_package(hub, hub_env, tmp_path):
    """Fork, pickled arguments, events back, and the server's token out of it all."""
    data = factories.image_dataset(n_per_class=12, classes=3)
    data.push_to_hub("me/private", split="train", private=True)
    card = {"pipeline_tag": "image-classification", "library_name": "transformers"}
    for seed, name in enumerate(["one", "broken"]):
        folder = factories.tiny_vit(tmp_path / "zoo" / name, seed=seed)
        factories.write_card(folder, **card)
        hub.put(f"acme/{name}", folder)
    broken = dict(hub.files("acme/broken"))
    config = json.loads(broken["config.json"]) | {"hidden_size": 24}
    hub.put("acme/broken", broken | {"config.json": json.dumps(config).encode()})
    (tmp_path / "token").write_text(hub.read_token)
    request = {"dataset": "me/private", "models": ["acme/one", "acme/broken"]}
    env = {**hub_env, "OMP_NUM_THREADS": "1", "HF_TOKEN": "hf_" + "s" * 30}
    finished = subprocess.run(
        [
            sys.executable, "-m", "tests.space.zero_gpu",
            tmp_path, json.dumps(request), tmp_path / "token",
        ],
        env=env, cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    out = json.loads(finished.stdout.splitlines()[-1])
    assert out["error"] is None, finished.stderr
    assert out["device"] == "gpu"
    kinds = [path.partition("?")[0] for path in out["asked"]]
    assert kinds == ["/schedule", "/allow", "/release"]
    assert "durationSeconds=30" in out["asked"][0]
    assert out["rows"]["acme/one"] == ["ok", None]
    assert out["rows"]["acme/broken"][0] == "failed"
    assert out["cached"] == [True], "the last process extracted nothing"
    assert ["acme/one", "extracting"] in out["states"]
    assert hub.read_token not in finished.stdout + finished.stderr
