"""The samples behind a comparison, small enough to be put on a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import Any, TypedDict

from hf_sfda.types import Target

_EDGE = 112  # pixels; shown at 96, and sharp enough on most screens
_TEXT = 280  # characters


class Exhibit(TypedDict):
    """One sample: a data URI of a picture, or the beginning of a text."""

    image: str | None
    text: str | None


def exhibits(target: Target, indices: Iterable[int]) -> dict[int, Exhibit]:
    """What samples look like, by index."""
    return {
        index: Exhibit(image=_picture(sample), text=None)
        if target.modality == "image"
        else Exhibit(image=None, text=_snippet(sample))
        for index in indices
        for sample in [target.samples[index]]
    }


def _picture(image: Any) -> str:
    small = image.convert("RGB")
    small.thumbnail((_EDGE, _EDGE))
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"


def _snippet(text: str) -> str:
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
