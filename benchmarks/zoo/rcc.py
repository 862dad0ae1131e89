"""Reads Qt's binary resource files (``.rcc``): a tree of names, and the contents it points to.

All numbers are big-endian. Each node of the tree has 14 bytes, 22 from version 2 on.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

from demo.assets import AssetError

_COMPRESSED, _DIRECTORY, _ZSTD = 1, 2, 4


def read_rcc(
    content: bytes, wanted: Callable[[str], bool] = lambda path: True
) -> Iterator[tuple[str, bytes]]:
    """Path and content of the files that are wanted.

    Args:
        content: The whole ``.rcc`` file.
        wanted: Told a path like ``images/tools/saw.webp``, says whether to read it.

    Raises:
        AssetError: The file is no Qt resource, is damaged, or a wanted file is compressed as zstd.
    """
    if content[:4] != b"qres":
        raise AssetError("This is no Qt resource file: it does not begin with 'qres'.")
    try:
        version, tree, data, names = struct.unpack_from(">IIII", content, 4)
        node_size = 14 if version < 2 else 22
        pending = [(0, "")]
        visited = set()
        while pending:
            index, parent = pending.pop()
            if index in visited:
                raise AssetError("This Qt resource file is damaged: its tree has a loop.")
            visited.add(index)
            node = tree + index * node_size
            name, flags = struct.unpack_from(">IH", content, node)
            path = parent
            if index:  # the root has no name
                path = f"{parent}/{_name(content, names + name)}".lstrip("/")
            if flags & _DIRECTORY:
                count, first = struct.unpack_from(">II", content, node + 6)
                # Reversed, since the last is taken first.
                pending += [(child, path) for child in reversed(range(first, first + count))]
            elif wanted(path):
                (offset,) = struct.unpack_from(">I", content, node + 10)
                yield path, _data(content, data + offset, flags, path)
    except (struct.error, UnicodeDecodeError, zlib.error) as error:
        raise AssetError(f"This Qt resource file is damaged: {error}.") from error


def _name(content: bytes, at: int) -> str:
    (length,) = struct.unpack_from(">H", content, at)
    return content[at + 6 : at + 6 + 2 * length].decode("utf-16-be")  # after a hash of 4 bytes


def _data(content: bytes, at: int, flags: int, path: str) -> bytes:
    if flags & _ZSTD:
        raise AssetError(f"{path} is compressed as zstd, which cannot be read here.")
    (length,) = struct.unpack_from(">I", content, at)
    stored = content[at + 4 : at + 4 + length]
    if len(stored) != length:
        raise AssetError(f"This Qt resource file is damaged: {path} is cut off.")
    return zlib.decompress(stored[4:]) if flags & _COMPRESSED else stored
