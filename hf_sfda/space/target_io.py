"""Write a target to disk and read it in another process, as plain bytes and JSON.

So the process on the GPU, whose time is limited, needs neither the Hub nor the time to decode
images and sounds. Nothing is unpickled.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_sfda.dataset.images import LazyImages
from hf_sfda.dataset.sounds import LazySounds, sizes_of
from hf_sfda.types import Sound, Target, TextPair, Word

if TYPE_CHECKING:
    from PIL.Image import Image

_FACTS = "target.json"
_BYTES = "samples.bin"


def write_target(target: Target, directory: Path) -> None:
    """Write a target to ``directory/target``; decoded images and sounds are stored as raw values.

    Args:
        target: The target.
        directory: Directory of the job.
    """
    folder = directory / "target"
    folder.mkdir(exist_ok=True)
    facts = {
        field.name: getattr(target, field.name)
        for field in fields(target)
        if field.name not in ("samples", "labels")
    }
    facts["labels"] = target.labels.tolist()
    facts["left_out"] = dict(target.left_out)
    if target.modality == "text":
        facts["texts"] = list(target.samples)
    elif target.modality == "audio":
        facts["sounds"] = sizes_of(target.samples)
        if isinstance(target.samples, LazySounds):
            facts["encoded"] = _pack(folder / _BYTES, target.samples.encoded)
        else:
            _pack(folder / _BYTES, (s.values.astype("<f4").tobytes() for s in target.samples))
    elif isinstance(target.samples, LazyImages):
        facts["encoded"] = _pack(folder / _BYTES, target.samples.encoded)
    else:
        facts["sizes"] = [image.size for image in target.samples]
        _pack(folder / _BYTES, (image.tobytes() for image in target.samples))
    (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")


def read_target(directory: Path) -> Target:
    """Read the target that :func:`write_target` wrote; its samples are the same.

    Args:
        directory: Directory of the job.
    """
    folder = directory / "target"
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    samples: Any
    if (texts := facts.pop("texts", None)) is not None:
        samples = tuple(map(_text, texts))
    elif (sizes := facts.pop("sounds", None)) is not None:
        samples = _sounds(folder / _BYTES, sizes, facts.pop("encoded", None))
    elif (lengths := facts.pop("encoded", None)) is not None:
        samples = LazyImages(_unpack(folder / _BYTES, lengths))
    else:
        samples = _images(folder / _BYTES, facts.pop("sizes"))
    return Target(
        **_tuples(facts),
        samples=samples,
        labels=np.array(
            facts["labels"],
            dtype=np.float64 if facts["label_kind"] == "regression" else np.int64,
        ),
    )


def _text(stored: Any) -> str | TextPair | Word:
    """A text, a pair of texts or a word; JSON stores the last two as lists."""
    if isinstance(stored, str):
        return stored
    first, second = stored
    return TextPair(first, second) if isinstance(first, str) else Word(tuple(first), second)


def _tuples(facts: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in facts.items() if key != "labels"}
    return plain | {key: tuple(facts[key]) for key in ("sample_ids", "class_names", "warnings")}


def _pack(path: Path, parts: Iterable[bytes]) -> list[int]:
    """Write parts one after the other into a file; return their lengths in bytes."""
    lengths = []
    with path.open("wb") as file:
        for part in parts:
            lengths.append(file.write(part))
    return lengths


def _unpack(path: Path, lengths: Iterable[int]) -> list[bytes]:
    with path.open("rb") as file:
        return [file.read(length) for length in lengths]


def _sounds(
    path: Path, sizes: list[list[int]], lengths: list[int] | None
) -> LazySounds | tuple[Sound, ...]:
    if lengths is not None:
        return LazySounds(_unpack(path, lengths), [(rate, n) for rate, n in sizes])
    parts = _unpack(path, [4 * n for _, n in sizes])
    pairs = zip(parts, sizes, strict=True)
    return tuple(Sound(np.frombuffer(part, "<f4").copy(), rate) for part, (rate, _) in pairs)


def _images(path: Path, sizes: list[list[int]]) -> tuple[Image, ...]:
    import PIL.Image

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pixels:
        images, start = [], 0
        for width, height in sizes:
            end = start + 3 * width * height
            images.append(PIL.Image.frombytes("RGB", (width, height), pixels[start:end]))
            start = end
    return tuple(images)
