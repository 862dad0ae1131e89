"""Refuse git-lfs pointers: small text files that a clone without git-lfs holds instead of data."""

from __future__ import annotations

import os
from pathlib import Path

from hf_sfda.errors import TargetError
from hf_sfda.files import LFS_POINTER, is_lfs_pointer


def refuse_pointers(path: Path) -> None:
    """Refuse a file that is a git-lfs pointer, or a folder that holds one.

    Args:
        path: A file or a folder. If it does not exist, nothing is raised.

    Raises:
        TargetError: There is a pointer. The message names the first one and the number of others.
    """
    if is_lfs_pointer(path):
        raise TargetError(f"{path} {LFS_POINTER}.")
    pointers = [
        Path(folder, name)
        for folder, _, names in os.walk(path)
        for name in sorted(names)
        if not _is_hidden(Path(folder, name).relative_to(path))
        and is_lfs_pointer(Path(folder, name))
    ]
    if pointers:
        more = f" (and {len(pointers) - 1:,} more files)" if len(pointers) > 1 else ""
        raise TargetError(f"{min(pointers)} {LFS_POINTER}{more}.")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
