"""The files of a deployed Space: the app, its requirements and a copy of the hf_sfda package.

The build of a Space sees only ``requirements.txt``, so it could not install a wheel in the
repository. A package folder beside ``app.py`` needs no installation and no release. So the Space
runs exactly the version that deployed it.
"""

from __future__ import annotations

from hf_sfda.leaderboard.package import PACKAGE, package_files, space_directory

__all__ = ["PACKAGE", "README", "is_ours", "space_directory", "space_files"]

README = "README.md"

_APP = ("app.py", "requirements.txt")


def space_files() -> dict[str, bytes]:
    """All files of a Space but the README, which the owner may edit: path -> content."""
    return {name: (space_directory() / name).read_bytes() for name in _APP} | package_files()


def is_ours(path: str) -> bool:
    """Whether a deployment may replace or delete a file."""
    return path in _APP or path.startswith(f"{PACKAGE}/")
