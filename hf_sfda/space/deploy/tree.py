"""The files of a deployed Space: the app, its requirements, and this very package beside them.

A Space build sees nothing of the repository but ``requirements.txt``, so a wheel in it could not be
installed. A folder beside ``app.py`` needs no installing, and no release on an index: the Space
runs exactly the version that deployed it.
"""

from __future__ import annotations

from hf_sfda.publish.package import PACKAGE, package_files, space_directory

__all__ = ["PACKAGE", "README", "is_ours", "space_directory", "space_files"]

README = "README.md"

_APP = ("app.py", "requirements.txt")


def space_files() -> dict[str, bytes]:
    """Path in the Space -> content, of everything but the README, whose owner has a say in it."""
    return {name: (space_directory() / name).read_bytes() for name in _APP} | package_files()


def is_ours(path: str) -> bool:
    """Whether a file of a Space that we deployed is ours to replace or delete."""
    return path in _APP or path.startswith(f"{PACKAGE}/")
