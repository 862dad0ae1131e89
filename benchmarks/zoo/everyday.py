"""Photographs and drawings of everyday things, out of three games for children."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from benchmarks.zoo.debian import read_files
from benchmarks.zoo.pictures import fitted, opened
from benchmarks.zoo.rcc import read_rcc
from benchmarks.zoo.samples import Sample, picture

SIZE = 128

_PYSIOGAME = "usr/share/games/pysiogame/res/images/art4apps"
_TUXPAINT = "usr/share/tuxpaint/stamps"
_GCOMPRIS = "usr/share/gcompris-qt/rcc"
_ACTIVITIES = "gcompris/src/activities"

_FOLDERS = {
    f"{_PYSIOGAME}/animals": "animal",
    f"{_PYSIOGAME}/body": "body",
    f"{_PYSIOGAME}/clothes_n_accessories": "clothes",
    f"{_PYSIOGAME}/construction": "building",
    f"{_PYSIOGAME}/food": "food",
    f"{_PYSIOGAME}/fruit_n_veg": "fruit-vegetable",
    f"{_PYSIOGAME}/jobs": "people",
    f"{_PYSIOGAME}/people": "people",
    f"{_PYSIOGAME}/nature": "nature",
    f"{_PYSIOGAME}/sport": "sport",
    f"{_PYSIOGAME}/transport": "vehicle",
    f"{_TUXPAINT}/animals": "animal",
    f"{_TUXPAINT}/clothes": "clothes",
    f"{_TUXPAINT}/food/dessert": "food",
    f"{_TUXPAINT}/food/fruit": "fruit-vegetable",
    f"{_TUXPAINT}/food/vegetables": "fruit-vegetable",
    f"{_TUXPAINT}/hobbies/music": "tool",
    f"{_TUXPAINT}/household/dishes": "tool",
    f"{_TUXPAINT}/household/tools": "tool",
    f"{_TUXPAINT}/military/vehicles": "vehicle",
    f"{_TUXPAINT}/people/body_parts": "body",
    f"{_TUXPAINT}/plants": "nature",
    f"{_TUXPAINT}/sports": "sport",
    f"{_TUXPAINT}/town/houses": "building",
    f"{_TUXPAINT}/town/monuments": "building",
    f"{_TUXPAINT}/vehicles": "vehicle",
    f"{_ACTIVITIES}/categorization/resource/images/fishes": "animal",
    f"{_ACTIVITIES}/categorization/resource/images/monuments": "building",
    f"{_ACTIVITIES}/categorization/resource/images/tools": "tool",
    f"{_ACTIVITIES}/explore_farm_animals/resource/animals": "animal",
    f"{_ACTIVITIES}/explore_monuments/resource": "building",
    f"{_ACTIVITIES}/explore_world_animals/resource/animals": "animal",
}
_RESOURCES = {
    f"{_GCOMPRIS}/{name}.rcc"
    for name in (
        "categorization",
        "explore_farm_animals",
        "explore_monuments",
        "explore_world_animals",
    )
}
_PICTURES = {".jpg", ".jpeg", ".png", ".webp"}


def everyday(pysiogame: Path, tuxpaint: Path, gcompris: Path) -> Iterator[Sample]:
    """Things by kind, on white; a group is the pictures of one thing (``apple2``, ``apple``).

    Args:
        pysiogame: Debian package ``pysiogame``.
        tuxpaint: Debian package ``tuxpaint-stamps-default``.
        gcompris: Debian package ``gcompris-qt-data``.
    """
    for source, package in (("pysiogame", pysiogame), ("tuxpaint", tuxpaint)):
        for path, content in read_files(package, lambda path: label_of(path) is not None):
            yield _sample(source, path, content)
    for _, resource in read_files(gcompris, _RESOURCES.__contains__):
        for path, content in read_rcc(resource, lambda path: label_of(path) is not None):
            yield _sample("gcompris", path, content)


def label_of(path: str) -> str | None:
    """Class of a picture by its folder; None for other files."""
    file = PurePosixPath(path)
    if file.suffix.lower() not in _PICTURES or re.search(r"_(mirror|flip)", file.stem):
        return None
    return next((_FOLDERS[str(up)] for up in file.parents if str(up) in _FOLDERS), None)


def _sample(source: str, path: str, content: bytes) -> Sample:
    label = label_of(path)
    assert label is not None  # only such files are asked for
    stem = PurePosixPath(path).stem
    name = f"{source}-{PurePosixPath(path).parent.name}-{stem}"
    thing = re.sub(r"[\d_-]+$", "", stem).lower()
    return picture(name, label, thing or stem, fitted(opened(content), SIZE))
