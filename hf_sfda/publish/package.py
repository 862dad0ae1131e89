"""The files of the installed hf_sfda package, to copy into a repository that runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hf_sfda
from hf_sfda.publish.cards import cards_directory

PACKAGE = "hf_sfda"

_LEFTOVERS = (".pyc", ".pyo", ".orig", ".rej", ".swp", "~")


def space_directory() -> Path:
    """The folder of the Space's own files: in the installed package, or beside it in a checkout."""
    package = Path(hf_sfda.__file__).parent
    installed, checkout = package / "_space", package.parent / "space"
    return installed if installed.is_dir() else checkout


def package_files() -> dict[str, bytes]:
    """All files of the package, with the paths they have in a wheel: path -> content."""
    files = {}
    # An installed package contains the last two folders; in a checkout they are beside it.
    for folder, place in (
        (Path(hf_sfda.__file__).parent, PACKAGE),
        (cards_directory(), f"{PACKAGE}/_cards"),
        (space_directory(), f"{PACKAGE}/_space"),
    ):
        for path in _files(folder):
            files[f"{place}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    return files


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not hidden and not path.name.endswith(_LEFTOVERS):
            yield path
