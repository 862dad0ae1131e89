"""The plan of a ranking: data, candidates, downloads and an estimate of the time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from hf_sfda.format import show_bytes
from hf_sfda.types import Candidate, Modality, first_classes

Device = Literal["cpu", "gpu"]

_START = (6.0, 20.0)
"""Seconds to start the process, import torch and transformers, and read the sample again."""

_NETWORK = (200e6, 15e6)
"""Bytes per second: a fast connection in a data centre, and a slow one."""

_OPEN = (0.5, 4.0)
"""Seconds to open a checkpoint and to store its features."""

_SPEED: Mapping[tuple[Device, Modality], tuple[float, float]] = {
    ("cpu", "image"): (500e6, 100e6),
    ("cpu", "text"): (2200e6, 350e6),
    ("gpu", "image"): (60e9, 8e9),
    ("gpu", "text"): (200e9, 30e9),
}
"""(Parameters x samples) per second, as (fast, slow); on a CPU for one core."""

_SCORE = ((1.0, 1e-3), (2.0, 9e-3))
"""Seconds to score a model, as (fixed, per sample): fast, slow."""

_CORE_GAIN = 0.8
"""Speed of each additional core, relative to the first one."""


@dataclass(frozen=True)
class PlannedModel:
    """A candidate in a plan.

    Attributes:
        model: Hub id.
        revision: Commit; ``None`` if the model was not found.
        params: Number of parameters, if known.
        download_bytes: Size of the weights, if known.
        here: Whether the weights are in the cache already.
        skip: Why the candidate will not be ranked; ``None`` if it will.
        status: Its status in the ranking if ``skip`` is set.
    """

    model: str
    revision: str | None
    params: int | None
    download_bytes: int | None
    here: bool
    skip: str | None
    status: Literal["skipped", "failed"] = "skipped"


@dataclass(frozen=True)
class JobPlan:
    """What :meth:`hf_sfda.space.jobs.Job.rank` will do.

    Attributes:
        dataset: Name of the dataset, as the visitor gave it.
        revision: Commit of a Hub dataset.
        split: The split that the sample is drawn from.
        modality: ``image`` or ``text``.
        input_column: Column with the image or the text.
        label_column: Column with the class.
        n_samples: Size of the sample.
        n_available: Number of usable rows of the split.
        class_names: Names of the classes.
        left_out: reason -> number of unusable rows.
        models: All candidates, also the skipped ones.
        download_bytes: Size of the weights that are not cached.
        seconds: Lower and upper estimate of the time, see :func:`estimate`.
        device: The device that the models will run on.
    """

    dataset: str
    revision: str | None
    split: str
    modality: Modality
    input_column: str
    label_column: str
    n_samples: int
    n_available: int
    class_names: tuple[str, ...]
    left_out: Mapping[str, int]
    models: tuple[PlannedModel, ...]
    download_bytes: int
    seconds: tuple[float, float]
    device: Device

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The candidates, for the event ``candidates``."""
        keys = ("model", "params", "download_bytes", "skip", "status")
        return [{key: getattr(model, key) for key in keys} for model in self.models]

    @property
    def n_models(self) -> int:
        """Number of candidates that will be ranked."""
        return sum(model.skip is None for model in self.models)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The plan in sentences: data, models, downloads and time."""
        of = f" of {self.n_available:,}" if self.n_available > self.n_samples else ""
        kind = {"image": "images", "text": "texts"}[self.modality]
        lost = "".join(f"; {count:,} left out: {why}" for why, count in self.left_out.items())
        skipped = len(self.models) - self.n_models
        without = f"; {skipped} left out, with the reason in the table" if skipped else ""
        weights = (
            f"{show_bytes(self.download_bytes)} of weights to download"
            if self.download_bytes
            else "All weights are here already"
        )
        device = {"cpu": "a CPU", "gpu": "a GPU"}[self.device]
        return (
            f"{self.dataset}: {self.n_samples:,}{of} {kind} of the split {self.split}, "
            f"{len(self.class_names)} classes (column {self.label_column}: "
            f"{first_classes(self.class_names)}){lost}.",
            f"{self.n_models} model{'s' if self.n_models != 1 else ''} to rank{without}.",
            f"{weights}.",
            f"This takes {about(*self.seconds)} on {device}.",
        )

    def to_dict(self) -> dict[str, Any]:
        """The plan as a JSON document, with its sentences."""
        return asdict(self) | {
            "class_names": list(self.class_names),
            "models": [asdict(model) for model in self.models],
            "seconds": list(self.seconds),
            "n_models": self.n_models,
            "sentences": list(self.sentences),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JobPlan:
        """Parse a document that :meth:`to_dict` wrote."""
        arguments = {key: values[key] for key in cls.__dataclass_fields__}
        arguments["class_names"] = tuple(arguments["class_names"])
        arguments["models"] = tuple(PlannedModel(**model) for model in arguments["models"])
        arguments["seconds"] = tuple(arguments["seconds"])
        return cls(**arguments)


@dataclass(frozen=True)
class ModelLoad:
    """The work that one model needs.

    Attributes:
        params: Number of parameters.
        fetch: Bytes to download.
        extracted: Whether its features are stored already, so that it is only scored.
    """

    params: int
    fetch: int = 0
    extracted: bool = False


def estimate(
    loads: Iterable[ModelLoad], *, samples: int, modality: Modality, device: Device, cores: int
) -> tuple[float, float]:
    """Estimate how long a ranking takes, from the sizes of models and sample.

    The estimate is start + weights / network + parameters x samples / speed + scoring. The CPU
    speeds were measured on one core with torch 2.13, in million (parameters x samples) per second:
    450 to 700 for the CNNs of ``benchmarks/extraction.md`` at 128 pixels; at 224 pixels 130
    (ViT-S), 170 (ViT-B) and 215 (ResNet-50); for texts 440 (BERT, 128 tokens) and 2,200 (24
    tokens). Scoring with the default metrics took 2 s for 1,000 samples x 2,000 dimensions and 17 s
    for 2,000 x 3,000. No GPU was measured; the GPU speeds are derived from its peak performance.
    The range is wide, because the time depends more on pixels and tokens than on parameters.

    Args:
        loads: One per model that will be ranked.
        samples: Size of the sample.
        modality: Modality of the dataset.
        device: The device that the models run on.
        cores: Number of CPU cores.

    Returns:
        (low, high) in seconds.
    """
    loads = list(loads)
    bounds = []
    for side in (0, 1):
        speed = _SPEED[device, modality][side]
        if device == "cpu":
            speed *= 1 + _CORE_GAIN * (cores - 1)
        fixed, by_sample = _SCORE[side]
        seconds = _START[side]
        for load in loads:
            seconds += fixed + by_sample * samples
            if not load.extracted:
                seconds += _OPEN[side] + load.fetch / _NETWORK[side]
                seconds += load.params * samples / speed
        bounds.append(seconds)
    return bounds[0], bounds[1]


def about(low: float, high: float) -> str:
    """A range of seconds in words.

    Example:
        >>> about(100, 350), about(20, 50), about(170, 190)
        ('about 2 to 6 minutes', 'less than a minute', 'about 3 minutes')
    """
    if high <= 60:
        return "less than a minute"
    first, last = max(1, round(low / 60)), math.ceil(high / 60)
    if first == last or round(high / 60) <= first:
        return f"about {first} minute" + ("" if first == 1 else "s")
    return f"about {first} to {last} minutes"


def skip_large_downloads(
    candidates: Sequence[Candidate], cached: Sequence[bool], *, limit: int, spent: int
) -> list[Candidate]:
    """Mark candidates as skipped whose download does not fit into the limit, in their order.

    Args:
        candidates: The candidates of the scan.
        cached: For each candidate, whether its weights are cached.
        limit: Bytes that a job may download.
        spent: Bytes that the dataset needs.
    """
    left = limit - spent
    checked = []
    for candidate, is_cached in zip(candidates, cached, strict=True):
        size = 0 if is_cached else candidate.download_bytes or 0
        if candidate.skip is None and size > left:
            why = f"{show_bytes(size)} of weights: over the {show_bytes(limit)} a job may download"
            checked.append(replace(candidate, skip=why))
            continue
        left -= size if candidate.skip is None else 0
        checked.append(candidate)
    return checked
