"""Reads files out of Debian packages; nothing is installed, run or written.

A ``.deb`` is an ar archive whose last member, ``data.tar.xz``, holds the files.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from demo.assets import AssetError

_AR = b"!<arch>\n"
_HEADER = 60
_END_OF_HEADER = b"`\n"
_COMPRESSIONS = ("", ".gz", ".bz2", ".xz")


def read_files(package: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Path and content of the regular files that are wanted, in the order of the archive.

    Args:
        package: Path of a ``.deb`` file.
        wanted: Told a path like ``usr/share/wordnet/data.noun``, says whether to read it.

    Raises:
        AssetError: The file is no Debian package, is damaged, or is compressed otherwise.
    """
    with package.open("rb") as file:
        _seek_data(file, package.name)
        try:
            # A stream: the archive is decompressed once, and no file of it is kept in memory.
            with tarfile.open(fileobj=file, mode="r|*") as archive:
                for member in archive:
                    path = member.name.removeprefix("./")
                    if member.isreg() and wanted(path):
                        content = archive.extractfile(member)
                        assert content is not None  # of a regular file
                        yield path, content.read()
        except (tarfile.TarError, EOFError) as error:
            raise AssetError(f"{package.name}: cannot read its files: {error}.") from error


def read_file(package: Path, path: str) -> bytes:
    """The content of one file of a package.

    Raises:
        AssetError: It is not there.
    """
    for _, content in read_files(package, path.__eq__):
        return content
    raise AssetError(f"{package.name} holds no file {path!r}; was the pin changed?")


def _seek_data(file: BinaryIO, name: str) -> None:
    """Go to the first byte of ``data.tar``."""
    if file.read(len(_AR)) != _AR:
        raise AssetError(f"{name} is no Debian package: it does not begin like an ar archive.")
    while len(header := file.read(_HEADER)) == _HEADER:
        member = header[:16].decode("ascii", "replace").strip().removesuffix("/")
        size = header[48:58].strip()
        if header[58:] != _END_OF_HEADER or not size.isdigit():
            raise AssetError(f"{name}: the header of member {member!r} is damaged.")
        if member.startswith("data.tar"):
            compression = member.removeprefix("data.tar")
            if compression not in _COMPRESSIONS:
                raise AssetError(
                    f"{name}: its files are compressed as {compression!r}; "
                    f"only {', '.join(_COMPRESSIONS[1:])} can be read."
                )
            return
        file.seek(int(size) + int(size) % 2, 1)  # members begin at even offsets
    raise AssetError(f"{name} is no Debian package: it has no member data.tar.")
