"""Read the chosen rows, once, and leave out what cannot be read: the same for every model."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import TargetError
from hf_sfda.progress import Advance
from hf_sfda.target import pictures
from hf_sfda.target.columns import Columns, is_picture
from hf_sfda.target.fingerprint import InputsHash
from hf_sfda.types import IntArray

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

IN_MEMORY = 2 * 2**30
"""Bytes of decoded pictures that are kept. Above it they stay encoded and are decoded for each
model anew: slower, but a sample of large photographs would not fit otherwise."""

BROKEN = "broken picture"
EMPTY = "empty text"


@dataclass(frozen=True, eq=False)
class Inputs:
    """What became of the chosen rows.

    Attributes:
        samples: RGB pictures or texts.
        fingerprint: sha256 over them.
        kept: Which of the chosen rows they are, by position.
    """

    samples: Sequence[Any]
    fingerprint: str
    kept: list[int]


def read_inputs(
    data: Dataset,
    columns: Columns,
    rows: IntArray,
    left_out: Counter[str],
    advance: Advance = lambda amount: None,
    *,
    from_hub: bool = False,
) -> Inputs:
    """Read and, for pictures, decode these rows and no others.

    Args:
        data: The split.
        columns: Where the input is.
        rows: (N,) row numbers.
        left_out: reason -> rows; what cannot be read is added.
        advance: Told each row.
        from_hub: Whether strangers wrote the rows. Then a picture that is named by its path must
            lie among what was downloaded: a row must not bring pictures of this machine to light.
    """
    values = _undecoded(data, columns.input, rows)
    if columns.modality == "image":
        folders = _downloads() if from_hub else None
        return _read_pictures([_bytes(value, folders) for value in values], left_out, advance)
    return _read_texts(values, left_out, advance)


def refuse_file_names(data: Dataset, column: str) -> None:
    """A table of picture names would be ranked as text, with scores that look fine.

    Raises:
        TargetError: The first texts all end like picture files.
    """
    first = data.select_columns([column]).with_format(None)[:20][column]
    texts = [text for text in first if text]
    if texts and all(Path(text).suffix.lower() in pictures.SUFFIXES for text in texts):
        raise TargetError(
            f"The column {column!r} holds names of picture files ({texts[0]}), not pictures. Put "
            "the files into one sub-folder a class and pass that folder, or store them with the "
            "feature datasets.Image."
        )


def _undecoded(data: Dataset, column: str, rows: IntArray) -> Iterator[Any]:
    from datasets import Image

    chosen = data.select_columns([column]).with_format(None).select(rows)
    if is_picture(chosen.features[column]):
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
    """The encoded picture as it is now: what happens to its file later changes nothing."""
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
    return Inputs(tuple(texts), sha.hexdigest(), kept)


def _read_pictures(
    encoded: Sequence[bytes | None], left_out: Counter[str], advance: Advance
) -> Inputs:
    """Decode each one: to find the broken ones, to fingerprint, and to keep if they fit."""
    sha = InputsHash()
    decoded: list[Image] = []
    kept: list[int] = []
    memory = 0
    with warnings.catch_warnings():  # here, not where it warns: the switch is not thread-safe
        warnings.filterwarnings("ignore", module="PIL")
        for position, picture in enumerate(pictures.decode_all(encoded)):
            advance(1)
            if picture is None:
                left_out[BROKEN] += 1
                continue
            sha.add_picture(picture)
            kept.append(position)
            memory += pictures.memory(picture)
            if memory <= IN_MEMORY:
                decoded.append(picture)
            else:
                decoded.clear()
    if memory <= IN_MEMORY:
        return Inputs(tuple(decoded), sha.hexdigest(), kept)
    lazy = pictures.LazyPictures([data for p in kept if (data := encoded[p]) is not None])
    return Inputs(lazy, sha.hexdigest(), kept)
