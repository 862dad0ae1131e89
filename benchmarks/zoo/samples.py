"""Labelled samples: without duplicates, divided by groups, written as a target.

Nothing here draws random numbers. A hash of the group decides which part it is in, so the parts
are the same on every machine and with every version of every library.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from demo.archive import inside
from demo.assets import AssetError
from demo.data import shuffle_key

if TYPE_CHECKING:
    from PIL import Image

PARTS = ("train", "validation", "test")

Parts = dict[str, list["Sample"]]


@dataclass(frozen=True)
class Sample:
    """One labelled picture or text.

    Attributes:
        name: Different for every sample of a target; a plain file name for pictures.
        label: Its class.
        group: Samples of one group belong together and are never divided.
        content: RGB pixels of a picture, UTF-8 bytes of a text.
        size: Width and height of a picture.
    """

    name: str
    label: str
    group: str
    content: bytes
    size: tuple[int, int] = (0, 0)


def picture(name: str, label: str, group: str, image: Image.Image) -> Sample:
    """A sample of an RGB picture."""
    if image.mode != "RGB":
        raise ValueError(f"{name}: an RGB picture is needed, this one is {image.mode}.")
    return Sample(name, label, group, image.tobytes(), image.size)


def text(name: str, label: str, group: str, content: str) -> Sample:
    """A sample of a text; white space is normalized."""
    return Sample(name, label, group, " ".join(content.split()).encode())


@dataclass(frozen=True)
class About:
    """What is known about a target, as written to ``target.json``.

    Attributes:
        name: Name of the target, which is also that of its folder.
        modality: Kind of its samples.
        what: What the samples and the classes are, in one line.
        source: Packages they come from.
        licence: As the packages state it.
        flip: Whether a mirrored picture still belongs to the same class.
        max_length: For texts, the number of tokens to read.
    """

    name: str
    modality: Literal["image", "text"]
    what: str
    source: str
    licence: str
    flip: bool = False
    max_length: int | None = None


@dataclass(frozen=True)
class Sizes:
    """At most this many samples in each part."""

    train: int
    validation: int
    test: int

    @property
    def shares(self) -> dict[str, float]:
        """Part -> share of the samples, all together 1."""
        counts = asdict(self)
        return {part: counts[part] / sum(counts.values()) for part in PARTS}


def without_duplicates(samples: Iterable[Sample]) -> list[Sample]:
    """The first of each set of equal samples; none of them where the labels disagree."""
    first: dict[bytes, Sample] = {}
    labels: dict[bytes, set[str]] = defaultdict(set)
    for sample in samples:
        key = _hash(sample)
        first.setdefault(key, sample)
        labels[key].add(sample.label)
    return [sample for key, sample in first.items() if len(labels[key]) == 1]


def divide(samples: Iterable[Sample], shares: Mapping[str, float]) -> Parts:
    """Divide whole groups, so that every class is divided as nearly as possible in proportion.

    Groups are taken in the order of a hash of their name. Each goes to the part that is least
    full of the classes of the group, counted with the group in it (D'Hondt's rule for seats).

    Args:
        samples: The samples to divide.
        shares: Part -> share; positive, the sum is 1.

    Returns:
        Part -> its samples.
    """
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.group].append(sample)
    sizes = Counter(sample.label for members in groups.values() for sample in members)
    filled = {part: Counter[str]() for part in shares}
    parts: Parts = {part: [] for part in shares}
    for group in sorted(groups, key=shuffle_key):
        added = Counter(sample.label for sample in groups[group])

        def fullness(part: str, added: Counter[str] = added) -> float:
            return sum(
                count * (filled[part][label] + count) / (shares[part] * sizes[label])
                for label, count in added.items()
            )

        emptiest = min(shares, key=fullness)
        parts[emptiest] += groups[group]
        filled[emptiest] += added
    return parts


def choose(samples: Iterable[Sample], count: int) -> list[Sample]:
    """At most ``count`` samples by hash, as many of each class as of the others if there are.

    Returns:
        The samples, in an order that mixes the classes and does not depend on that of the input.
    """
    ordered = sorted(samples, key=lambda sample: shuffle_key(sample.name))
    rank: Counter[str] = Counter()
    ranked = []
    for sample in ordered:
        ranked.append((rank[sample.label], sample))
        rank[sample.label] += 1
    chosen = [sample for _, sample in sorted(ranked, key=lambda pair: pair[0])[:count]]
    return sorted(chosen, key=lambda sample: shuffle_key(sample.name))


def digest(parts: Parts) -> str:
    """Sha256 over part, name, label and content of all samples, in order of part and name."""
    total = hashlib.sha256()
    for part in PARTS:
        for sample in sorted(parts[part], key=lambda sample: sample.name):
            total.update(f"{part}\0{sample.name}\0{sample.label}\0".encode())
            total.update(_hash(sample))
    return total.hexdigest()


def _hash(sample: Sample) -> bytes:
    """Equal for samples that show or say the same."""
    width, height = sample.size
    return hashlib.sha256(f"{width}x{height}:".encode() + sample.content).digest()


def write_target(
    folder: Path, about: About, samples: Iterable[Sample], sizes: Sizes, expected: str | None = None
) -> None:
    """Divide the samples and write the target.

    Args:
        folder: Existing empty folder to fill.
        about: What goes into ``target.json`` beside the counts.
        samples: All samples that the packages hold; equal ones are removed here.
        sizes: How many to take for each part.
        expected: What :func:`digest` has to give; None to accept whatever it gives.

    Raises:
        AssetError: A part lacks a class, or the digest is another one.
    """
    divided = divide(without_duplicates(samples), sizes.shares)
    parts = {part: choose(divided[part], getattr(sizes, part)) for part in PARTS}
    classes = {sample.label for part in PARTS for sample in parts[part]}
    for part in PARTS:
        missing = classes - {sample.label for sample in parts[part]}
        if missing:
            raise AssetError(
                f"{about.name}: no sample of {', '.join(sorted(missing))} in {part}. "
                "Leave the class out, or take smaller groups."
            )
    sha256 = digest(parts)
    if expected is not None and sha256 != expected:
        raise AssetError(
            f"{about.name}: the samples have sha256 {sha256}, expected {expected}. The packages "
            "are the pinned ones, so another version of a library reads them differently. Install "
            "the versions of constraints.txt; accuracies on other samples cannot be compared."
        )
    write: Callable[[Path, list[Sample]], None]
    write = _write_pictures if about.modality == "image" else _write_texts
    for part in PARTS:
        write(folder / part, parts[part])
    described = {key: value for key, value in asdict(about).items() if value is not None}
    described |= {"classes": len(classes), **{part: len(parts[part]) for part in PARTS}}
    described["sha256"] = sha256
    content = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    (folder / "target.json").write_text(content, encoding="utf-8")


def _write_pictures(part: Path, samples: list[Sample]) -> None:
    from PIL import Image

    for sample in samples:
        folder = inside(part, sample.label)
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.frombytes("RGB", sample.size, sample.content)
        image.save(inside(folder, f"{sample.name}.png"))


def _write_texts(part: Path, samples: list[Sample]) -> None:
    with part.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows((sample.content.decode(), sample.label) for sample in samples)
