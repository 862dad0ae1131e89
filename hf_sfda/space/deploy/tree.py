"""The files of a deployed Space: the app, its requirements, and this very package beside them.

A Space build sees nothing of the repository but ``requirements.txt``, so a wheel in it could not be
installed. A folder beside ``app.py`` needs no installing, and no release on an index: the Space
runs exactly the version that deployed it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hf_sfda
from hf_sfda.publish.cards import cards_directory

PACKAGE = "hf_sfda"
README = "README.md"

_APP = ("app.py", "requirements.txt")
_LEFTOVERS = (".pyc", ".pyo", ".orig", ".rej", ".swp", "~")


def space_directory() -> Path:
    """Where the app's own files lie: inside the installed package, or beside it in a checkout."""
    package = Path(hf_sfda.__file__).parent
    installed, checkout = package / "_space", package.parent / "space"
    return installed if installed.is_dir() else checkout


def space_files() -> dict[str, bytes]:
    """Path in the Space -> content, of everything but the README, whose owner has a say in it."""
    source = space_directory()
    files = {name: (source / name).read_bytes() for name in _APP}
    # The last two lie inside the first where hf_sfda is installed, and beside it in a checkout.
    for folder, place in (
        (Path(hf_sfda.__file__).parent, PACKAGE),
        (cards_directory(), f"{PACKAGE}/_cards"),
        (source, f"{PACKAGE}/_space"),
    ):
        for path in _files(folder):
            files[f"{place}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    return files


def is_ours(path: str) -> bool:
    """Whether a file of a Space that we deployed is ours to replace or delete."""
    return path in _APP or path.startswith(f"{PACKAGE}/")


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not hidden and not path.name.endswith(_LEFTOVERS):
            yield path
