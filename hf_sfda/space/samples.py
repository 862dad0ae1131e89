"""The samples of a visitor's job: passed between processes, and previews of some for the page.

A target is written as plain bytes and JSON. So the process on the GPU, whose time is limited, needs
neither the Hub nor the time to decode images and sounds. Nothing is unpickled.
"""

from __future__ import annotations

import base64
import io
import json
import mmap
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from hf_sfda.dataset.images import LazyImages
from hf_sfda.dataset.sounds import LazySounds, sizes_of
from hf_sfda.format import cut, marked
from hf_sfda.types import Sound, Target, TextPair, Word

if TYPE_CHECKING:
    from PIL.Image import Image

_FACTS = "target.json"
_BYTES = "samples.bin"
_EDGE = 112  # pixels; the page shows 96 pixels, so this is sharp on most screens
_TEXT = 280  # characters


class Preview(TypedDict):
    """The preview of a sample: data URI of an image, start of a text, or name of a sound.

    Of a pair of texts, the start of each: ``first | second``. Of a word, the sentence around it:
    ``before [word] after``.
    """

    image: str | None
    text: str | None


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
    kind = np.float64 if facts["label_kind"] == "regression" else np.int64
    tuples = ("sample_ids", "class_names", "class_numbers", "warnings")
    facts |= {key: tuple(facts[key]) for key in tuples}
    return Target(**{**facts, "samples": samples, "labels": np.array(facts["labels"], dtype=kind)})


def previews(target: Target, indices: Iterable[int]) -> dict[int, Preview]:
    """Make the previews of some samples: index -> preview."""
    return {index: _preview(target, index) for index in indices}


def _text(stored: Any) -> str | TextPair | Word:
    """A text, a pair of texts or a word; JSON stores the last two as lists."""
    if isinstance(stored, str):
        return stored
    first, second = stored
    return TextPair(first, second) if isinstance(first, str) else Word(tuple(first), second)


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


def _preview(target: Target, index: int) -> Preview:
    if target.modality == "audio":
        return Preview(image=None, text=_snippet(target.sample_ids[index]))
    sample = target.samples[index]
    if target.modality == "image":
        return Preview(image=_thumbnail(sample), text=None)
    return Preview(image=None, text=_snippet(sample))


def _thumbnail(image: Any) -> str:
    small = image.convert("RGB")
    small.thumbnail((_EDGE, _EDGE))
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"


def _snippet(text: str | TextPair | Word) -> str:
    if isinstance(text, Word):
        return marked(text.words, text.position, _TEXT)
    if isinstance(text, TextPair):
        return " | ".join(cut(part, _TEXT // 2) for part in text)
    return cut(text, _TEXT)
