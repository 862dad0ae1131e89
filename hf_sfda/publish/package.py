"""The files of this very package, for repositories that run it without a release on an index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hf_sfda
from hf_sfda.publish.cards import cards_directory

PACKAGE = "hf_sfda"

_LEFTOVERS = (".pyc", ".pyo", ".orig", ".rej", ".swp", "~")


def space_directory() -> Path:
    """Where the Space's own files lie: inside the installed package, or beside it in a checkout."""
    package = Path(hf_sfda.__file__).parent
    installed, checkout = package / "_space", package.parent / "space"
    return installed if installed.is_dir() else checkout


def package_files() -> dict[str, bytes]:
    """Path -> content of all files of the package, as a wheel holds them."""
    files = {}
    # The last two lie inside the first where hf_sfda is installed, and beside it in a checkout.
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
