"""Decode images once, before any model runs, so that broken images are left out for all models.

An image becomes RGB by the same rules for every file format:

- The first frame is used, rotated as its EXIF data says.
- Transparent parts become white, whatever the bit depth.
- More than eight bits per channel are scaled to eight. The bit depth is the smallest of 1, 2, 4, 8,
  10, 12, 14, 16, 24, 31 and 32 that holds the brightest value of the image. Cameras and scanners
  often store 12 bits in a container of 16, and few files record this. Pillow reads only the upper
  eight bits of 16-bit colour channels, so a colour image with all values below 256 is left out.
- Floating-point values from 0 to 1 are scaled to 0 to 255. If any value is above 1, they are
  treated as integers. Negative and infinite values have no agreed range: the image is left out.
- An image with more pixels than Pillow's limit, or whose longer side is more than 200 times the
  shorter one, is left out. Its header is enough to decide this, so it is not decoded.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
_OTHERS = ".png .apng .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .jp2 .j2k .avif"
SUFFIXES = frozenset([*_JPEG, *_OTHERS.split()])
"""Files with these suffixes count as images without a look at their content."""

UNREADABLE_SUFFIXES = frozenset(
    ".heic .heif .hif .jxl .psd .psb .xcf .svg .eps .ico .icns .tga .pcx .sgi .dds .exr .hdr .raw "
    ".dng .cr2 .cr3 .nef .nrw .arw .orf .rw2 .raf .srw .pef .dcm .dicom .nii .mha .mhd .nrrd .fits "
    ".fit .npy .npz .mat .pfm .qoi .wbmp .wmf .emf .webm .mp4 .avi .mov .mkv".split()
)
"""Images, volumes and videos that are not read. Only files that Pillow cannot open are checked."""

_FORMATS = "JPEG PNG WEBP GIF BMP DIB TIFF PPM JPEG2000 MPO AVIF".split()
"""Formats that are read. Pillow supports more. For example, it would run Ghostscript on an EPS
file, which can hold any program."""

PIXELS_IN_FLIGHT = 32_000_000
"""Most pixels that are decoded at the same time (128 MB). A larger image is decoded alone."""

MOST_PIXELS = 89_478_485
"""Pixels of the largest image that is read. A lower limit of Pillow also applies."""

LONGEST_RATIO = 200
"""Largest ratio of the longer to the shorter side. Processors that scale the shorter side to a
fixed size would need many gigabytes for a thin strip."""

_DEPTHS = (1, 2, 4, 8, 10, 12, 14, 16, 24, 31, 32)
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # single-channel modes with more than 8 bits
_BATCH = 32
_THREADS = 4  # Pillow releases the GIL while it decodes


BROKEN = "broken image"
NO_RANGE = "image with negative or infinite pixel values"
TOO_DARK = "16-bit colour image without values above 255, of which nothing can be read"


def decode(encoded: bytes) -> Image | None:
    """Decode to an RGB image; ``None`` if it cannot be decoded or its size is not allowed.

    The docstring of the module has the rules. Pillow's limit on the number of pixels applies.
    """
    image = decode_or_reason(encoded)
    return None if isinstance(image, str) else image


def decode_or_reason(encoded: bytes | str) -> Image | str:
    """Like :func:`decode`, but return the reason instead of ``None``.

    A text is such a reason already, and is returned.
    """
    import PIL.ImageOps

    if isinstance(encoded, str):
        return encoded
    try:
        with _open(io.BytesIO(encoded)) as image:
            if is_absurd(image.size):
                return BROKEN
            halved = _lost_half(image)
            image.load()
            return _to_rgb(PIL.ImageOps.exif_transpose(image), halved)
    except _NoRangeError:
        return NO_RANGE
    except _TooDarkError:
        return TOO_DARK
    # Every plugin of Pillow raises its own errors (OSError, SyntaxError, struct.error, zlib.error
    # ...). All of them mean that the image is broken.
    except Exception:
        return BROKEN


def size_of(source: bytes | Path) -> tuple[int, int] | None:
    """Width and height, from the header of an encoded image or of a file.

    ``None`` if Pillow cannot read it in one of the supported formats.
    """
    try:
        opened = source.open("rb") if isinstance(source, Path) else io.BytesIO(source)
        with opened, _open(opened) as image:
            return image.size
    except Exception:  # as in `decode`
        return None


def is_absurd(size: tuple[int, int]) -> bool:
    """Whether an image of this width and height is left out without decoding it."""
    import PIL.Image

    most = min(PIL.Image.MAX_IMAGE_PIXELS or MOST_PIXELS, MOST_PIXELS)
    short, long = sorted(size)
    return short < 1 or short * long > most or long > LONGEST_RATIO * short


def is_image_head(head: bytes) -> bool:
    """Whether the first bytes of a file belong to an image in one of the supported formats."""
    import PIL.Image

    accepts = [PIL.Image.OPEN[name][1] for name in _formats()]
    prefix = head[:16].ljust(16, b"\0")  # some plugins index bytes beyond a short prefix
    return any(accept is not None and accept(prefix) is True for accept in accepts)


def _open(file: Any) -> Image:
    """Open an image in one of the supported formats. Only the header is read."""
    import PIL.Image

    return PIL.Image.open(file, formats=_formats())


def _formats() -> list[str]:
    """The supported formats that this build of Pillow reads."""
    import PIL.Image

    PIL.Image.init()
    return [name for name in _FORMATS if name in PIL.Image.OPEN]


# -- colours


class _NoRangeError(ValueError):
    """The pixel values have no agreed range, so they cannot be scaled."""


class _TooDarkError(ValueError):
    """All values are in the lower eight bits, which Pillow does not read."""


def _lost_half(image: Image) -> bool:
    """Whether the file has 16 bits per channel, of which Pillow reads the upper eight."""
    return image.mode not in _DEEP and ";16" in str(getattr(image, "tile", ""))


def _to_rgb(image: Image, halved: bool) -> Image:
    if image.mode in _DEEP:
        return _with_white(_scaled(image), image).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image, halved)
    if image.mode == "LAB":
        return _from_lab(image)
    rgb = image.convert("RGB")
    return _brightened(rgb) if halved else rgb


def _on_white(image: Image, halved: bool) -> Image:
    import PIL.Image

    rgba = image.convert("RGBA")
    if halved:
        rgba = _brightened_colours(rgba)
    background = PIL.Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return PIL.Image.alpha_composite(background, rgba).convert("RGB")


def _brightened_colours(rgba: Image) -> Image:
    """Scale the visible colours as :func:`_brightened` does.

    If all visible pixels are black, the image stays as it is: the alpha channel holds the shape.

    Raises:
        _TooDarkError: All visible pixels are black and the alpha channel is opaque everywhere.
    """
    values = np.asarray(rgba)
    visible = values[values[..., 3] > 0][:, :3]
    if not visible.any():
        if (values[..., 3] == 255).all():
            raise _TooDarkError
        return rgba
    table = _table(int(visible.max()))
    return rgba if table is None else rgba.point([*table * 3, *range(256)])


def _with_white(scaled: Image, image: Image) -> Image:
    """Make the grey value white that the file declares transparent, if it declares one."""
    import PIL.Image

    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return scaled
    white = np.where(np.asarray(image) == transparent, 255, np.asarray(scaled))
    return PIL.Image.fromarray(white.astype(np.uint8))


def _from_lab(image: Image) -> Image:
    from PIL import ImageCms

    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
    assert converted is not None, "profileToProfile returns None only with inPlace=True"
    return converted


def _scaled(image: Image) -> Image:
    """Scale one channel of integers or floats to eight bits.

    Raises:
        _NoRangeError: A value is negative, infinite or NaN.
    """
    import PIL.Image

    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0:
        raise _NoRangeError
    brightest = float(values.max())
    top = 1.0 if image.mode == "F" and brightest <= 1 else _top(brightest)
    return PIL.Image.fromarray(np.floor(values * (255 / top) + 0.5).astype(np.uint8))


def _top(brightest: float) -> float:
    """The largest value of the smallest bit depth that holds ``brightest``."""
    for bits in _DEPTHS:
        if brightest <= 2.0**bits - 1:
            return 2.0**bits - 1
    raise _NoRangeError


def _brightened(rgb: Image) -> Image:
    """Scale the upper bytes of 16-bit channels if the values use fewer than 16 bits.

    Raises:
        _TooDarkError: All upper bytes are zero.
    """
    brightest = int(np.asarray(rgb).max())
    if brightest == 0:
        raise _TooDarkError
    table = _table(brightest)
    return rgb if table is None else rgb.point(table * 3)


def _table(brightest: int) -> list[int] | None:
    """Lookup table for the upper bytes; ``None`` if the values use all 16 bits."""
    for bits in (2, 4, 6):  # bits of the upper byte that depths of 10, 12 and 14 use
        top = 2**bits - 1
        if brightest <= top:
            return [min(255, round(value * 255 / top)) for value in range(256)]
    return None


# -- many images


def decode_all(encoded: Iterable[bytes | str]) -> Iterator[Image | str]:
    """Apply :func:`decode_or_reason` to many images, in order, in several threads.

    At most :data:`PIXELS_IN_FLIGHT` pixels are decoded at the same time.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        batch: list[bytes | str] = []
        pixels = 0
        for item in encoded:
            size = None if isinstance(item, str) else size_of(item)
            area = 0 if size is None or is_absurd(size) else size[0] * size[1]
            if batch and (len(batch) == _BATCH or pixels + area > PIXELS_IN_FLIGHT):
                yield from pool.map(decode_or_reason, batch)
                batch, pixels = [], 0
            batch.append(item)
            pixels += area
        yield from pool.map(decode_or_reason, batch)


def memory(image: Image) -> int:
    """Bytes of memory of a decoded RGB image. Pillow uses four bytes per pixel."""
    return 4 * image.width * image.height


def pieces(samples: Sequence[Any], positions: Sequence[int]) -> list[list[int]]:
    """Divide the positions of a batch into pieces that can be decoded at the same time.

    Args:
        samples: All samples. Only :class:`LazyImages` are decoded when they are indexed.
        positions: Positions of the samples of one batch.

    Returns:
        The positions in order. There is one piece if nothing has to be decoded.
    """
    if not isinstance(samples, LazyImages):
        return [list(positions)]
    parts: list[list[int]] = [[]]
    pixels = 0
    for position in positions:
        area = samples.pixels(position)
        if parts[-1] and pixels + area > PIXELS_IN_FLIGHT:
            parts.append([])
            pixels = 0
        parts[-1].append(position)
        pixels += area
    return parts


class LazyImages(Sequence["Image"]):
    """Encoded images that are decoded when indexed. Sending them to worker processes is cheap.

    Args:
        encoded: The content of each image file.
    """

    def __init__(self, encoded: Sequence[bytes]) -> None:
        self.encoded = tuple(encoded)

    def pixels(self, index: int) -> int:
        """Number of pixels of one image, from its header."""
        width, height = size_of(self.encoded[index]) or (0, 0)
        return width * height

    def __len__(self) -> int:
        return len(self.encoded)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> LazyImages: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return LazyImages(self.encoded[index])
        image = decode(self.encoded[index])
        if image is None:
            raise AssertionError("An image that was decoded before cannot be decoded again.")
        return image
