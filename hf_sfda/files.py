"""Write files atomically, and recognise git-lfs pointers.

A file is written to a temporary file beside its final path and then renamed, so a reader never sees
a partial file. The writer holds a lock on the temporary file, which the kernel releases when the
process dies. So an unlocked temporary file is the leftover of a killed process, and the next writer
removes it.
"""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")  # the names that tempfile generates
_POINTER_BEGINS = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES = 1024  # maximum size of a pointer in the git-lfs specification

LFS_POINTER = "is a git-lfs pointer, not the file itself; run `git lfs pull` in its folder"
"""The error clause for a file that `git clone` without git-lfs has left as a pointer."""


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is a git-lfs pointer: a small text in place of a large file."""
    try:
        if not path.is_file() or path.stat().st_size > _POINTER_BYTES:
            return False  # to open a pipe would wait for ever
        with path.open("rb") as file:
            return file.read(len(_POINTER_BEGINS)) == _POINTER_BEGINS
    except OSError:
        return False


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file beside ``path``, flush it to the disk, and rename it.

    This also removes temporary files of killed writers of the same path.

    Args:
        path: The final path; its folder must exist.
        content: The content of the file.

    Raises:
        OSError: Writing failed. The old file, if any, is unchanged, and the temporary file is
            removed.
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
            if os.name == "posix":  # other systems cannot rename an open file
                temporary.replace(path)  # rename before closing, because closing ends the lock
        if os.name != "posix":
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path, prefix: str = ".") -> None:
    """Remove the temporary files of killed processes; those of running processes stay.

    Args:
        folder: The folder to search; its subfolders are not searched.
        prefix: Start of the names of the temporary files.
    """
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if path.name.startswith(prefix) and _TEMPORARY.fullmatch(path.name):
                _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    # Fails if the file does not exist, is locked, or the file system does not support locks.
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR)
        try:
            _lock(descriptor, wait=False)
            path.unlink()
        finally:
            os.close(descriptor)


def _temporary_file(folder: Path, prefix: str) -> tuple[int, Path]:
    """Create a temporary file and lock it; return its descriptor and path."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=prefix)
        with suppress(OSError):  # the file system does not support locks
            _lock(descriptor, wait=True)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)  # another process removed it before it was locked, so try again


def _lock(descriptor: int, *, wait: bool) -> None:
    try:
        import fcntl
    except ImportError as error:  # not a POSIX system
        raise OSError("no file locks here") from error
    fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def _umask() -> int:
    # mkstemp creates private files; give results the usual permissions instead.
    mask = os.umask(0)
    os.umask(mask)
    return mask
