"""Fingerprints of a target. They depend on its content, not on where it is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

    from hf_sfda.types import LabelKind, Sound, TextPair, Word


class InputsHash:
    """sha256 over the inputs in order: decoded pixels, decoded sound, or UTF-8 texts.

    The hash covers the pixels, not the file. So an image that another tool saved again without loss
    keeps its fingerprint.
    """

    def __init__(self) -> None:
        self._sha = hashlib.sha256(b"hf-sfda inputs 1\n")

    def add_image(self, image: Image) -> bytes:
        """Add an RGB image and return the digest of this image alone."""
        return self._add(f"picture {image.width} {image.height}\n", image.tobytes())

    def add_sound(self, sound: Sound) -> bytes:
        """Add a sound and return the digest of this sound alone."""
        head = f"sound {sound.rate} {len(sound.values)}\n"
        return self._add(head, sound.values.astype("<f4").tobytes())

    def add_text(self, text: str) -> None:
        """Add a text. Its length is hashed first: "ab", "c" and "a", "bc" get different hashes."""
        data = _utf8(text)
        self._sha.update(f"text {len(data)}\n".encode())
        self._sha.update(data)

    def add_pair(self, pair: TextPair) -> None:
        """Add two texts that are one sample. Both lengths are hashed first, as in add_text."""
        first, second = map(_utf8, pair)
        self._sha.update(f"pair {len(first)} {len(second)}\n".encode())
        self._sha.update(first)
        self._sha.update(second)

    def add_word(self, word: Word) -> None:
        """Add a word with its sentence. Each length is hashed first, as in add_text."""
        self._sha.update(f"word {word.position} of {len(word.words)}\n".encode())
        for text in word.words:
            self.add_text(text)

    def _add(self, head: str, content: bytes) -> bytes:
        # The bytes of the head must not change: the fingerprints of earlier runs contain them.
        start = head.encode()
        self._sha.update(start)
        self._sha.update(content)
        return hashlib.sha256(start + content).digest()

    def hexdigest(self) -> str:
        """The fingerprint of all inputs added so far."""
        return self._sha.hexdigest()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


def target_fingerprint(
    inputs: str, ids: Sequence[str], labels: Sequence[Sequence[str]], kind: LabelKind
) -> str:
    """sha256 over the fingerprint of the inputs, the sample ids and the labels.

    Args:
        inputs: Fingerprint of the inputs.
        ids: Of each sample.
        labels: Of each sample, in words: one class, one value, or any number of labels.
        kind: What the labels are.
    """
    sha = hashlib.sha256(f"hf-sfda target 1\n{inputs}\n".encode())
    if kind != "single-label":  # the first fingerprints did not name the kind
        sha.update(f"{kind}\n".encode())
    for sample_id, words in zip(ids, labels, strict=True):
        if kind == "multi-label":
            sha.update(f"{len(words)} labels\n".encode())
        for text in (sample_id, *words):
            data = _utf8(text)
            sha.update(f"{len(data)}\n".encode())
            sha.update(data)
    return sha.hexdigest()
