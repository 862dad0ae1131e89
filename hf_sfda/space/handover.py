"""A sample on disk, for another process to run models on: plain bytes and JSON, nothing to trust.

The GPU's time is short: what runs there should neither ask the Hub nor decode pictures again.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_sfda.target.pictures import LazyPictures
from hf_sfda.types import Target

if TYPE_CHECKING:
    from PIL.Image import Image

_FACTS = "target.json"
_BYTES = "samples.bin"


def write_handover(target: Target, directory: Path) -> None:
    """Write a target below ``directory/handover``; decoded pictures as raw pixels.

    Args:
        target: As it was loaded.
        directory: Of the job.
    """
    place = directory / "handover"
    place.mkdir(exist_ok=True)
    facts = {
        field.name: getattr(target, field.name)
        for field in fields(target)
        if field.name not in ("samples", "labels")
    }
    facts["labels"] = target.labels.tolist()
    facts["left_out"] = dict(target.left_out)
    if target.modality == "text":
        facts["texts"] = list(target.samples)
    elif isinstance(target.samples, LazyPictures):
        facts["encoded"] = _pack(place / _BYTES, target.samples.encoded)
    else:
        facts["sizes"] = [picture.size for picture in target.samples]
        _pack(place / _BYTES, (picture.tobytes() for picture in target.samples))
    (place / _FACTS).write_text(json.dumps(facts), encoding="utf-8")


def read_handover(directory: Path) -> Target:
    """The target that :func:`write_handover` wrote, equal in all that matters to a model.

    Args:
        directory: Of the job.
    """
    place = directory / "handover"
    facts = json.loads((place / _FACTS).read_text(encoding="utf-8"))
    samples: Any
    if (texts := facts.pop("texts", None)) is not None:
        samples = tuple(texts)
    elif (lengths := facts.pop("encoded", None)) is not None:
        samples = LazyPictures(_unpack(place / _BYTES, lengths))
    else:
        samples = _pictures(place / _BYTES, facts.pop("sizes"))
    return Target(
        **_tuples(facts),
        samples=samples,
        labels=np.array(facts["labels"], dtype=np.int64),
    )


def _tuples(facts: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in facts.items() if key != "labels"}
    return plain | {key: tuple(facts[key]) for key in ("sample_ids", "class_names", "warnings")}


def _pack(path: Path, parts: Iterable[bytes]) -> list[int]:
    """Write the parts one after the other; returns their lengths."""
    lengths = []
    with path.open("wb") as file:
        for part in parts:
            lengths.append(file.write(part))
    return lengths


def _unpack(path: Path, lengths: Iterable[int]) -> list[bytes]:
    with path.open("rb") as file:
        return [file.read(length) for length in lengths]


def _pictures(path: Path, sizes: list[list[int]]) -> tuple[Image, ...]:
    import PIL.Image

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pixels:
        pictures, at = [], 0
        for width, height in sizes:
            end = at + 3 * width * height
            pictures.append(PIL.Image.frombytes("RGB", (width, height), pixels[at:end]))
            at = end
    return tuple(pictures)
