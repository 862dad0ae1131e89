"""Read the chosen rows, once, and leave out what cannot be read: the same for every model."""

from __future__ import annotations

import base64
import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.dataset import images
from hf_sfda.dataset.columns import Columns, is_image
from hf_sfda.dataset.fingerprint import InputsHash
from hf_sfda.errors import TargetError
from hf_sfda.progress import Advance
from hf_sfda.types import IntArray

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

IN_MEMORY = 2 * 2**30
"""Bytes of decoded images that are kept. Above it they stay encoded and are decoded for each
model anew: slower, but a sample of large photographs would not fit otherwise."""

EMPTY = "empty text"

_LOOKED_AT = 20  # rows
_FEW_DIFFERENT = 0.5  # share of different inputs below which a reader is told
_IMAGE_NAMES = ("image", "img", "picture", "photo", "pic", "thumbnail")


@dataclass(frozen=True, eq=False)
class Inputs:
    """What became of the chosen rows.

    Attributes:
        samples: RGB images or texts.
        fingerprint: sha256 over them.
        kept: Which of the chosen rows they are, by position.
        notes: What a reader should know about them.
    """

    samples: Sequence[Any]
    fingerprint: str
    kept: list[int]
    notes: tuple[str, ...] = ()


def read_inputs(
    data: Dataset,
    columns: Columns,
    rows: IntArray,
    left_out: Counter[str],
    advance: Advance = lambda amount: None,
    *,
    from_hub: bool = False,
) -> Inputs:
    """Read and, for images, decode these rows and no others.

    Args:
        data: The split.
        columns: Where the input is.
        rows: (N,) row numbers.
        left_out: reason -> rows; what cannot be read is added.
        advance: Told each row.
        from_hub: Whether strangers wrote the rows. Then an image that is named by its path must
            lie among what was downloaded: a row must not bring images of this machine to light.
    """
    values = _undecoded(data, columns.input, rows)
    if columns.modality == "image":
        folders = _downloads() if from_hub else None
        return _read_images([_bytes(value, folders) for value in values], left_out, advance)
    return _read_texts(values, left_out, advance)


def holds_images(data: Dataset, column: str) -> bool:
    """Whether one of the first values in a column of bytes begins like an image that is read."""
    first = data.select_columns([column]).with_format(None)[:_LOOKED_AT][column]
    return any(value is not None and images.is_image_head(bytes(value[:32])) for value in first)


def refuse_disguised_images(data: Dataset, column: str) -> tuple[str, ...]:
    """A table of names, addresses or encodings of images would be ranked as text, with scores that
    look fine.

    Returns:
        What a reader should know about the texts.

    Raises:
        TargetError: The first texts are all names of image files, addresses of images, or images
            written as base64.
    """
    first = data.select_columns([column]).with_format(None)[:_LOOKED_AT][column]
    texts = [text.strip() for text in first if text and text.strip()]
    what = _disguise(texts, column) if texts else None
    if what is not None:
        raise TargetError(
            f"The column {column!r} holds {what} ({_short(texts[0])}), not images. Put the files "
            "into one sub-folder a class and pass that folder, or store them with the feature "
            "datasets.Image."
        )
    if texts and all(map(_URL.match, texts)):
        return (f"The texts of the column {column!r} are web addresses; they are ranked as text.",)
    return ()


_URL = re.compile(r"(https?|ftp|s3|gs)://\S+$", re.IGNORECASE)
_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{32,}={0,2}")


def _disguise(texts: Sequence[str], column: str) -> str | None:
    """What the texts are instead of text."""
    if all(map(_URL.match, texts)):
        paths = [Path(text.partition("?")[0].partition("#")[0]) for text in texts]
        image_name = any(name in column.lower() for name in _IMAGE_NAMES)
        if image_name or all(path.suffix.lower() in images.SUFFIXES for path in paths):
            return "addresses of images"
        return None
    if all("\n" not in text and Path(text).suffix.lower() in images.SUFFIXES for text in texts):
        return "names of image files"
    return "images encoded as base64" if all(map(_is_base64_image, texts)) else None


def _is_base64_image(text: str) -> bool:
    body = _DATA_URI.sub("", text, count=1)
    if len(body) < len(text):
        return True
    compact = "".join(body[:4096].split())
    if not _BASE64.match(compact):
        return False
    url_safe = b"-_" if set("-_") & set(compact) else None
    try:
        head = base64.b64decode(compact[: len(compact) // 4 * 4], altchars=url_safe)
    except ValueError:
        return False
    return images.is_image_head(head)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def _undecoded(data: Dataset, column: str, rows: IntArray) -> Iterator[Any]:
    from datasets import Image

    chosen = data.select_columns([column]).with_format(None).select(rows)
    if is_image(chosen.features[column]):
        chosen = chosen.cast_column(column, Image(decode=False))
    for row in chosen:
        yield row[column]


def _downloads() -> tuple[Path, ...]:
    """Where the libraries put what they fetch."""
    from datasets import config
    from huggingface_hub import constants

    folders = (config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH, constants.HF_HUB_CACHE)
    return tuple(Path(folder).resolve() for folder in folders)


def _bytes(
    value: Mapping[str, Any] | None, folders: tuple[Path, ...] | None = None
) -> bytes | None:
    """The encoded image as it is now: what happens to its file later changes nothing."""
    if value is None or value["bytes"] is not None:
        return None if value is None else bytes(value["bytes"])
    try:
        path = Path(value["path"]).resolve()
        if folders is not None and not any(map(path.is_relative_to, folders)):
            return None
        return path.read_bytes()
    except (OSError, TypeError, ValueError):  # gone; no path; a path with NUL in it
        return None


def _read_texts(values: Iterator[str | None], left_out: Counter[str], advance: Advance) -> Inputs:
    sha = InputsHash()
    texts, kept = [], []
    for position, text in enumerate(values):
        advance(1)
        if text is None or not text.strip():
            left_out[EMPTY] += 1
            continue
        sha.add_text(text)
        texts.append(text)
        kept.append(position)
    digests = [text.encode("utf-8", errors="surrogatepass") for text in texts]
    notes = _about_equals(digests, digests, "texts")
    return Inputs(tuple(texts), sha.hexdigest(), kept, notes)


def _read_images(
    encoded: Sequence[bytes | None], left_out: Counter[str], advance: Advance
) -> Inputs:
    """Decode each one: to find the broken ones, to fingerprint, and to keep if they fit."""
    sha = InputsHash()
    decoded: list[Image] = []
    kept: list[int] = []
    pixels: list[bytes] = []
    memory = 0
    with warnings.catch_warnings():  # here, not where it warns: the switch is not thread-safe
        warnings.filterwarnings("ignore", module="PIL")
        for position, image in enumerate(images.decode_all(encoded)):
            advance(1)
            if isinstance(image, str):
                left_out[image] += 1
                continue
            pixels.append(sha.add_image(image))
            kept.append(position)
            memory += images.memory(image)
            if memory <= IN_MEMORY:
                decoded.append(image)
            else:
                decoded.clear()
    files = [data for p in kept if (data := encoded[p]) is not None]
    notes = _about_equals(pixels, [hashlib.sha256(data).digest() for data in files], "images")
    samples = tuple(decoded) if memory <= IN_MEMORY else images.LazyImages(files)
    return Inputs(samples, sha.hexdigest(), kept, notes)


def _about_equals(read: Sequence[bytes], stored: Sequence[bytes], what: str) -> tuple[str, ...]:
    """A word where inputs that differ as they are stored are equal once they are read.

    Args:
        read: A digest of each input as the models see it.
        stored: A digest of each as it is stored.
        what: What they are.
    """
    groups: dict[bytes, set[bytes]] = {}
    for seen, file in zip(read, stored, strict=True):
        groups.setdefault(seen, set()).add(file)
    alike = sum(len(files) for files in groups.values() if len(files) > 1)
    if alike:
        return (
            f"{alike:,} of {len(read):,} {what} differ in their files and are equal once they are "
            "read: the models cannot tell them apart. Look at some of them: what differs may lie "
            "in a part that is not read (metadata, later frames, colours under transparency).",
        )
    if len(read) > 3 and len(groups) < _FEW_DIFFERENT * len(read):
        return (
            f"Only {len(groups):,} of {len(read):,} {what} are different. Check that the input "
            "column is the right one.",
        )
    return ()
