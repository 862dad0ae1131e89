"""Writing files so that nobody ever reads half of one, and telling pointers from files.

A file is written beside its final name and renamed. The writer holds a lock on the temporary file,
which the kernel drops when the process dies: a temporary file that nobody holds was left by a
process that was killed, and the next writer removes it.
"""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")  # as tempfile names them
_POINTER_BEGINS = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES = 1024  # the format allows no more

LFS_POINTER = "is a git-lfs pointer, not the file itself; run `git lfs pull` in its folder"
"""What to say about a file that `git clone` left behind without git-lfs."""


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is the small text that git-lfs keeps in the place of a large file."""
    try:
        if not path.is_file() or path.stat().st_size > _POINTER_BYTES:
            return False  # to open a pipe would wait for ever
        with path.open("rb") as file:
            return file.read(len(_POINTER_BEGINS)) == _POINTER_BEGINS
    except OSError:
        return False


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside ``path``, flush to the disk, and rename.

    What killed writers of this file left behind is removed.

    Args:
        path: Final name; its folder must exist.
        content: The whole content.

    Raises:
        OSError: As the file system says; the old file, if any, is untouched and nothing is left
            beside it.
    """
    prefix = f".{path.name}."
    remove_leftovers(path.parent, prefix)
    descriptor, temporary = _temporary_file(path.parent, prefix)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            if os.name == "posix":  # elsewhere an open file cannot be renamed
                temporary.replace(path)  # closing the file ends the lock
        if os.name != "posix":
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path, prefix: str = ".") -> None:
    """Remove temporary files that killed processes left; those of living ones stay.

    Args:
        folder: Where to look, not below it.
        prefix: How their names begin.
    """
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if path.name.startswith(prefix) and _TEMPORARY.fullmatch(path.name):
                _remove_unheld(path)


def _remove_unheld(path: Path) -> None:
    with suppress(OSError):  # it is gone, somebody holds it, or this file system knows no locks
        descriptor = os.open(path, os.O_RDWR)
        try:
            _lock(descriptor, wait=False)
            path.unlink()
        finally:
            os.close(descriptor)


def _temporary_file(folder: Path, prefix: str) -> tuple[int, Path]:
    """A new file that this process holds."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=prefix)
        with suppress(OSError):  # this file system knows no locks
            _lock(descriptor, wait=True)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)  # another process took it for a leftover before it was locked


def _lock(descriptor: int, *, wait: bool) -> None:
    try:
        import fcntl
    except ImportError as error:  # not a POSIX system
        raise OSError("no file locks here") from error
    fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def _umask() -> int:
    # mkstemp makes private files; results are meant to be as readable as any other file.
    mask = os.umask(0)
    os.umask(mask)
    return mask
