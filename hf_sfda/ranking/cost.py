"""How long a ranking takes, from the sizes of models and sample. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from hf_sfda.types import Modality

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
    ("cpu", "audio"): (107e6, 3e6),
    ("gpu", "image"): (60e9, 8e9),
    ("gpu", "text"): (200e9, 30e9),
    ("gpu", "audio"): (12e9, 0.3e9),
}
"""(Parameters x samples) per second, as (fast, slow); on a CPU for one core."""

_SCORE = ((1.0, 1e-3), (2.0, 9e-3))
"""Seconds to score a model, as (fixed, per sample): fast, slow."""

_CORE_GAIN = 0.8
"""Speed of each additional core, relative to the first one."""


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
    loads: Iterable[ModelLoad],
    *,
    samples: int,
    modality: Modality,
    device: Device,
    cores: int,
    speed: tuple[float, float] | None = None,
) -> tuple[float, float]:
    """Estimate how long a ranking takes, from the sizes of models and sample.

    The estimate is start + weights / network + parameters x samples / speed + scoring. The CPU
    speeds were measured on one core with torch 2.13, in million (parameters x samples) per second:
    450 to 700 for the CNNs of ``benchmarks/extraction.md`` at 128 pixels; at 224 pixels 130
    (ViT-S), 170 (ViT-B) and 215 (ResNet-50); for texts 440 (BERT, 128 tokens) and 2,200 (24
    tokens); for sounds 107 (wav2vec 2.0 base, 1 s), 10 (the same, 10 s), 5 (AST) and 3 (Whisper
    tiny, which always takes 30 s). Scoring with the default metrics took 2 s for 1,000 samples x
    2,000 dimensions and 17 s for 2,000 x 3,000. No GPU was measured; the GPU speeds are
    derived from its peak performance. The range is wide, because the time depends more
    on pixels, tokens and seconds of sound than on parameters.

    Args:
        loads: One per model that will be ranked.
        samples: Size of the sample.
        modality: Modality of the dataset.
        device: The device that the models run on.
        cores: Number of CPU cores.
        speed: (Parameters x samples) per second of this machine, as (fast, slow), where it was
            measured; by default that of the table above.

    Returns:
        (low, high) in seconds.
    """
    loads = list(loads)
    bounds = []
    for side in (0, 1):
        by_params = (speed or _SPEED[device, modality])[side]
        if device == "cpu" and speed is None:
            by_params *= 1 + _CORE_GAIN * (cores - 1)
        fixed, by_sample = _SCORE[side]
        seconds = _START[side]
        for load in loads:
            seconds += fixed + by_sample * samples
            if not load.extracted:
                seconds += _OPEN[side] + load.fetch / _NETWORK[side]
                seconds += load.params * samples / by_params
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
