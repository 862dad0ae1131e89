"""What makes two targets the same: what is in them, not where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

    from hf_sfda.types import IntArray


class InputsHash:
    """sha256 over the inputs in order: decoded pixels or UTF-8 text.

    Pixels, not files: a PNG rewritten by another tool is the same picture to every model.
    """

    def __init__(self) -> None:
        self._sha = hashlib.sha256(b"hf-sfda inputs 1\n")

    def add_picture(self, picture: Image) -> bytes:
        """Add an RGB picture; returns its own digest."""
        head, pixels = f"picture {picture.width} {picture.height}\n".encode(), picture.tobytes()
        self._sha.update(head)
        self._sha.update(pixels)
        return hashlib.sha256(head + pixels).digest()

    def add_text(self, text: str) -> None:
        """Add a text; its length comes first, so that two texts are not one."""
        data = text.encode("utf-8", errors="surrogatepass")
        self._sha.update(f"text {len(data)}\n".encode())
        self._sha.update(data)

    def hexdigest(self) -> str:
        """The fingerprint of what was added so far."""
        return self._sha.hexdigest()


def target_fingerprint(
    inputs: str, ids: Sequence[str], labels: IntArray, class_names: Sequence[str]
) -> str:
    """sha256 over inputs, sample ids and labels by name."""
    sha = hashlib.sha256(f"hf-sfda target 1\n{inputs}\n".encode())
    for sample_id, label in zip(ids, labels, strict=True):
        for text in (sample_id, class_names[label]):
            data = text.encode("utf-8", errors="surrogatepass")
            sha.update(f"{len(data)}\n".encode())
            sha.update(data)
    return sha.hexdigest()
