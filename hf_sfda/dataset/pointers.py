"""Data that `git clone` without git-lfs left behind: small text files in the place of the data."""

from __future__ import annotations

import os
from pathlib import Path

from hf_sfda.errors import TargetError
from hf_sfda.files import LFS_POINTER, is_lfs_pointer


def refuse_pointers(place: Path) -> None:
    """Refuse a data file, or a folder of them, that still has to be fetched by git-lfs.

    Args:
        place: A file or a folder. What does not exist is left to the caller.

    Raises:
        TargetError: Names the first pointer, and how many there are.
    """
    if is_lfs_pointer(place):
        raise TargetError(f"{place} {LFS_POINTER}.")
    pointers = [
        Path(folder, name)
        for folder, _, names in os.walk(place)
        for name in sorted(names)
        if not _is_hidden(Path(folder, name).relative_to(place))
        and is_lfs_pointer(Path(folder, name))
    ]
    if pointers:
        more = f" (and {len(pointers) - 1:,} more files)" if len(pointers) > 1 else ""
        raise TargetError(f"{min(pointers)} {LFS_POINTER}{more}.")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
