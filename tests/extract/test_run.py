"""The batch loop and the run over all candidates, in one process."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import hf_sfda.extract.downloads as downloads
import hf_sfda.extract.job as extract_job
from hf_sfda.backbones import EXTRACTOR_VERSION, Outputs, open_backbone
from hf_sfda.config import RankConfig
from hf_sfda.dataset.sample import part_of
from hf_sfda.errors import ExtractionError, StoreError
from hf_sfda.extract import (
    Part,
    extract_all,
    form_batches,
    make_accelerator,
    merge_parts,
    run_batches,
)
from hf_sfda.extract.known import Known
from hf_sfda.extract.measured import measure_norms
from hf_sfda.extract.run import feature_key
from hf_sfda.progress import NoProgress
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore
from hf_sfda.types import Candidate
from tests.backbone_zoo import edit_weights, extract
from tests.factories import images, texts, tiny_bert, tiny_resnet, tiny_timm, tiny_vit
from tests.targets import make_target

CPU = torch.device("cpu")
PICTURES = images(5, 3)[0]
SENTENCES = [" ".join(t.split()[: 2 + i]) for i, t in enumerate(texts(5, 3, length=20)[0])]


def numbers(samples) -> dict[str, torch.Tensor]:
    return {"x": torch.tensor(samples, dtype=torch.float32)}


class Doubler:
    """A backbone whose samples are numbers; its device holds only so many at a time."""

    params, model_class, preprocessing = 1, "Doubler", "none"

    def __init__(self, memory: int = 10**9, message: str = "CUDA out of memory. Tried 1 GiB"):
        self.memory = memory
        self.message = message
        self.tried: list[int] = []
        self.collate = numbers

    def costs(self, samples):
        return [0] * len(samples)

    def groups(self, samples):
        return None

    def forward(self, batch):
        x = batch["x"]
        self.tried.append(len(x))
        if len(x) > self.memory:
            raise RuntimeError(self.message)
        last = torch.stack([x * 2, x * 3], dim=1)
        return Outputs({"block1": x[:, None], "last": last}, last + 1, "doubling")


# -- batches


def test_batches_hold_similar_costs_and_every_sample_once():
    costs = np.random.default_rng(0).integers(3, 60, 101).tolist()
    batches = form_batches(costs, 8)
    flat = [i for batch in batches for i in batch]
    assert sorted(flat) == list(range(101))
    assert [costs[i] for i in flat] == sorted(costs, reverse=True)
    assert {len(batch) for batch in batches[:-1]} == {8}


def test_pictures_stay_in_order():
    assert form_batches([0] * 5, 2) == [[0, 1], [2, 3], [4]]


# -- memory


@pytest.mark.parametrize(
    ("memory", "tried"),
    [(10, [10]), (9, [10, 5, 5]), (2, [10, 5, 2, 2, 2, 2, 2]), (1, [10, 5, 2] + [1] * 10)],
)
def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered(memory, tried):
    backbone = Doubler(memory)
    features = extract(backbone, list(range(10)), batch_size=10)
    assert backbone.tried == tried
    assert features.last[:, 0].tolist() == [2.0 * i for i in range(10)]

    backbone = Doubler(memory)
    features = extract(backbone, list(range(30)), batch_size=10)
    assert backbone.tried.count(10) == (3 if memory == 10 else 1), "the size was not remembered"
    assert features.last[:, 0].tolist() == [2.0 * i for i in range(30)]


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "GET was unable to find an engine to execute this computation",
    ],
)
def test_libraries_that_run_out_of_memory_say_so_in_other_words(message):
    backbone = Doubler(memory=2, message=message)
    extract(backbone, [1, 2, 3, 4], batch_size=4)
    assert backbone.tried == [4, 2, 2]


class Batch:
    """Stands for a tensor that is too large to be copied to the device as a whole."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        return Batch(self.values[rows])

    def to(self, device, non_blocking):
        if len(self) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return self.values


def test_a_batch_that_cannot_be_copied_to_the_device_is_halved():
    backbone = Doubler()
    backbone.collate = lambda samples: {"x": Batch(torch.tensor(samples))}
    extract(backbone, [1, 2, 3, 4, 5], batch_size=5)
    assert backbone.tried == [2, 2, 1]


def test_a_pass_that_fails_leaves_no_activations_for_the_next_one(tmp_path, monkeypatch):
    """Else the smaller batch would have to fit beside the hidden states of the larger one."""
    tiny_bert(tmp_path)
    backbone = open_backbone(
        tmp_path, Candidate("bert"), device=CPU, dtype=torch.float32, max_length=8, modality="text"
    )
    batch = backbone.collate(SENTENCES[:4])
    with monkeypatch.context() as patch:
        patch.setattr("hf_sfda.backbones.text.pool_layers", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            backbone.forward(batch)
    held = []
    backbone.module.register_forward_pre_hook(lambda *_: held.append(backbone._seen))
    backbone.forward(batch)
    assert held == [None]


def test_one_sample_that_does_not_fit_is_an_error():
    with pytest.raises(ExtractionError, match="a single sample does not fit in memory"):
        extract(Doubler(memory=0), [1, 2, 3], batch_size=2)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    backbone = Doubler(memory=0, message="shape mismatch")
    with pytest.raises(RuntimeError, match="shape mismatch"):
        extract(backbone, [1, 2, 3, 4], batch_size=4)
    assert backbone.tried == [4]


def test_a_real_network_gives_the_same_numbers_in_halves(tmp_path):
    tiny_vit(tmp_path)
    backbone = open_backbone(
        tmp_path, Candidate("vit"), device=CPU, dtype=torch.float32, max_length=8, modality="image"
    )
    whole = extract(backbone, PICTURES, batch_size=15)
    forward, sizes = backbone.forward, []

    def tight(batch):
        sizes.append(len(batch["pixel_values"]))
        if sizes[-1] > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return forward(batch)

    backbone.forward = tight
    halved = extract(backbone, PICTURES, batch_size=15)
    assert sizes == [15, 7, 3, 3, 3, 3, 3]
    for name, values in whole.layers.items():
        np.testing.assert_allclose(halved.layers[name], values, atol=1e-6)
    np.testing.assert_allclose(halved.source_logits, whole.source_logits, atol=1e-6)


@pytest.mark.parametrize("setting", [torch.backends.cudnn, torch.backends.cuda.matmul])
def test_forward_passes_do_not_use_tf32_and_the_setting_is_put_back(setting):
    seen, default = [], setting.allow_tf32

    class Watcher(Doubler):
        def forward(self, batch):
            seen.append(setting.allow_tf32)
            return super().forward(batch)

    try:
        for before in (True, False):
            setting.allow_tf32 = before
            extract(Watcher(), [1, 2], batch_size=1)
            assert setting.allow_tf32 is before
    finally:
        setting.allow_tf32 = default
    assert seen == [False] * 4


# -- putting together


def part(ids, last, **stages):
    last = np.asarray(last, dtype=np.float32).reshape(len(ids), -1)
    stages = {name: np.asarray(v, np.float32).reshape(len(ids), -1) for name, v in stages.items()}
    return Part(np.array(ids, dtype=np.int64), {**stages, "last": last}, None, 1.0, "mean")


EMPTY = Part(np.empty(0, np.int64), {}, None, 0.0, "")


def test_parts_come_back_in_the_order_of_the_target():
    features = merge_parts([part([3, 0], [30, 0]), EMPTY, part([2, 1], [20, 10])], 4)
    assert features.last.ravel().tolist() == [0, 10, 20, 30]


@pytest.mark.parametrize("ids", [[0, 1], [0, 1, 2, 2], [0, 1, 1], [1, 2, 3], []])
def test_a_missing_or_repeated_sample_is_noticed(ids):
    with pytest.raises(ExtractionError, match=f"{len(ids)} rows"):
        merge_parts([part(ids, ids)] if ids else [EMPTY], 3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value):
    with pytest.raises(ExtractionError, match=r"1 of 2 samples \(layer block1\)"):
        merge_parts([part([0, 1], [1, 2], block1=[1, value])], 2)
    with pytest.raises(ExtractionError, match="try dtype float32"):
        merge_parts([part([0, 1], [1, value])], 2, dtype="float16")


def test_a_final_stage_that_is_the_last_one_is_kept_once():
    same = merge_parts([part([0, 1], [1, 2], block1=[5, 6], block2=[1, 2 + 1e-6])], 2)
    assert list(same.layers) == ["block1", "last"]
    other = merge_parts([part([0, 1], [1, 2], block1=[5, 6], block2=[1, 2.01])], 2)
    assert list(other.layers) == ["block1", "block2", "last"]
    wider = merge_parts([part([0, 1], [1, 2], block2=[[1, 2], [3, 4]])], 2)
    assert list(wider.layers) == ["block2", "last"]


# -- real models


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Candidates by name, on disk."""
    root = tmp_path_factory.mktemp("zoo")
    for name, make in {"vit": tiny_vit, "resnet": tiny_resnet, "bert": tiny_bert}.items():
        make(root / name)
    tiny_vit(root / "nan")
    edit_weights(root / "nan", lambda weights: next(iter(weights.values())).fill_(torch.nan))
    (root / "empty").mkdir()
    return {path.name: local(path) for path in root.iterdir()}


def local(path, revision=None):
    return Candidate(path.name, "local", revision=revision or f"sha256:{path.name}", path=path)


def run_all(candidates, target, store, *, on_done=None, progress=None, known=None, **config):
    options = {"batch_size": 4, **config}
    return extract_all(
        candidates,
        target,
        config=RankConfig("me/test", **options),
        session=Session(store=store, progress=progress or NoProgress()),
        accelerator=make_accelerator(cpu=True),
        on_done=on_done,
        known=known,
    )


@pytest.mark.parametrize(("name", "samples"), [("vit", PICTURES), ("bert", SENTENCES)])
def test_features_do_not_depend_on_the_batch_size(name, samples, zoo, tmp_path):
    modality = "image" if name == "vit" else "text"
    target = make_target(samples, modality)
    got = []
    for size in (1, 4, 15, 64):
        store = FeatureStore(tmp_path / str(size))
        (extraction,) = run_all([zoo[name]], target, store, batch_size=size)
        got.append(store.get(extraction.key))
    for features in got[1:]:
        assert list(features.layers) == list(got[0].layers)
        for stage, values in features.layers.items():
            np.testing.assert_allclose(values, got[0].layers[stage], atol=2e-6)


@pytest.mark.parametrize("name", ["vit", "resnet", "bert"])
def test_only_what_is_not_known_is_extracted(name, zoo, tmp_path):
    modality, samples = ("text", SENTENCES) if name == "bert" else ("image", PICTURES)
    candidate, target = zoo[name], make_target(samples, modality)
    one, two = np.split(np.random.default_rng(0).permutation(len(samples))[:7], [3])
    store, known = FeatureStore(tmp_path / "store"), Known()
    for rows in (one, two):
        part = part_of(target, rows)
        (extraction,) = run_all([candidate], part, store, batch_norms="published")
        assert extraction.passes == len(rows)
        known = known.with_part(rows, extraction)
    (whole,) = run_all([candidate], target, FeatureStore(tmp_path / "alone"))
    expected = FeatureStore(tmp_path / "alone").get(whole.key)
    n = len(samples)
    assert whole.passes == (3 * n if expected.measured else n)

    def check(passes):
        (joined,) = run_all([candidate], target, store, known={candidate: known})
        assert (joined.key, joined.error, joined.passes) == (whole.key, None, passes)
        got = store.get(joined.key)
        assert (list(got.layers), list(got.measured)) == (
            list(expected.layers),
            list(expected.measured),
        )
        for name, values in got.layers.items():
            np.testing.assert_allclose(values, expected.layers[name], atol=2e-6)
        for name, values in got.measured.items():
            np.testing.assert_array_equal(values, expected.measured[name])
        assert {**got.meta} == {**expected.meta}
        assert got.params == expected.params
        assert (got.source_logits is None) == (expected.source_logits is None)
        if expected.source_logits is not None:
            np.testing.assert_allclose(got.source_logits, expected.source_logits, atol=2e-6)
        store.remove(joined.key.digest)

    check(whole.passes - 7)
    store.remove(known.extractions[0].key.digest)  # what vanished is extracted again
    check(whole.passes - 4)


def test_rows_belong_to_their_samples(zoo, tmp_path):
    store = FeatureStore(tmp_path)
    (forth,) = run_all([zoo["bert"]], make_target(SENTENCES, "text"), store)
    (back,) = run_all([zoo["bert"]], make_target(SENTENCES[::-1], "text", "reversed"), store)
    forth, back = store.get(forth.key), store.get(back.key)
    np.testing.assert_allclose(back.last[::-1], forth.last, atol=2e-6)
    assert np.ptp(forth.last, axis=0).max() > 0.01


@pytest.mark.parametrize(
    ("device", "processes", "room", "workers"),
    [
        ("cuda", 1, 64 << 20, 0),  # a container as Docker starts it
        ("cuda", 1, 1 << 30, 4),
        ("cuda", 2, 1 << 30, 2),
        ("cuda", 1, 1 << 40, 8),
        ("cuda", 4, None, 4),
        ("cpu", 1, 1 << 40, 0),
    ],
)
def test_workers_fit_in_shared_memory(monkeypatch, device, processes, room, workers):
    monkeypatch.setattr(extract_job.os, "cpu_count", lambda: 16)
    monkeypatch.setattr(extract_job, "_shared_memory", lambda: room)
    accelerator = SimpleNamespace(device=torch.device(device), num_processes=processes)
    config = RankConfig("none")
    job = SimpleNamespace(config=config, accelerator=accelerator)
    assert extract_job._workers(job) == workers
    job.config = config.replace(workers=3)
    assert extract_job._workers(job) == 3


def test_workers_change_nothing(zoo, tmp_path):
    backbone = open_backbone(
        zoo["vit"].path, zoo["vit"], device=CPU, dtype=torch.float32, max_length=8, modality="image"
    )
    batches = form_batches([0] * 15, 4)
    alone = run_batches(backbone, PICTURES, batches, device=CPU)
    helped = run_batches(backbone, PICTURES, batches, device=CPU, workers=2)
    assert helped.ids.tolist() == alone.ids.tolist()
    np.testing.assert_array_equal(helped.layers["last"], alone.layers["last"])


def test_a_failure_in_a_worker_keeps_its_reason(zoo, tmp_path):
    target = make_target([*PICTURES[:5], "not a picture"])
    for workers in (0, 1):
        (row,) = run_all([zoo["vit"]], target, FeatureStore(tmp_path), workers=workers)
        assert row.error is not None
        assert "Traceback" not in row.error
        assert "worker process" not in row.error
        assert len(row.error) > 20


def test_features_say_where_they_come_from(zoo, tmp_path):
    store = FeatureStore(tmp_path)
    (extraction,) = run_all([zoo["bert"]], make_target(SENTENCES, "text"), store, max_length=8)
    features = store.get(extraction.key)
    assert features.params == 8560
    assert features.seconds > 0
    assert features.meta["model_class"] == "BertModel"
    assert features.meta["pooling"] == "masked mean"
    assert features.meta["preprocessing"] == "BertTokenizer, 8 tokens"
    assert features.meta["device"] == "cpu"
    assert features.meta["torch"] == torch.__version__
    assert extraction.key.extractor == EXTRACTOR_VERSION
    assert extraction.key.max_length == 8


def test_a_cpu_runs_small_batches(zoo, tmp_path, monkeypatch):
    sizes = []

    def counting(backbone, samples, batches, **options):
        sizes.extend(len(batch) for batch in batches)
        return run_batches(backbone, samples, batches, **options)

    monkeypatch.setattr("hf_sfda.extract.job.run_batches", counting)
    target = make_target([*PICTURES, *PICTURES, *PICTURES])
    run_all([zoo["vit"]], target, FeatureStore(tmp_path), batch_size=64)
    assert sizes == [16, 16, 13]


# -- all candidates


def test_every_candidate_gets_an_answer_in_its_place(zoo, tmp_path):
    names = ["nan", "vit", "empty", "bert", "resnet"]
    heard = []
    rows = run_all(
        [zoo[name] for name in names],
        make_target(PICTURES),
        FeatureStore(tmp_path),
        on_done=heard.append,
    )
    assert [row.candidate.model_id for row in rows] == names
    assert [row.error is None for row in rows] == [False, True, False, False, True]
    assert "NaN" in rows[0].error
    assert "no config.json" in rows[2].error
    assert [row.candidate.model_id for row in heard] == names
    assert all(row.features is None for row in rows)


def test_a_second_run_extracts_nothing(zoo, tmp_path, monkeypatch):
    candidates = [zoo["vit"], zoo["resnet"]]
    store, target = FeatureStore(tmp_path), make_target(PICTURES)
    first = run_all(candidates, target, store)
    assert [row.cached for row in first] == [False, False]
    before = [store.get(row.key).last for row in first]

    def never(*args, **kwargs):
        raise AssertionError("opened again")

    monkeypatch.setattr("hf_sfda.extract.job.open_backbone", never)
    second = run_all(candidates, target, store)
    assert [row.cached for row in second] == [True, True]
    for row, values in zip(second, before, strict=True):
        np.testing.assert_array_equal(store.get(row.key).last, values)


def test_a_damaged_file_is_made_again(zoo, tmp_path):
    store, target = FeatureStore(tmp_path), make_target(PICTURES)
    (row,) = run_all([zoo["vit"]], target, store)
    before = store.get(row.key).last
    (file,) = tmp_path.glob("??/*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    (row,) = run_all([zoo["vit"]], target, store)
    assert (row.cached, row.error) == (False, None)
    np.testing.assert_array_equal(store.get(row.key).last, before)


def test_a_full_disk_loses_nothing_of_this_run(zoo, tmp_path, monkeypatch, caplog):
    store = FeatureStore(tmp_path)

    def full(key, features):
        raise StoreError("cannot write: no space left on device")

    monkeypatch.setattr(store, "put", full)
    with caplog.at_level(logging.WARNING):
        (row,) = run_all([zoo["vit"]], make_target(PICTURES), store)
    assert row.error is None
    assert row.features.last.shape == (15, 16)
    assert "no space left" in caplog.text


def test_a_store_that_cannot_be_locked_or_written_loses_nothing_either(zoo, tmp_path):
    (tmp_path / "file").write_text("")
    (row,) = run_all([zoo["vit"]], make_target(PICTURES), FeatureStore(tmp_path / "file" / "store"))
    assert row.error is None
    assert row.features.last.shape == (15, 16)


def test_the_same_content_twice_is_run_once(zoo, tmp_path, monkeypatch):
    opened = []

    def counting(path, candidate, **options):
        opened.append(candidate.model_id)
        return open_backbone(path, candidate, **options)

    monkeypatch.setattr("hf_sfda.extract.job.open_backbone", counting)
    again = Candidate("copy", "local", revision=zoo["vit"].revision, path=zoo["vit"].path)
    rows = run_all([zoo["vit"], again], make_target(PICTURES), FeatureStore(tmp_path))
    assert [row.candidate.model_id for row in rows] == ["vit", "copy"]
    assert [row.error for row in rows] == [None, None]
    assert opened == ["vit"]
    assert [row.passes for row in rows] == [15, 0], "no sample is counted twice"


def test_another_launch_at_work_is_waited_for_and_its_result_taken(zoo, tmp_path):
    store, target = FeatureStore(tmp_path / "ours"), make_target(PICTURES)
    (made,) = run_all([zoo["vit"]], target, FeatureStore(tmp_path / "theirs"))
    features = FeatureStore(tmp_path / "theirs").get(made.key)
    held, finish = threading.Event(), threading.Event()

    def other_launch():
        with store.lock(made.key):
            held.set()
            finish.wait(30)
            store.put(made.key, features)

    order = []

    def note(extraction):
        order.append(extraction.candidate.model_id)
        finish.set()

    other = threading.Thread(target=other_launch)
    other.start()
    held.wait(30)
    rows = run_all([zoo["vit"], zoo["resnet"]], target, store, on_done=note)
    other.join()
    assert order == ["resnet", "vit"], "a busy model held up a free one"
    assert [row.cached for row in rows] == [True, False]


def test_sharing_by_samples_works_alone_too(zoo, tmp_path):
    names = ["nan", "vit"]
    candidates, target = [zoo[name] for name in names], make_target(PICTURES)
    by_samples = FeatureStore(tmp_path / "samples")
    by_models = FeatureStore(tmp_path / "models")
    rows = run_all(candidates, target, by_samples, work="samples")
    assert "NaN" in rows[0].error
    run_all(candidates, target, by_models, work="models")
    np.testing.assert_array_equal(by_samples.get(rows[1].key).last, by_models.get(rows[1].key).last)


def test_an_interruption_passes_through_and_keeps_what_is_done(zoo, tmp_path):
    def interrupt(extraction):
        raise KeyboardInterrupt

    store, target = FeatureStore(tmp_path), make_target(PICTURES)
    candidates = [zoo["vit"], zoo["resnet"]]
    with pytest.raises(KeyboardInterrupt):
        run_all(candidates, target, store, on_done=interrupt)
    rows = run_all(candidates, target, store)
    assert [row.cached for row in rows] == [True, False]


# -- downloads


def test_the_next_model_downloads_while_one_runs(zoo, tmp_path, monkeypatch):
    """The second download begins before the first model is done, the third does not."""
    begun = {name: threading.Event() for name in ("vit", "resnet", "third")}

    def download(candidate, session):
        begun[candidate.model_id].set()
        return candidate.path

    seen = []

    def watch(path, candidate, **options):
        begun["resnet"].wait(10)
        seen.append((candidate.model_id, begun["third"].is_set()))
        return open_backbone(path, candidate, **options)

    monkeypatch.setattr(downloads, "download_model", download)
    monkeypatch.setattr("hf_sfda.extract.job.open_backbone", watch)
    third = Candidate("third", "local", revision="sha256:third", path=zoo["vit"].path)
    rows = run_all(
        [zoo["vit"], zoo["resnet"], third], make_target(PICTURES), FeatureStore(tmp_path)
    )
    assert [row.error for row in rows] == [None] * 3
    assert seen[0] == ("vit", False)
    assert [name for name, _ in seen] == ["vit", "resnet", "third"]


def test_a_failed_download_is_a_row(zoo, tmp_path, monkeypatch):
    secret = "hf_" + "abcdefghijklmnop" * 2

    def download(candidate, session):
        if candidate.model_id == "vit":
            raise ConnectionResetError(f"the line went dead, {secret}")
        return candidate.path

    monkeypatch.setattr(downloads, "download_model", download)
    rows = run_all([zoo["vit"], zoo["resnet"]], make_target(PICTURES), FeatureStore(tmp_path))
    assert "cannot be reached" in rows[0].error
    assert secret not in rows[0].error
    assert rows[1].error is None


# -- progress


class Recorder:
    """Remembers what it was told."""

    def __init__(self):
        self.told = []

    @contextmanager
    def task(self, kind, name, *, total, unit):
        done = []
        yield done.append
        self.told.append((kind, name, total, unit, sum(done)))


def test_progress_hears_of_every_sample(zoo, tmp_path):
    recorder = Recorder()
    run_all([zoo["vit"]], make_target(PICTURES), FeatureStore(tmp_path / "a"), progress=recorder)
    target = make_target(SENTENCES, "text")
    run_all([zoo["bert"]], target, FeatureStore(tmp_path / "b"), progress=recorder)
    assert recorder.told == [
        ("extract", "vit", 15, "img", 15),
        ("extract", "bert", 15, "texts", 15),
    ]


def test_a_network_that_gives_every_sample_the_same_is_refused():
    class Blind(Doubler):
        def forward(self, batch):
            return super().forward({name: value * 0 for name, value in batch.items()})

    with pytest.raises(ExtractionError, match="same features for all 6 samples"):
        extract(Blind(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    extract(Blind(), [1.0])


# -- batch norms measured on the target


def extracted(tmp_path, folder, samples, **options):
    """The features of one local checkpoint."""
    config = RankConfig("me/test", **options)
    store = FeatureStore(tmp_path / "store")
    candidate = Candidate(str(folder), None, path=folder)
    (result,) = extract_all(
        [candidate],
        make_target(samples),
        config=config,
        session=Session(store=store),
        accelerator=make_accelerator(cpu=True),
    )
    assert result.error is None
    return store.get(result.key)


def opened(folder):
    candidate = Candidate("m", None)
    return open_backbone(
        folder, candidate, device=CPU, dtype=torch.float32, max_length=8, modality="image"
    )


def by_hand(folder, samples, batch=64):
    """Layers after the batch norms took the mean of the statistics of shuffled batches."""
    backbone = opened(folder)
    norms = [m for m in backbone.module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    sums = {norm: [] for norm in norms}

    def record(norm, inputs):
        x = inputs[0]
        sums[norm].append((x.mean((0, 2, 3)), x.var((0, 2, 3))))

    hooks = [norm.register_forward_pre_hook(record) for norm in norms]
    order = np.random.default_rng(0).permutation(len(samples))[:256].tolist()
    backbone.module.train()
    with torch.no_grad():
        for start in range(0, len(order), batch):
            backbone.forward(backbone.collate([samples[i] for i in order[start : start + batch]]))
    for hook in hooks:
        hook.remove()
    backbone.module.eval()
    for norm, statistics in sums.items():
        norm.running_mean.copy_(torch.stack([mean for mean, _ in statistics]).mean(0))
        norm.running_var.copy_(torch.stack([variance for _, variance in statistics]).mean(0))
    with torch.no_grad():
        outputs = backbone.forward(backbone.collate(samples))
    return {name: values.numpy() for name, values in outputs.layers.items()}


@pytest.mark.parametrize("make", [tiny_resnet, tiny_timm])
def test_features_with_measured_batch_norms_are_those_of_a_plain_loop(tmp_path, make):
    folder = make(tmp_path / "m")
    samples = images(8, 3)[0]
    got = extracted(tmp_path, folder, samples, batch_size=5)
    want = by_hand(folder, samples)
    assert list(got.measured) == list(got.layers)
    for name, values in got.measured.items():
        np.testing.assert_allclose(values, want[name], rtol=5e-3, atol=1e-3)
        assert not np.allclose(values, got.layers[name], rtol=1e-2)
    published = extracted(tmp_path, folder, samples, batch_norms="published")
    assert published.measured == {}
    for name, values in published.layers.items():
        np.testing.assert_allclose(values, got.layers[name], rtol=1e-4, atol=1e-5)


def test_networks_without_batch_norm_have_no_measured_features(tmp_path):
    samples = images(12, 3)[0]
    assert extracted(tmp_path, tiny_vit(tmp_path / "vit"), samples).measured == {}


def test_texts_are_not_extracted_twice(tmp_path):
    key = feature_key(Candidate("m", "a" * 40), make_target(SENTENCES, "text"), RankConfig("x"))
    assert key.batch_norms == "published"


def test_too_few_samples_have_no_statistics(tmp_path):
    folder = tiny_resnet(tmp_path / "m")
    samples = images(3, 3)[0]
    assert extracted(tmp_path, folder, samples[:7]).measured == {}
    assert extracted(tmp_path, folder, samples[:8]).measured.keys() == {"stage1", "last"}


def test_measuring_uses_at_most_256_samples_and_halves_a_batch_that_does_not_fit(tmp_path):
    folder = tiny_resnet(tmp_path / "m")
    backbone = opened(folder)
    forward, sizes = backbone.forward, []

    def limited(batch):
        sizes.append(len(next(iter(batch.values()))))
        if sizes[-1] > 40:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")
        return forward(batch)

    backbone.forward = limited
    samples = images(100, 3)[0]
    assert measure_norms(backbone, samples, device=CPU)
    assert sizes[0] == 64
    assert sum(sizes[1:]) == 256
    assert set(sizes[1:]) == {32}
    statistics = next(m for m in backbone.module.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert statistics.num_batches_tracked == 8, "the batch that failed does not count"


def test_measured_features_that_are_not_finite_are_left_out():
    plain = part([0, 1, 2], [1, 2, 1])
    broken = replace(plain, measured=part([0, 1, 2], [np.nan] * 3))
    assert merge_parts([broken], 3).measured == {}
    assert merge_parts([replace(plain, measured=plain)], 3).measured.keys() == {"last"}


# -- features that are known


def test_known_features_are_put_where_the_others_are_missing():
    known = [part([3, 0], [30, 0]), part([2], [20])]
    new = replace(part([1], [10]), measured=part([2, 0, 1, 3], [2, 0, 1, 3]))
    features = merge_parts([new, EMPTY], 4, known=known)
    assert features.last.ravel().tolist() == [0, 10, 20, 30]
    assert features.measured["last"].ravel().tolist() == [0, 1, 2, 3]
    assert features.seconds == 3, "all that it took"
    assert merge_parts([EMPTY], 3, known=[part([0, 2, 1], [0, 2, 1])]).last.ravel().tolist() == [
        0,
        1,
        2,
    ]
    with pytest.raises(ExtractionError, match="3 rows"):
        merge_parts([part([1], [10])], 4, known=known[:1])


def test_a_process_without_new_samples_still_measures_batch_norms():
    new = [replace(EMPTY, measured=part([0], [5])), replace(EMPTY, measured=part([1], [6]))]
    features = merge_parts(new, 2, known=[part([1, 0], [1, 0])])
    assert features.last.ravel().tolist() == [0, 1]
    assert features.measured["last"].ravel().tolist() == [5, 6]


def test_a_final_layer_that_looks_like_the_last_one_on_the_known_samples_is_that_there():
    known = [part([0, 1], [1, 2], block1=[5, 6])]
    different = part([2, 3], [3, 4], block1=[7, 8], block2=[9, 9])
    features = merge_parts([different], 4, known=known)
    assert list(features.layers) == ["block1", "block2", "last"]
    assert features.layers["block2"].ravel().tolist() == [1, 2, 9, 9]
    same = part([2, 3], [3, 4], block1=[7, 8], block2=[3, 4])
    assert list(merge_parts([same], 4, known=known).layers) == ["block1", "last"]
