"""Writing files so that nobody ever reads half of one, and telling pointers from files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_POINTER_BEGINS = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES = 1024  # the format allows no more

LFS_POINTER = "is a git-lfs pointer, not the file itself; run `git lfs pull` in its folder"
"""What to say about a file that `git clone` left behind without git-lfs."""


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is the small text that git-lfs keeps in the place of a large file."""
    try:
        if path.stat().st_size > _POINTER_BYTES:
            return False
        with path.open("rb") as file:
            return file.read(len(_POINTER_BEGINS)) == _POINTER_BEGINS
    except OSError:
        return False


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside ``path``, flush to the disk, and rename.

    Args:
        path: Final name; its folder must exist.
        content: The whole content.

    Raises:
        OSError: As the file system says; the old file, if any, is untouched and nothing is left
            beside it.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    # mkstemp makes private files; results are meant to be as readable as any other file.
    mask = os.umask(0)
    os.umask(mask)
    return mask
