"""Read the sampled rows once. Rows that cannot be read are left out for all models."""

from __future__ import annotations

import base64
import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.dataset import images, sounds
from hf_sfda.dataset.columns import Columns
from hf_sfda.dataset.features import is_image, is_sound
from hf_sfda.dataset.fingerprint import InputsHash
from hf_sfda.errors import TargetError
from hf_sfda.format import cut
from hf_sfda.progress import Advance
from hf_sfda.types import IntArray, Sound, TextPair, Word

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

IN_MEMORY = 2 * 2**30
"""Bytes of decoded images that stay in memory. A larger sample stays encoded and is decoded again
for each model. That is slower, but a sample of large photographs would not fit into memory."""

EMPTY = "empty text"

_PROBED_ROWS = 20  # first rows that show what a column holds
_FEW_DISTINCT = 0.5  # warn if the share of distinct inputs is below this
_MANY_EQUAL = 0.5  # warn if the share of pairs with two equal texts is above this
_FILE_SUFFIXES = {"image": images.SUFFIXES, "sound": sounds.SUFFIXES | sounds.UNREADABLE_SUFFIXES}
_COLUMN_WORDS = {
    "image": ("image", "img", "picture", "photo", "pic", "thumbnail"),
    "sound": ("audio", "sound", "speech", "recording", "wav"),
}
"""Words in the name of a column of URLs that say what the URLs point to."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs that could be read from the sampled rows.

    Attributes:
        samples: RGB images, texts, pairs of texts, words or sounds.
        fingerprint: sha256 over the samples.
        positions: Position of each sample in the list of sampled rows.
        notes: Warnings about the inputs.
    """

    samples: Sequence[Any]
    fingerprint: str
    positions: list[int]
    notes: tuple[str, ...] = ()


def read_inputs(
    data: Dataset,
    columns: Columns,
    rows: IntArray,
    left_out: Counter[str],
    advance: Advance = lambda amount: None,
    *,
    from_hub: bool = False,
    words: IntArray | None = None,
) -> Inputs:
    """Read the given rows, and decode them if they are images or sounds.

    Args:
        data: The split.
        columns: The columns of the dataset.
        rows: (N,) row numbers.
        left_out: Reason -> number of rows. Rows that cannot be read are added.
        advance: Called with 1 after each row.
        from_hub: Whether the dataset is from the Hub. Its rows are not trusted: an image that is
            given as a path must be in a download folder, so that a row cannot expose other images
            of this machine. The same holds for sounds.
        words: (N,) position of the word to read in each row, for tags of words.
    """
    values, *others = (_undecoded(data, name, rows) for name in columns.inputs)
    folders = _download_folders() if from_hub else None
    if columns.modality == "image":
        encoded = [_bytes(value, "image", folders) for value in values]
        return _read_images(encoded, left_out, advance)
    if columns.modality == "audio":
        return _read_sounds((_sound_bytes(value, folders) for value in values), left_out, advance)
    if words is not None:  # rows that cannot be read were left out with the tags
        drawn = (Word(tuple(s), int(place)) for s, place in zip(values, words, strict=True))
        what = "words in their sentences"
        return _read_texts(drawn, InputsHash.add_word, what, left_out, advance)
    if not others:
        texts = (text if _is_text(text) else None for text in values)
        return _read_texts(texts, InputsHash.add_text, "texts", left_out, advance)
    both = zip(values, *others, strict=True)
    pairs = (TextPair(*texts) if all(map(_is_text, texts)) else None for texts in both)
    inputs = _read_texts(pairs, InputsHash.add_pair, "pairs of texts", left_out, advance)
    return replace(inputs, notes=(*_equal_pairs_note(columns, inputs.samples), *inputs.notes))


def refuse_disguised_files(column: str, values: Sequence[str | None]) -> tuple[str, ...]:
    """Refuse a text column that holds file names, URLs or base64 encodings of images or sounds.

    Without this check they would be ranked as text, and the scores would look plausible.

    Args:
        column: Name of the column.
        values: Its first values.

    Returns:
        Warnings about the texts.

    Raises:
        TargetError: The first texts are all names of files, URLs, or contents of files as base64.
    """
    texts = [text.strip() for text in values[:_PROBED_ROWS] if text and text.strip()]
    for noun, feature in (("image", "Image"), ("sound", "Audio")) if texts else ():
        what = _reference(texts, column, noun)
        if what is not None:
            raise TargetError(
                f"The column {column!r} holds {what} ({cut(texts[0], 60)}), not {noun}s. Put the "
                "files into one sub-folder per class and pass the folder that holds the "
                "sub-folders, or name them in the column file_name of a metadata.csv beside them, "
                f"or store them with the feature datasets.{feature}."
            )
    if texts and all(map(_URL.match, texts)):
        return (f"The texts of the column {column!r} are URLs; they are ranked as text.",)
    return ()


_URL = re.compile(r"(https?|ftp|s3|gs)://\S+$", re.IGNORECASE)
_DATA_URI = re.compile(r"data:(image|audio)/[\w.+-]+;base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{32,}={0,2}")


def _reference(texts: Sequence[str], column: str, noun: str) -> str | None:
    """What the texts stand for if all are references to images or sounds, or encoded ones."""
    suffixes = _FILE_SUFFIXES[noun]
    if all(map(_URL.match, texts)):
        paths = [Path(text.partition("?")[0].partition("#")[0]) for text in texts]
        is_named = any(name in column.lower() for name in _COLUMN_WORDS[noun])
        if is_named or all(path.suffix.lower() in suffixes for path in paths):
            return f"URLs of {noun}s"
        return None
    if all("\n" not in text and Path(text).suffix.lower() in suffixes for text in texts):
        return f"names of {noun} files"
    is_encoded = all(_is_base64(text, noun) for text in texts)
    return f"{noun}s encoded as base64" if is_encoded else None


def _is_base64(text: str, noun: str) -> bool:
    if uri := _DATA_URI.match(text):
        return (uri[1].lower() == "image") == (noun == "image")
    compact = "".join(text[:4096].split())
    if not _BASE64.match(compact):
        return False
    url_safe = b"-_" if set("-_") & set(compact) else None
    try:
        head = base64.b64decode(compact[: len(compact) // 4 * 4], altchars=url_safe)
    except ValueError:
        return False
    return images.is_image_head(head) if noun == "image" else sounds.is_sound_head(head)


def _undecoded(data: Dataset, column: str, rows: IntArray) -> Iterator[Any]:
    from datasets import Audio, Image

    chosen = data.select_columns([column]).with_format(None).select(rows)
    if is_sound(chosen.features[column]):
        chosen = chosen.cast_column(column, Audio(decode=False))
    elif is_image(chosen.features[column]):
        chosen = chosen.cast_column(column, Image(decode=False))
    for row in chosen:
        yield row[column]


def _download_folders() -> tuple[Path, ...]:
    """The folders in which the libraries store downloads."""
    from datasets import config
    from huggingface_hub import constants

    folders = (config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH, constants.HF_HUB_CACHE)
    return tuple(Path(folder).resolve() for folder in folders)


def _bytes(
    value: Mapping[str, Any] | None, noun: str, folders: tuple[Path, ...] | None
) -> bytes | str:
    """The encoded image or sound, or the reason why there is none.

    Reading a file now means that its later changes have no effect.
    """
    if value is None or (value["bytes"] is None and value["path"] is None):
        return f"no {noun}"
    if value["bytes"] is not None:
        return bytes(value["bytes"])
    not_found = f"{noun} file not found"
    try:
        path = Path(value["path"]).resolve()
        if folders is not None and not any(map(path.is_relative_to, folders)):
            return not_found
        return path.read_bytes()
    except (OSError, TypeError, ValueError):  # removed, a folder, no path, or a path with NUL
        return not_found


def _sound_bytes(value: Mapping[str, Any] | None, folders: tuple[Path, ...] | None) -> bytes | str:
    """As :func:`_bytes`. The content of a format without a decoder is a reason, too."""
    content = _bytes(value, "sound", folders)
    name = str((value or {}).get("path") or "")
    return content if isinstance(content, str) else sounds.unreadable(name, content) or content


def _is_text(value: str | None) -> bool:
    return value is not None and value.strip() != ""


def _read_texts(
    texts: Iterable[Any],
    add: Callable[[InputsHash, Any], None],
    what: str,
    left_out: Counter[str],
    advance: Advance,
) -> Inputs:
    """Collect texts, pairs of texts, or words; ``None`` is a row with an empty text."""
    sha = InputsHash()
    samples, positions = [], []
    for position, text in enumerate(texts):
        advance(1)
        if text is None:
            left_out[EMPTY] += 1
            continue
        add(sha, text)
        samples.append(text)
        positions.append(position)
    notes = _duplicate_warnings(samples, samples, what)
    return Inputs(tuple(samples), sha.hexdigest(), positions, notes)


def _equal_pairs_note(columns: Columns, pairs: Sequence[TextPair]) -> tuple[str, ...]:
    equal = sum(pair.first.strip() == pair.second.strip() for pair in pairs)
    if equal <= _MANY_EQUAL * len(pairs):
        return ()
    first, second = columns.inputs
    return (
        f"{equal:,} of {len(pairs):,} pairs of {first!r} and {second!r} hold the same text twice. "
        "Check that these are the right columns.",
    )


def _read_images(
    encoded: Sequence[bytes | str], left_out: Counter[str], advance: Advance
) -> Inputs:
    """Decode all images to find broken ones and to compute the fingerprint.

    The decoded images stay in memory if they fit into :data:`IN_MEMORY`.
    """
    sha = InputsHash()
    decoded: list[Image] = []
    positions: list[int] = []
    pixels: list[bytes] = []
    memory = 0
    with warnings.catch_warnings():  # not in the threads: it is not thread-safe
        warnings.filterwarnings("ignore", module="PIL")
        for position, image in enumerate(images.decode_all(encoded)):
            advance(1)
            if isinstance(image, str):
                left_out[image] += 1
                continue
            pixels.append(sha.add_image(image))
            positions.append(position)
            memory += images.memory(image)
            if memory <= IN_MEMORY:
                decoded.append(image)
            else:
                decoded.clear()
    files = [data for p in positions if isinstance(data := encoded[p], bytes)]
    notes = _duplicate_warnings(pixels, [hashlib.sha256(data).digest() for data in files], "images")
    samples = tuple(decoded) if memory <= IN_MEMORY else images.LazyImages(files)
    return Inputs(samples, sha.hexdigest(), positions, notes)


def _read_sounds(
    encoded: Iterator[bytes | str], left_out: Counter[str], advance: Advance
) -> Inputs:
    """Decode all sounds to find broken ones and to compute the fingerprint.

    The decoded sounds stay in memory if they fit into :data:`IN_MEMORY`.

    Raises:
        TargetError: The libraries that decode sounds are not installed.
    """
    sounds.require_libraries()
    sha = InputsHash()
    decoded: list[Sound] = []
    files: list[bytes] = []
    sizes: list[sounds.Size] = []
    positions: list[int] = []
    read: list[bytes] = []
    stored: list[bytes] = []
    memory = cut_ones = 0
    loud: list[float] = []
    for position, content in enumerate(encoded):
        advance(1)
        sound = content if isinstance(content, str) else sounds.decode_or_reason(content)
        if isinstance(sound, str) or isinstance(content, str):
            left_out[str(sound)] += 1
            continue
        stored.append(hashlib.sha256(content).digest())
        if sounds.is_too_long(sound):
            sound = sounds.beginning(sound)
            content = sounds.encode(sound)  # the rest of a long recording would fill the memory
            cut_ones += 1
        if (peak := float(abs(sound.values).max())) > sounds.LOUDEST:
            loud.append(peak)
        read.append(sha.add_sound(sound))
        positions.append(position)
        files.append(content)
        sizes.append((sound.rate, len(sound.values)))
        memory += sound.values.nbytes
        if memory <= IN_MEMORY:
            decoded.append(sound)
        else:
            decoded.clear()
    notes = _duplicate_warnings(read, stored, "sounds")
    if loud:
        notes = (sounds.loud_note(len(loud), len(positions), max(loud)), *notes)
    if cut_ones:
        notes = (sounds.cut_note(cut_ones, len(positions)), *notes)
    samples = tuple(decoded) if memory <= IN_MEMORY else sounds.LazySounds(files, sizes)
    return Inputs(samples, sha.hexdigest(), positions, notes)


def _duplicate_warnings(
    read: Sequence[Hashable], stored: Sequence[Hashable], what: str
) -> tuple[str, ...]:
    """Warn if different files give equal inputs, or if few inputs are distinct.

    Args:
        read: Each input as the models receive it, or its digest.
        stored: Each input as it is stored, or its digest.
        what: What the inputs are, such as ``"pairs of texts"``, for the message.
    """
    files_by_input: dict[Hashable, set[Hashable]] = {}
    for digest, file in zip(read, stored, strict=True):
        files_by_input.setdefault(digest, set()).add(file)
    equal = sum(len(files) for files in files_by_input.values() if len(files) > 1)
    if equal:
        return (
            f"{equal:,} of {len(read):,} {what} differ in their files and are equal once they are "
            "read, so the models cannot distinguish them. Look at some of them: the difference may "
            "be in a part that is not read (metadata, later frames, colours of transparent "
            "pixels).",
        )
    if len(read) > 3 and len(files_by_input) < _FEW_DISTINCT * len(read):
        return (
            f"Only {len(files_by_input):,} of {len(read):,} {what} are different. Check that the "
            "input column is the right one.",
        )
    return ()
