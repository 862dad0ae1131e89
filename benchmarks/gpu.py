"""Does everything work on a GPU, does it give the numbers of the CPU, and how fast is it?

    python -m benchmarks.gpu --out runs/gpu          # one NVIDIA GPU, less than eight minutes
    python -m benchmarks.gpu --out runs/gpu --device cpu      # the same code on tiny sizes

Each part runs in a process of its own with its own time limit, so a crash or a hang ends one part
only. What a part measured before it ended is kept. ``gpu.json`` in the folder has every figure and
every failure with its traceback; a short table in Markdown is printed at the end. Nothing is
downloaded: all networks have random weights.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hf_sfda.versions import library_versions

if TYPE_CHECKING:
    from accelerate import Accelerator

    from hf_sfda.backbones import Backbone
    from hf_sfda.finetune.train import Progress
    from hf_sfda.types import Features, Modality, Target

REPOSITORY = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
USUAL_NETWORKS = ("ViT-B/16", "ResNet-50", "BERT-base")
TINY_FAMILIES = ("vit", "resnet", "timm", "bert", "wav2vec2")


SHORTEST = 10
"""A part is not begun with fewer seconds: its process needs them to start."""


@dataclass(frozen=True)
class Sizes:
    """How much each part does.

    Attributes:
        full: Networks of usual size (ViT-B/16, ResNet-50, BERT-base), not tiny ones.
        samples: Samples of a measured extraction.
        bare: Samples of a round of the bare loop.
        compared: Samples of a comparison with the CPU.
        batch: Samples a batch.
        dtypes: Data types of the throughput.
        problem: (N, D, C) of the timed scores.
        shapes: (N, D) of the contract.
        suites: Name -> arguments of pytest.
    """

    full: bool
    samples: int
    bare: int
    compared: int
    batch: int
    dtypes: tuple[str, ...]
    problem: tuple[int, int, int]
    shapes: tuple[tuple[int, int], ...]
    suites: dict[str, tuple[str, ...]]


CUDA_TESTS = ("tests/metrics/test_contract.py", "-k", "gpu")
FULL = Sizes(
    full=True,
    samples=4096,
    bare=1024,
    compared=16,
    batch=64,
    dtypes=("float32", "bfloat16", "float16"),
    problem=(10_000, 768, 100),
    shapes=((150, 12), (60, 90), (2000, 256)),
    suites={
        "tests that need a GPU": CUDA_TESTS,
        # These use the GPU where there is one.
        "tests of the extraction": ("tests/extract/test_run.py",),
    },
)
SMALL = Sizes(
    full=False,
    samples=24,
    bare=16,
    compared=9,
    batch=8,
    dtypes=("float32", "bfloat16"),
    problem=(300, 24, 4),
    shapes=((150, 12), (60, 90)),
    suites={"tests that need a GPU": CUDA_TESTS},
)


@dataclass(frozen=True)
class Setting:
    """What every part is given.

    Attributes:
        device: The device that is examined.
        sizes: How much to do.
        work: Folder for checkpoints and features; deleted at the end.
    """

    device: torch.device
    sizes: Sizes
    work: Path

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"


class Record:
    """The figures and failures of one part, written to a file after each of them.

    Args:
        file: Where to write them.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.figures: list[dict[str, Any]] = []
        self.failures: list[dict[str, str]] = []
        self.seconds: dict[str, float] = {}

    def add(self, what: str, **values: Any) -> None:
        """Keep the values of one measurement."""
        self.figures.append({"what": what, **values})
        self._write()

    def fail(self, what: str, error: str, trace: str = "") -> None:
        """Keep a failure."""
        self.failures.append({"what": what, "error": error, "traceback": trace})
        self._write()

    @contextlib.contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Keep an exception as a failure and go on."""
        begun = time.monotonic()
        try:
            yield
        except Exception as error:
            self.fail(what, f"{type(error).__name__}: {error}", traceback.format_exc())
        self.seconds[what] = round(time.monotonic() - begun, 2)
        self._write()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            free_memory()

    def check(self, what: str, is_right: bool, message: str) -> None:
        """Keep a failure where something is not as it must be."""
        if not is_right:
            self.fail(what, message)

    def _write(self) -> None:
        content = {
            "figures": self.figures,
            "failures": self.failures,
            "seconds_of": self.seconds,
        }
        unfinished = self._file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(content, indent=1, default=str), encoding="utf-8")
        unfinished.replace(self._file)


# -- helpers


def free_memory() -> None:
    """Free the memory of the networks of the previous measurement."""
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], Any], device: torch.device, rounds: int) -> float:
    """Least wall seconds of some rounds, after one that warms up."""
    work()
    best = float("inf")
    for _ in range(rounds):
        wait_for(device)
        start = time.perf_counter()
        work()
        wait_for(device)
        best = min(best, time.perf_counter() - start)
    return best


def relative_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference of two arrays, relative to the largest number in the first."""
    return float(np.abs(one - other).max() / max(float(np.abs(one).max()), 1e-30))


def accelerator_on(device: torch.device) -> Accelerator:
    """An accelerator for a device, also where this process had one for another device."""
    from accelerate.state import AcceleratorState

    from hf_sfda.extract import make_accelerator

    AcceleratorState._reset_state(reset_partial_state=True)
    return make_accelerator(cpu=device.type == "cpu")


def pictures(n: int, side: int) -> list[Any]:
    """Some different noisy images, repeated up to n."""
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (min(n, 256), side, side, 3), dtype=np.uint8)
    return list(islice(cycle([Image.fromarray(values) for values in pixels]), n))


def sentences(n: int, longest: int) -> list[str]:
    """Texts of 5 to ``longest`` words that the tokenizer of the tiny BERT knows."""
    from tests.factories import FILLER

    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(FILLER, rng.integers(5, longest + 1))) for _ in range(n)]


def target_of(samples: Sequence[Any], modality: Modality, name: str) -> Target:
    """A target of these samples; ``name`` stands for its content."""
    from tests.targets import make_target

    return make_target(samples, modality, name)


@dataclass(frozen=True)
class Network:
    """A checkpoint on disk and samples for it."""

    name: str
    path: Path
    modality: Modality
    samples: list[Any]


def usual_network(setting: Setting, name: str) -> Network:
    """A network of usual size with random weights, or a tiny one of the same kind.

    It is built where it does not exist yet.
    """
    from tests.factories import tiny_bert, tiny_resnet, tiny_vit

    full, n = setting.sizes.full, setting.sizes.samples
    path = setting.work / "checkpoints" / name.replace("/", "-")
    exists = (path / "model.safetensors").is_file() and (path / "done").is_file()
    transformer = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "initializer_range": 0.02,
    }
    if name == "ViT-B/16":
        more: dict[str, Any] = {"image_size": 224, "patch_size": 16, "num_labels": 1000}
        if not exists:
            tiny_vit(path, **({**transformer, **more} if full else {}))
    elif name == "ResNet-50":
        more = {
            "embedding_size": 64,
            "hidden_sizes": [256, 512, 1024, 2048],
            "depths": [3, 4, 6, 3],
            "layer_type": "bottleneck",
            "num_labels": 1000,
        }
        if not exists:
            tiny_resnet(path, **(more if full else {}))
            if full:
                _take_larger_images(path)
    else:
        more = {"vocab_size": 30_522, "max_position_embeddings": 512}
        if not exists:
            tiny_bert(path, **({**transformer, **more} if full else {}))
            if full:
                _take_longer_texts(path)
    (path / "done").touch()
    if name == "BERT-base":
        return Network(name, path, "text", sentences(n, 120 if full else 12))
    return Network(name, path, "image", pictures(n, 256 if full else 40))


def _take_larger_images(path: Path) -> None:
    import transformers

    processor = transformers.ConvNextImageProcessorPil(
        size={"shortest_edge": 224}, crop_pct=224 / 256
    )
    processor.save_pretrained(str(path))


def _take_longer_texts(path: Path) -> None:
    file = path / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**settings, "model_max_length": 512}), encoding="utf-8")


def tiny_network(setting: Setting, family: str) -> Network:
    """A tiny checkpoint of each kind of backbone, with samples."""
    from hf_sfda.types import Sound
    from tests import factories

    path, n = setting.work / "checkpoints" / f"tiny-{family}", setting.sizes.compared
    if not path.is_dir():
        getattr(factories, f"tiny_{family}")(path)
    if family == "bert":
        return Network(f"tiny {family}", path, "text", sentences(n, 12))
    if family == "wav2vec2":
        waves = factories.sounds(-(-n // 3), 3)[0][:n]
        return Network(f"tiny {family}", path, "audio", [Sound(wave, 16_000) for wave in waves])
    return Network(f"tiny {family}", path, "image", factories.images(-(-n // 3), 3)[0][:n])


def opened(network: Network, device: torch.device, dtype: str = "float32") -> Backbone:
    """Open a checkpoint as a run does it."""
    from hf_sfda.backbones import open_backbone
    from hf_sfda.types import Candidate

    return open_backbone(
        network.path,
        Candidate(network.name, "local", path=network.path),
        device=device,
        dtype=getattr(torch, dtype),
        max_length=128,
        modality=network.modality,
    )


def extracted(
    setting: Setting,
    network: Network,
    device: torch.device,
    *,
    n: int,
    dtype: str = "float32",
    batch_norms: str = "published",
    name: str = "samples",
) -> Features:
    """The features of the first ``n`` samples, by the extraction of a run.

    Raises:
        RuntimeError: There are none.
    """
    from hf_sfda.config import RankConfig
    from hf_sfda.extract import extract_all
    from hf_sfda.session import Session
    from hf_sfda.store import FeatureStore
    from hf_sfda.types import Candidate

    samples = list(islice(cycle(network.samples), n))
    config = RankConfig(
        "none",
        dtype=dtype,  # type: ignore[arg-type]
        batch_norms=batch_norms,  # type: ignore[arg-type]
        batch_size=setting.sizes.batch,
    )
    candidate = Candidate(network.name, "local", path=network.path)
    with tempfile.TemporaryDirectory(dir=setting.work) as folder:
        store = FeatureStore(folder)
        (extraction,) = extract_all(
            [candidate],
            target_of(samples, network.modality, name),
            config=config,
            session=Session(store=store),
            accelerator=accelerator_on(device),
        )
        features = extraction.features or store.get(extraction.key)
    if extraction.error is not None or features is None:
        raise RuntimeError(f"no features: {extraction.error}")
    return features


# -- the parts


def run_tests(setting: Setting, record: Record) -> None:
    """The project's own tests that need or use a GPU."""
    for name, arguments in setting.sizes.suites.items():
        report = setting.work / "tests.xml"
        report.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(
            [*command, f"--junitxml={report}"],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )
        if not report.is_file():
            record.fail(name, f"pytest ended with {done.returncode}", done.stdout + done.stderr)
            continue
        counts, failed = read_report(report)
        record.add(name, **counts)
        for test, text in failed.items():
            record.fail(f"{name}: {test}", text.strip().splitlines()[0][:300], text)


def read_report(file: Path) -> tuple[dict[str, int], dict[str, str]]:
    """Read the counts in a report of pytest, and the text of each failure."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failed = {}
    for case in ElementTree.parse(file).getroot().iter("testcase"):
        bad = [element for element in case if element.tag in ("failure", "error")]
        if bad:
            text = f"{bad[0].get('message') or ''}\n{bad[0].text or ''}"
            failed[str(case.get("name"))] = text if text.strip() else "no message"
        kind = "failed" if bad else "passed" if case.find("skipped") is None else "skipped"
        counts[kind] += 1
    return counts, failed


def compare_metrics(setting: Setting, record: Record) -> None:
    """Every registered metric on the same arrays on the CPU and on the device."""
    from hf_sfda.metrics import list_metrics
    from hf_sfda.scoring import score

    for metric in list_metrics():
        if metric.needs == "candidate":
            continue
        with record.attempt(metric.name):
            largest, is_same = 0.0, True
            for n, width in setting.sizes.shapes:
                if metric.name == "nleep" and n > 500:
                    continue  # its mixture is fitted on the CPU, and slow
                X, y, logits = classes(n, width, 4)
                for labels in _labels_for(metric.tasks, X, y):
                    on_device = torch.from_numpy(X).to(setting.device)
                    one = score(X, labels, metric.name, source_logits=logits)
                    two, again = (
                        score(on_device, labels, metric.name, source_logits=logits)
                        for _ in range(2)
                    )
                    scale = max(1.0, abs(one.value))
                    difference = abs(one.value - two.value) / scale
                    if one.per_sample is not None and two.per_sample is not None:
                        apart = float(np.abs(one.per_sample - two.per_sample).max())
                        difference = max(difference, apart / scale)
                    largest = max(largest, difference)
                    is_same &= two.value == again.value
            record.add(metric.name, largest_difference=largest, repeats_to_the_bit=is_same)
            record.check(
                metric.name, largest <= 1e-8, f"differs from the CPU by {largest:.1e} (limit 1e-8)"
            )


def classes(n: int, width: int, n_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, D), classes (N,) and outputs of a head (N, 7): Gaussian classes, seeded."""
    rng = np.random.default_rng(n + width)
    y = np.arange(n) % n_classes
    centres = rng.normal(size=(n_classes, width))
    X = centres[y] + rng.normal(size=(n, width)) * np.linspace(0.5, 1.5, width)
    logits = rng.normal(size=(n, 7))
    logits[np.arange(n), y % 7] += 2
    return X, y, logits


def _labels_for(tasks: frozenset[Any], X: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    labels = {
        "single-label": y,
        "regression": X[:, 0] + y,
        "multi-label": np.stack([y == 0, y >= 2, y % 2 == 0], axis=1).astype(np.int64),
    }
    return [values for kind, values in labels.items() if kind in tasks]


def measure_throughput(setting: Setting, record: Record) -> None:
    """Samples per second of an extraction, and of a bare loop of the same forward passes."""
    for dtype in setting.sizes.dtypes:
        for name in USUAL_NETWORKS:
            with record.attempt(f"{name}, {dtype}"):
                _throughput(setting, record, usual_network(setting, name), dtype)


def _throughput(setting: Setting, record: Record, network: Network, dtype: str) -> None:
    from hf_sfda.extract.job import default_workers
    from hf_sfda.extract.loop import form_batches, load_batches

    device, sizes = setting.device, setting.sizes
    backbone = opened(network, device, dtype)
    costs = backbone.costs(network.samples)
    few = network.samples[: sizes.bare]
    groups = form_batches(costs[: sizes.bare], _batch_size(setting))
    workers = default_workers(accelerator_on(device))
    start = time.perf_counter()
    loaded = load_batches(backbone, few, groups, device=device, workers=workers)
    batches = [batch for _, batch in loaded]
    loading = time.perf_counter() - start
    moved = [{name: t.to(device) for name, t in batch.items()} for batch in batches]
    bare_rate = len(few) / seconds_of(partial(_forward, backbone, moved), device, rounds=2)
    del backbone, moved, batches, loaded
    free_memory()
    features = extracted(setting, network, device, n=sizes.samples, dtype=dtype)
    rate = sizes.samples / float(features.seconds or 0)
    figures = {
        "dtype": dtype,
        "samples_per_second": rate,
        "bare_samples_per_second": bare_rate,
        "share_of_bare": rate / bare_rate,
        "loaded_samples_per_second": len(few) / loading,
        "workers": workers,
    }
    if network.modality == "text":
        # The bare loop has other texts: the first ones, which are drawn alike.
        figures["tokens_per_second"] = rate * sum(costs) / len(costs)
        figures["bare_tokens_per_second"] = bare_rate * sum(costs[: sizes.bare]) / len(few)
    record.add(f"{network.name}, {dtype}", **figures)


@torch.inference_mode()
def _forward(backbone: Backbone, batches: Sequence[dict[str, torch.Tensor]]) -> None:
    from hf_sfda.extract.loop import without_tf32

    with without_tf32():
        for batch in batches:
            backbone.forward(batch)


def _batch_size(setting: Setting) -> int:
    return setting.sizes.batch if setting.on_gpu else min(setting.sizes.batch, 16)


def compare_features(setting: Setting, record: Record) -> None:
    """Features on the CPU and on the device: networks of usual size, and every kind of backbone."""
    makers: list[tuple[str, str, float, Callable[[], Network]]] = [
        (f"tiny {family}", "both", 1e-3, partial(tiny_network, setting, family))
        for family in TINY_FAMILIES
    ]
    makers += [
        (name, "published", 1e-3, partial(usual_network, setting, name)) for name in USUAL_NETWORKS
    ]
    n = setting.sizes.compared
    for name, batch_norms, limit, make in makers:
        with record.attempt(name):
            network = make()
            one, two = (
                extracted(setting, network, device, n=n, batch_norms=batch_norms)
                for device in (CPU, setting.device)
            )
            record.check(name, list(one.layers) == list(two.layers), "has other layers")
            record.check(name, list(one.measured) == list(two.measured), "has other layers")
            pairs = {
                key: (values, two.layers[key])
                for key, values in one.layers.items()
                if key in two.layers
            }
            pairs |= {
                f"{key}, measured": (values, two.measured[key])
                for key, values in one.measured.items()
                if key in two.measured
            }
            if one.source_logits is not None and two.source_logits is not None:
                pairs["logits"] = (one.source_logits, two.source_logits)
            differences = {key: relative_difference(*pair) for key, pair in pairs.items()}
            largest = max(differences.values())
            record.add(name, largest_difference=largest, by_layer=differences)
            record.check(
                name, largest <= limit, f"differs from the CPU by {largest:.1e} (limit {limit:g})"
            )


def time_scores(setting: Setting, record: Record) -> None:
    """Seconds of a score on the CPU and on the device, and how far the scores are apart."""
    X, y, _ = classes(*setting.sizes.problem)
    for dtype in ("float32", "float64"):
        for metric in ("sfda", "sfda_cv"):
            with record.attempt(f"{metric}, {dtype}"):
                _time_score(setting, record, torch.from_numpy(X.astype(dtype)), y, metric)


def _time_score(
    setting: Setting, record: Record, features: torch.Tensor, y: np.ndarray, metric: str
) -> None:
    from hf_sfda.scoring import score

    on_device = features.to(setting.device)
    on_cpu_seconds = seconds_of(lambda: score(features, y, metric), CPU, rounds=2)
    on_device_seconds = seconds_of(lambda: score(on_device, y, metric), setting.device, rounds=5)
    difference = abs(score(features, y, metric).value - score(on_device, y, metric).value)
    name = f"{metric}, {str(features.dtype).removeprefix('torch.')}"
    record.add(
        name,
        cpu_seconds=on_cpu_seconds,
        device_seconds=on_device_seconds,
        speed_up=on_cpu_seconds / on_device_seconds,
        difference=difference,
        cpu_threads=torch.get_num_threads(),
    )
    record.check(name, difference <= 1e-8, f"differs by {difference:.1e}")


class Limited:
    """Less memory than an undisturbed run needs, while it is active.

    On a GPU the allocator of torch is given a smaller share of the memory. Elsewhere forward passes
    over more than a quarter of the batch raise the same error.

    Args:
        setting: The device.
        backbone: Its forward passes are watched.
        batch: Samples of the largest batch.
    """

    def __init__(self, setting: Setting, backbone: Backbone, batch: int) -> None:
        self._setting, self._backbone, self._batch = setting, backbone, batch
        self.tried: list[int] = []
        self.limit_bytes = 0

    def need(self, work: Callable[[], Any]) -> Any:
        """Run ``work`` undisturbed and measure what it needs beyond what is allocated now."""
        self._base = self._peak = 0
        if not self._setting.on_gpu:
            return work()
        free_memory()
        torch.cuda.reset_peak_memory_stats()
        self._base = torch.cuda.memory_reserved()
        result = work()
        self._peak = torch.cuda.max_memory_allocated()
        free_memory()
        return result

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Limit the memory to 0.4 of what :meth:`need` found; a quarter of the batch fits."""
        forward: Any = self._backbone.forward

        def watched(batch: dict[str, torch.Tensor]) -> Any:
            size = len(next(iter(batch.values())))
            self.tried.append(size)
            if not self._setting.on_gpu and size > self._batch // 4:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
            return forward(batch)

        self._backbone.forward = watched  # type: ignore[method-assign, assignment]
        if self._setting.on_gpu:
            total = torch.cuda.get_device_properties(self._setting.device).total_memory
            self.limit_bytes = round(self._base + 0.4 * (self._peak - self._base))
            torch.cuda.set_per_process_memory_fraction(self.limit_bytes / total)
        try:
            yield
        finally:
            self._backbone.forward = forward  # type: ignore[method-assign]
            if self._setting.on_gpu:
                torch.cuda.set_per_process_memory_fraction(1.0)

    def figures(self) -> dict[str, Any]:
        """What happened."""
        return {
            "first_batch": self.tried[0] if self.tried else None,
            "last_batches": self.tried[-3:],
            "smallest_batch": min(self.tried, default=None),
            "memory_undisturbed": self._peak,
            "memory_limit": self.limit_bytes,
        }


def provoke_lack_of_memory(setting: Setting, record: Record) -> None:
    """Extraction and a training step with too little memory for the first batch."""
    with record.attempt("extraction"):
        _extract_in_little_memory(setting, record)
    with record.attempt("training step"):
        _train_in_little_memory(setting, record)


def _extract_in_little_memory(setting: Setting, record: Record) -> None:
    from hf_sfda.extract import run_batches

    network = usual_network(setting, "ViT-B/16")
    size = 4 * setting.sizes.batch
    samples = list(islice(cycle(network.samples), size))
    backbone = opened(network, setting.device)
    batches = [list(range(size))]

    def extract() -> np.ndarray:
        part = run_batches(backbone, samples, batches, device=setting.device)
        return part.layers["last"][np.argsort(part.ids)]

    limited = Limited(setting, backbone, size)
    whole = limited.need(extract)
    with limited.active():
        pieces = extract()
    difference = relative_difference(whole, pieces)
    record.add("extraction", difference=difference, **limited.figures())
    largest, smallest = limited.tried[0], min(limited.tried)
    record.check("extraction", largest == size, f"began with {largest} samples, not {size}")
    record.check("extraction", smallest < size, "the whole batch fitted: nothing was tested")
    record.check("extraction", difference <= 1e-4, f"features differ by {difference:.1e}")


def _train_in_little_memory(setting: Setting, record: Record) -> None:
    from hf_sfda.config import FinetuneConfig
    from hf_sfda.finetune.batches import Inputs, Runner
    from hf_sfda.finetune.classifier import Classifier, Head
    from hf_sfda.finetune.objectives import single_label
    from hf_sfda.finetune.parts import Part
    from hf_sfda.finetune.train import Progress, cpu_state, evaluate, train

    network = usual_network(setting, "ViT-B/16")
    accelerator = accelerator_on(setting.device)
    backbone = opened(network, accelerator.device)
    size = setting.sizes.batch
    part = Part(network.samples[:size], np.arange(size, dtype=np.int64) % 3)
    objective = single_label(3, smoothing=0.1)
    inputs = Inputs(backbone, part, "image", objective)
    with torch.no_grad():
        first = next(inputs.batches(range(1), 1))[1]
        first = {name: t.to(accelerator.device) for name, t in first.items()}
        width = backbone.forward(first).layers["last"].shape[1]
    torch.manual_seed(0)
    classifier = Classifier(backbone, Head(torch.zeros(width), torch.ones(width), 3))
    classifier.to(accelerator.device)
    start = cpu_state(classifier)
    config = FinetuneConfig(
        learning_rates=(1e-4,),
        epochs=1,
        min_steps=0,
        patience=1,
        batch_size=size,
        augment=False,
    )

    def step() -> tuple[Progress, int]:
        runner = Runner(accelerator)
        classifier.load_state_dict(start)
        before = evaluate(runner, classifier, inputs, objective, 0)
        progress = Progress(1e-4, [before], best=start, weights=start)
        train(runner, classifier, inputs, inputs, objective, config, progress)
        classifier.zero_grad(set_to_none=True)
        progress.optimizer = None  # it would keep memory on the device
        return progress, runner.limit

    limited = Limited(setting, backbone, size)
    whole, _ = limited.need(step)
    with limited.active():
        pieces, limit = step()
    one, two = whole.curve[-1], pieces.curve[-1]
    assert one.train_loss is not None
    assert two.train_loss is not None
    difference = max(
        abs(one.train_loss - two.train_loss), abs(one.validation_loss - two.validation_loss)
    )
    weights = max(
        float((whole.weights[name].float() - t.float()).abs().max())
        for name, t in pieces.weights.items()
    )
    record.add(
        "training step",
        **limited.figures(),
        limit=limit,
        loss=one.train_loss,
        difference_of_losses=difference,
        difference_of_weights=weights,
    )
    record.check("training step", limit < size, "the whole batch fitted: nothing was tested")
    record.check("training step", difference <= 1e-3, f"losses differ by {difference:.1e}")


def finetune_tiny(setting: Setting, record: Record) -> None:
    """A whole fine-tuning on the CPU and on the device: accuracy, repetition, resuming, saving."""
    for family in ("vit", "resnet", "bert"):
        with record.attempt(f"tiny {family}"):
            _finetune(setting, record, family)


def _finetune(setting: Setting, record: Record, family: str) -> None:
    from hf_sfda.config import FinetuneConfig
    from hf_sfda.errors import StoppedError
    from hf_sfda.finetune import finetune
    from hf_sfda.finetune.export import Trained, export
    from hf_sfda.types import Candidate
    from tests.factories import images, texts

    name, n = f"tiny {family}", 40 if setting.sizes.full else 12
    network = tiny_network(setting, family)
    samples, labels = texts(n, 3) if family == "bert" else images(n, 3)
    target = replace(
        target_of(samples, network.modality, f"fine-tuning {family}"),
        labels=np.array(labels, dtype=np.int64),
    )
    epochs = 8 if setting.sizes.full else 2
    config = FinetuneConfig(learning_rates=(1e-3,), epochs=epochs, min_steps=0, patience=epochs)
    candidate = Candidate(name, "local", path=network.path)

    def save(trained: Trained) -> None:
        folder = setting.work / f"saved-{family}"
        folder.mkdir()
        with record.attempt(f"{name}: saving"):
            exported = export(trained, folder)
            record.add(f"{name}: saving", format=exported.format)

    on_cpu = finetune(candidate, target, config, accelerator=accelerator_on(CPU))
    accelerator = accelerator_on(setting.device)
    on_device = finetune(candidate, target, config, accelerator=accelerator)
    again = finetune(candidate, target, config, accelerator=accelerator, on_trained=save)
    record.add(
        name,
        cpu_accuracy=on_cpu.value,
        device_accuracy=on_device.value,
        cpu_probe_accuracy=on_cpu.probe_value,
        device_probe_accuracy=on_device.probe_value,
        cpu_seconds=on_cpu.seconds,
        device_seconds=again.seconds,
        test_samples=on_cpu.n_test,
        device=on_device.device,
        repeats_to_the_bit=again.trials == on_device.trials,
        largest_difference_of_losses=_loss_difference(on_cpu.curve, on_device.curve),
    )
    apart = abs(on_cpu.value - on_device.value)
    record.check(name, apart <= 0.2, f"accuracies differ by {apart:.2f}")
    with record.attempt(f"{name}: resuming"):
        calls = iter(range(10**9))
        steps = -(-on_cpu.n_train // config.batch_size)
        folder = setting.work / f"resume-{family}"

        def stop() -> bool:
            return next(calls) == steps + 1  # in the second epoch

        with contextlib.suppress(StoppedError):
            finetune(
                candidate,
                target,
                config,
                accelerator=accelerator,
                directory=folder,
                should_stop=stop,
            )
        was_stopped = (folder / "finetune.pt").is_file()
        resumed = finetune(candidate, target, config, accelerator=accelerator, directory=folder)
        difference = _loss_difference(on_device.curve, resumed.curve)
        record.add(
            f"{name}: resuming", was_stopped=was_stopped, largest_difference_of_losses=difference
        )
        record.check(f"{name}: resuming", was_stopped, "it was not stopped: nothing was tested")
        record.check(f"{name}: resuming", difference <= 0.1, f"losses differ by {difference:.1e}")


def _loss_difference(one: Sequence[Any], other: Sequence[Any]) -> float:
    pairs = zip(one, other, strict=False)
    return max(abs(float(a.validation_loss) - float(b.validation_loss)) for a, b in pairs)


PARTS: dict[str, tuple[Callable[[Setting, Record], None], int]] = {
    "metrics": (compare_metrics, 75),
    "features": (compare_features, 100),
    "memory": (provoke_lack_of_memory, 70),
    "finetune": (finetune_tiny, 80),
    "scores": (time_scores, 70),
    "tests": (run_tests, 110),
    "throughput": (measure_throughput, 150),
}
"""Name -> function and the most seconds it may take. The slowest and least important come last."""


# -- running them


def machine(device: torch.device) -> dict[str, Any]:
    """The device and the versions of everything that decides about speed."""
    about: dict[str, Any] = {
        "name": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": library_versions(),
        "cuda": torch.version.cuda,
    }
    with contextlib.suppress(OSError):  # where preprocessing workers put their batches
        about["shared_memory"] = shutil.disk_usage("/dev/shm").total
    if device.type != "cuda":
        return about
    properties = torch.cuda.get_device_properties(device)
    about |= {
        "name": properties.name,
        "memory": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "allow_tf32": torch.backends.cuda.matmul.allow_tf32,
    }
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        about["driver"] = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout.strip()
    return about


def run_part(name: str, setting: Setting, file: Path) -> None:
    """Run a part in this process; its figures are in ``file`` afterwards."""
    warnings.simplefilter("ignore")
    record = Record(file)
    with record.attempt(name):
        PARTS[name][0](setting, record)


def run_apart(name: str, arguments: Sequence[str], log: Path, limit: float) -> str | None:
    """Run a part in a process of its own.

    Args:
        name: The part.
        arguments: Of the command.
        log: File for its output.
        limit: Seconds after which it is ended, with all processes that it started.

    Returns:
        What went wrong, if anything.
    """
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, *arguments]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code is None:
        return f"ended after its {limit:.3g} seconds"
    return f"the process ended with {code}" if code else None


def table(document: dict[str, Any]) -> str:
    """The figures in Markdown."""
    lines = [
        f"{document['machine']['name']}, {document['machine']['cpus']} CPU cores, "
        f"torch {document['machine']['versions'].get('torch')}",
        "",
        "| part | what | figures |",
        "|---|---|---|",
    ]
    for name, part in document["parts"].items():
        for figure in part["figures"]:
            values = {
                key: value
                for key, value in figure.items()
                if key != "what" and not isinstance(value, dict)
            }
            text = ", ".join(f"{key.replace('_', ' ')} {_plain(v)}" for key, v in values.items())
            lines.append(f"| {name} | {figure['what']} | {text} |")
        for failure in part["failures"]:
            error = failure["error"].splitlines()[0][:200].replace("|", "/")
            lines.append(f"| {name} | {failure['what']} | **failed**: {error} |")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def run_all(options: argparse.Namespace, setting: Setting) -> dict[str, Any]:
    """Run the parts one after the other, and write ``gpu.json`` after each."""
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    document: dict[str, Any] = {"machine": machine(setting.device), "parts": {}}
    for name in options.parts or PARTS:
        begun = time.monotonic()
        left = options.seconds - (begun - started)
        limit = min(PARTS[name][1], left)
        file = setting.work / f"{name}.json"
        wrong = None
        if limit < SHORTEST:
            wrong = "not begun: the time is up"
        elif options.here:
            run_part(name, setting, file)
        else:
            arguments = ["--device", str(setting.device), "--work", str(setting.work)]
            arguments += ["--small"] if options.small else []
            log = options.out / f"{name}.log"
            wrong = run_apart(name, arguments, log, limit)
        part: dict[str, Any] = {"figures": [], "failures": []}
        if file.is_file():
            part = json.loads(file.read_text(encoding="utf-8"))
        if wrong is not None:
            log = options.out / f"{name}.log"
            tail = log.read_text(errors="replace")[-4000:] if log.is_file() else ""
            part["failures"].append({"what": name, "error": wrong, "traceback": tail})
        part["seconds"] = time.monotonic() - begun
        document["parts"][name] = part
        document["seconds"] = time.monotonic() - started
        text = json.dumps(document, indent=1)
        (options.out / "gpu.json").write_text(text, encoding="utf-8")
        print(f"{name}: {part['seconds']:.0f} s, {len(part['failures'])} failures", flush=True)
    return document


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--seconds", type=float, default=450, help="for all parts together")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), help="only these")
    parser.add_argument("--small", action="store_true", help="tiny sizes, as on a CPU")
    parser.add_argument(
        "--here", action="store_true", help="all parts in this process, without time limits"
    )
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} finds no GPU here; --device cpu runs tiny sizes")
    sizes = SMALL if options.small or device.type == "cpu" else FULL
    if options.part:
        setting = Setting(device, sizes, options.work)
        run_part(options.part, setting, options.work / f"{options.part}.json")
        return 0
    work = Path(tempfile.mkdtemp(prefix="hf-sfda-gpu-"))
    try:
        document = run_all(options, Setting(device, sizes, work))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"\n{table(document)}")
    return int(any(part["failures"] for part in document["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
