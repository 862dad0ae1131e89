"""The plan of a run, before any weights are downloaded: downloads, disk, memory, time."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from hf_sfda.config import RankConfig
from hf_sfda.errors import StoreError
from hf_sfda.format import show_bytes
from hf_sfda.hub import cached_model
from hf_sfda.ranking.cost import Device, ModelLoad, about, estimate
from hf_sfda.session import Session
from hf_sfda.store import FeatureKey, FeatureStore
from hf_sfda.types import Candidate, Modality, Scan, Target

if TYPE_CHECKING:
    from accelerate import Accelerator

_CALIBRATION = 48
"""Samples of a calibration: three batches on a CPU."""

_WARM_UP = 16

_SPREAD = 2.0
"""How much faster or slower another architecture may be than the calibrated one, per parameter."""

_RECENT = 50
"""Stored features whose times are read: the newest ones."""

_SHORTEST = 1.0
"""Seconds; shorter forward passes say little."""

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Speed:
    """The speed of this machine.

    Attributes:
        per_second: (parameters x samples) per second, as (fast, slow); ``None`` if not measured.
        basis: What it was measured on, as a clause.
    """

    per_second: tuple[float, float] | None
    basis: str


@dataclass(frozen=True)
class PlannedRun:
    """One candidate that will be run.

    Attributes:
        model_id: As in :class:`~hf_sfda.types.Candidate`.
        revision: As in :class:`~hf_sfda.types.Candidate`.
        params: Number of parameters; ``None`` if it is not known.
        download_bytes: Bytes to download: of the weights, or of features in a features dataset; 0
            if either are here, ``None`` if the size is not known.
        cached_bytes: Bytes of its weights that are here.
        stored: Whether its features are stored, here or in a features dataset, so that it is only
            scored.
    """

    model_id: str
    revision: str | None
    params: int | None
    download_bytes: int | None
    cached_bytes: int
    stored: bool


@dataclass(frozen=True)
class RunPlan:
    """What a run will do.

    Attributes:
        models: The candidates that will be run.
        left_out: reason -> number of models that are not.
        represents: Id of a candidate -> ids of the models that it stands for.
        n_samples: Size of the sample.
        memory_bytes: Size of the weights of the largest model to run, in memory.
        disk_free: Free bytes where downloads are stored.
        seconds: Lower and upper estimate of the time.
        speed: What the estimate rests on.
    """

    models: tuple[PlannedRun, ...]
    left_out: Mapping[str, int]
    represents: Mapping[str, tuple[str, ...]]
    n_samples: int
    memory_bytes: int
    disk_free: int
    seconds: tuple[float, float]
    speed: Speed

    @property
    def download_bytes(self) -> int:
        """Bytes to download, without models of unknown size."""
        return sum(model.download_bytes or 0 for model in self.models)

    @property
    def cached_bytes(self) -> int:
        """Bytes of weights that are here."""
        return sum(model.cached_bytes for model in self.models)

    @property
    def n_unknown(self) -> int:
        """Number of models to download whose size is not known."""
        return sum(model.download_bytes is None for model in self.models)

    @property
    def lines(self) -> tuple[str, ...]:
        """The plan for people."""
        stored = sum(model.stored for model in self.models)
        here = f" · {stored} with stored features, which are only scored" if stored else ""
        unknown = f" and {self.n_unknown} models of unknown size" if self.n_unknown else ""
        short = "" if self.download_bytes <= self.disk_free else ", which is too little"
        left_out = "; ".join(f"{why} ({number:,})" for why, number in self.left_out.items())
        return (
            f"Plan     {len(self.models)} candidates on {self.n_samples:,} samples{here}",
            f"         {show_bytes(self.download_bytes)} to download{unknown}, "
            f"{show_bytes(self.cached_bytes)} of weights here",
            f"         {show_bytes(self.disk_free)} of disk free{short}; "
            f"{show_bytes(self.memory_bytes)} of memory for the largest weights",
            f"         {about(*self.seconds)}, {self.speed.basis}",
            *([f"         left out: {left_out}"] if left_out else []),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {
            "models": [asdict(model) for model in self.models],
            "left_out": dict(self.left_out),
            "represents": {name: list(others) for name, others in self.represents.items()},
            "n_samples": self.n_samples,
            "download_bytes": self.download_bytes,
            "unknown_sizes": self.n_unknown,
            "cached_bytes": self.cached_bytes,
            "disk_free": self.disk_free,
            "memory_bytes": self.memory_bytes,
            "estimated_seconds": list(self.seconds),
            "estimate_basis": self.speed.basis,
        }


def plan_run(
    scan: Scan,
    target: Target,
    config: RankConfig,
    store: FeatureStore,
    device: Device,
    speed: Speed,
    arriving: Mapping[str, int] | None = None,
) -> RunPlan:
    """Plan a run; nothing is downloaded and no request is made.

    Args:
        scan: What the scan found.
        target: The samples.
        config: The configuration.
        store: The feature store.
        device: Where the models will run.
        speed: The speed of this machine.
        arriving: Name of an entry of a features dataset -> its bytes.
    """
    arriving = arriving or {}
    models = tuple(_planned(c, target, config, store, arriving) for c in usable(scan))
    loads = [ModelLoad(m.params or 0, m.download_bytes or 0, m.stored) for m in models]
    counted = Counter(_kind(c.skip) for c in scan.candidates if c.skip is not None)
    counted.update(scan.rejected)
    largest = max((m.params or 0 for m in models if not m.stored), default=0)
    return RunPlan(
        models=models,
        left_out=dict(counted.most_common()),
        represents=scan.represents,
        n_samples=len(target),
        memory_bytes=largest * _BYTES[config.dtype],
        disk_free=_disk_free(),
        seconds=estimate(
            loads,
            samples=len(target),
            modality=target.modality,
            device=device,
            cores=os.cpu_count() or 1,
            speed=speed.per_second,
        ),
        speed=speed,
    )


def usable(scan: Scan) -> list[Candidate]:
    """The candidates that will be run."""
    return [candidate for candidate in scan.candidates if candidate.skip is None]


def _planned(
    candidate: Candidate,
    target: Target,
    config: RankConfig,
    store: FeatureStore,
    arriving: Mapping[str, int],
) -> PlannedRun:
    from hf_sfda.extract.run import feature_key

    key = feature_key(candidate, target, config)
    here = candidate.path is not None or cached_model(candidate) is not None
    stored = _has(store, key)
    if not stored and key.digest in arriving:
        return PlannedRun(
            candidate.model_id,
            candidate.revision,
            candidate.params,
            download_bytes=arriving[key.digest],
            cached_bytes=0,
            stored=True,
        )
    return PlannedRun(
        model_id=candidate.model_id,
        revision=candidate.revision,
        params=candidate.params,
        download_bytes=0 if here or stored else candidate.download_bytes,
        cached_bytes=candidate.download_bytes or 0 if here else 0,
        stored=stored,
    )


def _has(store: FeatureStore, key: FeatureKey) -> bool:
    try:
        return store.has(key)
    except StoreError:  # the extraction reports it
        return False


def _kind(reason: str) -> str:
    """A reason without what it says about one model, so that reasons can be counted.

    Example:
        >>> _kind("no safetensors weights, only pickle (pytorch_model.bin)")
        'no safetensors weights'
    """
    for mark in (";", ":", ",", " ("):
        reason = reason.partition(mark)[0]
    return reason


def _disk_free() -> int:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE).absolute()
    while not folder.exists():  # the cache is made by the first download
        folder = folder.parent
    return shutil.disk_usage(folder).free


def known_speed(store: FeatureStore, modality: Modality, dtype: str) -> Speed:
    """The speed of this machine in earlier runs, from the times in the feature store."""
    try:
        entries = list(store.entries(newest=_RECENT))
    except StoreError:  # the extraction reports it
        entries = []
    speeds = [
        entry.params * entry.n_samples / entry.seconds
        for entry in entries
        if (entry.key.get("modality"), entry.key.get("dtype")) == (modality, dtype)
        and entry.params
        and entry.seconds > _SHORTEST
    ]
    if len(speeds) < 3:  # too few to say how much models differ
        return Speed(None, "from the numbers of parameters and speeds of another machine")
    slow, _, fast = quantiles(speeds, n=4, method="inclusive")
    return Speed(
        (fast, slow), f"from the numbers of parameters and {len(speeds)} earlier models here"
    )


def calibrate(
    candidates: Sequence[Candidate],
    target: Target,
    config: RankConfig,
    store: FeatureStore,
    accelerator: Accelerator,
) -> Speed | None:
    """Run a few batches of one candidate whose weights are here; nothing is downloaded or kept.

    Returns:
        ``None`` if no candidate to run is here, or if it cannot be run.
    """
    from hf_sfda.dataset.sample import part_of
    from hf_sfda.extract import extract_all
    from hf_sfda.extract.run import feature_key

    here = [
        candidate
        for candidate in candidates
        if candidate.params
        and (candidate.path is not None or cached_model(candidate) is not None)
        and not _has(store, feature_key(candidate, target, config))
    ]
    if not here:
        return None
    # That of median size: the others are the least different from it.
    candidate = sorted(here, key=lambda candidate: candidate.params or 0)[len(here) // 2]
    size = min(_CALIBRATION, len(target))
    rows = [i * len(target) // size for i in range(size)]
    with tempfile.TemporaryDirectory() as folder:
        session = Session(store=FeatureStore(folder))
        # The first batch is slower than all others, so it is run once before.
        for part in (rows[:_WARM_UP], rows):
            sample = part_of(target, part)
            [extraction] = extract_all(
                [candidate], sample, config=config, session=session, accelerator=accelerator
            )
        features = extraction.read(session.feature_store)
    if features is None or features.seconds <= 0:
        return None
    speed = (candidate.params or 0) * len(rows) / features.seconds
    return Speed(
        (speed * _SPREAD, speed / _SPREAD),
        f"from {len(rows)} samples of {candidate.model_id} run here and the numbers of parameters",
    )
