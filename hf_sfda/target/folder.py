"""Which pictures of a folder belong to which split and class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hf_sfda.errors import TargetError
from hf_sfda.target.pictures import SUFFIXES

SPLITS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip

Classes = Mapping[str, list[Path]]


def picture_splits(path: Path) -> Mapping[str, Classes]:
    """Split -> class -> its pictures, all sorted; empty where the folder holds no pictures.

    The sub-folders of ``path`` are classes, unless *all* of them are called after splits and hold
    class folders themselves: ``train`` beside ``bus`` and ``bicycle`` is a class. Pictures deeper
    down belong to the class folder above them.

    Raises:
        TargetError: There are pictures but no class folders.
    """
    children = _folders(path)
    if children and all(c.name.lower() in SPLITS and _folders(c) for c in children):
        splits = {SPLITS[child.name.lower()]: _classes(child) for child in children}
        return {name: classes for name, classes in splits.items() if classes}
    classes = _classes(path)
    if not classes and (loose := _pictures(path)):
        raise TargetError(
            f"{path} holds {len(loose)} pictures but no class folders; make one sub-folder a "
            "class, or add a metadata.csv with file_name and label."
        )
    return {"train": classes} if classes else {}


def _classes(path: Path) -> Classes:
    found = {child.name: _pictures(child) for child in _folders(path)}
    return {name: files for name, files in found.items() if files}


def _pictures(path: Path) -> list[Path]:
    return sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


def _folders(path: Path) -> list[Path]:
    return sorted(c for c in path.iterdir() if c.is_dir() and not c.name.startswith("."))
