"""Writing files so that nobody ever reads half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


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
