"""Small previews of samples, for the page that shows a comparison."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import Any, TypedDict

from hf_sfda.format import cut, marked
from hf_sfda.types import Target, TextPair, Word

_EDGE = 112  # pixels; the page shows 96 pixels, so this is sharp on most screens
_TEXT = 280  # characters


class Preview(TypedDict):
    """The preview of a sample: data URI of an image, start of a text, or name of a sound.

    Of a pair of texts, the start of each: ``first | second``. Of a word, the sentence around it:
    ``before [word] after``.
    """

    image: str | None
    text: str | None


def previews(target: Target, indices: Iterable[int]) -> dict[int, Preview]:
    """Make the previews of some samples: index -> preview."""
    return {index: _preview(target, index) for index in indices}


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
