"""Decode pictures ourselves, once, so that a broken one is found before any model sees it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from PIL.Image import Image

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_OTHERS = ".png .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .jp2 .avif"
SUFFIXES = frozenset([*_JPEG, *_OTHERS.split()])
"""What is taken for a picture in a folder."""

_FORMATS = "JPEG PNG WEBP GIF BMP DIB TIFF PPM JPEG2000 MPO AVIF".split()
"""Formats that are read. Pillow knows more, but EPS would start Ghostscript on a stranger's
file."""

_BATCH = 32
_THREADS = 4  # Pillow lets go of the interpreter while it decodes


def decode(encoded: bytes) -> Image | None:
    """An RGB picture, or ``None`` where it cannot be decoded.

    Orientation in the EXIF data is applied and other modes become RGB, exactly as
    ``datasets.Image(mode="RGB")`` does. Pillow's limit on the number of pixels stays in force.
    """
    import PIL.Image
    import PIL.ImageOps

    PIL.Image.init()
    formats = [name for name in _FORMATS if name in PIL.Image.OPEN]
    try:
        with PIL.Image.open(io.BytesIO(encoded), formats=formats) as picture:
            picture.load()
            return PIL.ImageOps.exif_transpose(picture).convert("RGB")
    # Every plugin has errors of its own (OSError, SyntaxError, struct.error, zlib.error ...), and
    # whichever it is, the picture is broken.
    except Exception:
        return None


def decode_all(encoded: Iterable[bytes | None]) -> Iterator[Image | None]:
    """:func:`decode` over many, in order, a few at a time."""
    with ThreadPoolExecutor(_THREADS) as pool:
        batch: list[bytes | None] = []
        for item in encoded:
            batch.append(item)
            if len(batch) == _BATCH:
                yield from pool.map(_decode_some, batch)
                batch.clear()
        yield from pool.map(_decode_some, batch)


def _decode_some(encoded: bytes | None) -> Image | None:
    return None if encoded is None else decode(encoded)


def memory(picture: Image) -> int:
    """Bytes a decoded RGB picture takes: Pillow pads a pixel to four."""
    return 4 * picture.width * picture.height


class LazyPictures(Sequence["Image"]):
    """Encoded pictures that are decoded when indexed; small enough to be sent to workers."""

    def __init__(self, encoded: Sequence[bytes]) -> None:
        self._encoded = tuple(encoded)

    @property
    def encoded(self) -> tuple[bytes, ...]:
        """The files' contents."""
        return self._encoded

    def __len__(self) -> int:
        return len(self._encoded)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> LazyPictures: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return LazyPictures(self._encoded[index])
        picture = decode(self._encoded[index])
        if picture is None:
            raise AssertionError("A picture that could be decoded before cannot be decoded now.")
        return picture
