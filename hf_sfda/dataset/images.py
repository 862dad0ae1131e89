"""Decode images ourselves, once, so that a broken one is found before any model sees it.

How an image becomes RGB, for every file format alike:

- The first frame counts, turned as its EXIF data says.
- Transparent parts are laid on white, whatever the depth.
- More than eight bits a channel are scaled to eight. The depth is the smallest of 1, 2, 4, 8, 10,
  12, 14, 16, 24, 31 and 32 bits that holds the brightest value of the image: cameras and scanners
  store 12 bits in a container of 16, and hardly a file says so. Of colours of 16 bits only the
  upper eight can be read: an image whose values all lie below 256 is left out.
- Floating-point values are taken as 0 to 1 where they lie there, else like whole numbers. Negative
  or infinite values have no agreed range: such an image is left out.
- An image of more pixels than Pillow's limit, or more than 200 times as long as it is wide, is left
  out by its header, before it is decoded.
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
"""What is taken for an image by its name alone."""

UNREADABLE_SUFFIXES = frozenset(
    ".heic .heif .hif .jxl .psd .psb .xcf .svg .eps .ico .icns .tga .pcx .sgi .dds .exr .hdr .raw "
    ".dng .cr2 .cr3 .nef .nrw .arw .orf .rw2 .raf .srw .pef .dcm .dicom .nii .mha .mhd .nrrd .fits "
    ".fit .npy .npz .mat .pfm .qoi .wbmp .wmf .emf .webm .mp4 .avi .mov .mkv".split()
)
"""Images, volumes and films that are not read; only files that Pillow does not open are asked."""

_FORMATS = "JPEG PNG WEBP GIF BMP DIB TIFF PPM JPEG2000 MPO AVIF".split()
"""Formats that are read. Pillow knows more, but EPS would start Ghostscript on a stranger's
file."""

PIXELS_IN_FLIGHT = 32_000_000
"""Pixels that are decoded at once, 128 MB; one larger image is decoded alone."""

MOST_PIXELS = 89_478_485
"""Pixels of the largest image that is read, where Pillow has no limit of its own."""

LONGEST_RATIO = 200
"""Longer side by shorter side. Processors that scale the shorter side to a fixed size would make
many gigabytes of a thin strip."""

_DEPTHS = (1, 2, 4, 8, 10, 12, 14, 16, 24, 31, 32)
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # modes of one channel
_BATCH = 32
_THREADS = 4  # Pillow lets go of the interpreter while it decodes


BROKEN = "broken image"
NO_RANGE = "image with negative or infinite pixel values"
TOO_DARK = "16-bit colour image without values above 255, of which nothing can be read"


def decode(encoded: bytes) -> Image | None:
    """An RGB image, or ``None`` where it cannot be decoded or is of an absurd size.

    The module says how images become RGB. Pillow's limit on the number of pixels stays in force.
    """
    image = decode_or_reason(encoded)
    return None if isinstance(image, str) else image


def decode_or_reason(encoded: bytes | None) -> Image | str:
    """:func:`decode`, with the reason where there is no image."""
    import PIL.ImageOps

    if encoded is None:
        return BROKEN
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
    # Every plugin has errors of its own (OSError, SyntaxError, struct.error, zlib.error ...), and
    # whichever it is, the image is broken.
    except Exception:
        return BROKEN


def size_of(encoded: bytes) -> tuple[int, int] | None:
    """Width and height as the header states them; ``None`` where there is no header."""
    try:
        with _open(io.BytesIO(encoded)) as image:
            return image.size
    except Exception:  # as in `decode`
        return None


def size_of_file(path: Path) -> tuple[int, int] | None:
    """:func:`size_of` of a file, of which only the header is read."""
    try:
        with path.open("rb") as file, _open(file) as image:
            return image.size
    except Exception:  # as in `decode`
        return None


def is_absurd(size: tuple[int, int]) -> bool:
    """Whether an image of this width and height is left out undecoded."""
    import PIL.Image

    most = min(PIL.Image.MAX_IMAGE_PIXELS or MOST_PIXELS, MOST_PIXELS)
    short, long = sorted(size)
    return short < 1 or short * long > most or long > LONGEST_RATIO * short


def is_readable_image(path: Path) -> bool:
    """Whether Pillow takes the file for an image of a format that is read, by its header."""
    try:
        with path.open("rb") as file, _open(file):
            return True
    except Exception:  # as in `decode`
        return False


def is_image_head(head: bytes) -> bool:
    """Whether the first bytes of a file are those of an image of a format that is read."""
    import PIL.Image

    PIL.Image.init()
    accepts = [PIL.Image.OPEN[name][1] for name in _FORMATS if name in PIL.Image.OPEN]
    begins = head[:16].ljust(16, b"\0")  # some ask for more bytes than there are
    return any(accept is not None and accept(begins) is True for accept in accepts)


def _open(file: Any) -> Image:
    """Read the header, of a format that is read."""
    import PIL.Image

    PIL.Image.init()
    formats = [name for name in _FORMATS if name in PIL.Image.OPEN]
    return PIL.Image.open(file, formats=formats)


# -- colours


class _NoRangeError(ValueError):
    """Pixel values that cannot be scaled."""


class _TooDarkError(ValueError):
    """Pixel values that are lost."""


def _lost_half(image: Image) -> bool:
    """Whether the file holds 16 bits a channel of which Pillow reads the upper eight."""
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
    ground = PIL.Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return PIL.Image.alpha_composite(ground, rgba).convert("RGB")


def _brightened_colours(rgba: Image) -> Image:
    """Colours scaled like those of :func:`_brightened`; transparent ones do not count. Where all
    are black, the shape is in the alpha channel.

    Raises:
        _TooDarkError: There is no shape in it.
    """
    values = np.asarray(rgba)
    seen = values[values[..., 3] > 0][:, :3]
    if not seen.any():
        if (values[..., 3] == 255).all():
            raise _TooDarkError
        return rgba
    table = _table(int(seen.max()))
    return rgba if table is None else rgba.point([*table * 3, *range(256)])


def _with_white(scaled: Image, image: Image) -> Image:
    """The one value that a file of deep grey declares transparent becomes white."""
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
    assert converted is not None, "only in place there is no result"
    return converted


def _scaled(image: Image) -> Image:
    """One channel of whole numbers or floats to eight bits.

    Raises:
        _NoRangeError: The values have no agreed range.
    """
    import PIL.Image

    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0:
        raise _NoRangeError
    brightest = float(values.max())
    top = 1.0 if image.mode == "F" and brightest <= 1 else _top(brightest)
    return PIL.Image.fromarray(np.floor(values * (255 / top) + 0.5).astype(np.uint8))


def _top(brightest: float) -> float:
    """The largest value of the depth that holds ``brightest``."""
    for bits in _DEPTHS:
        if brightest <= 2.0**bits - 1:
            return 2.0**bits - 1
    raise _NoRangeError


def _brightened(rgb: Image) -> Image:
    """The upper bytes of 16-bit channels, scaled where the values use fewer than 16 bits.

    Raises:
        _TooDarkError: They are all zero.
    """
    brightest = int(np.asarray(rgb).max())
    if brightest == 0:
        raise _TooDarkError
    table = _table(brightest)
    return rgb if table is None else rgb.point(table * 3)


def _table(brightest: int) -> list[int] | None:
    """Where each upper byte goes; ``None`` where the values use all 16 bits."""
    for bits in (2, 4, 6):  # what is left of 10, 12 and 14
        top = 2**bits - 1
        if brightest <= top:
            return [min(255, round(value * 255 / top)) for value in range(256)]
    return None


# -- many


def decode_all(encoded: Iterable[bytes | None]) -> Iterator[Image | str]:
    """:func:`decode_or_reason` over many, in order, a few at a time, few pixels at once."""
    with ThreadPoolExecutor(_THREADS) as pool:
        batch: list[bytes | None] = []
        pixels = 0
        for item in encoded:
            size = None if item is None else size_of(item)
            area = 0 if size is None or is_absurd(size) else size[0] * size[1]
            if batch and (len(batch) == _BATCH or pixels + area > PIXELS_IN_FLIGHT):
                yield from pool.map(decode_or_reason, batch)
                batch, pixels = [], 0
            batch.append(item)
            pixels += area
        yield from pool.map(decode_or_reason, batch)


def memory(image: Image) -> int:
    """Bytes a decoded RGB image takes: Pillow pads a pixel to four."""
    return 4 * image.width * image.height


def pieces(samples: Sequence[Any], positions: Sequence[int]) -> list[list[int]]:
    """Cut positions of samples into pieces that may be decoded at once.

    Args:
        samples: All samples; only :class:`LazyImages` are decoded when they are indexed.
        positions: Of the samples of one batch.

    Returns:
        The positions in order; one piece where nothing has to be decoded.
    """
    if not isinstance(samples, LazyImages):
        return [list(positions)]
    cut: list[list[int]] = [[]]
    pixels = 0
    for position in positions:
        area = samples.pixels(position)
        if cut[-1] and pixels + area > PIXELS_IN_FLIGHT:
            cut.append([])
            pixels = 0
        cut[-1].append(position)
        pixels += area
    return cut


class LazyImages(Sequence["Image"]):
    """Encoded images that are decoded when indexed; small enough to be sent to workers."""

    def __init__(self, encoded: Sequence[bytes]) -> None:
        self._encoded = tuple(encoded)

    @property
    def encoded(self) -> tuple[bytes, ...]:
        """The files' contents."""
        return self._encoded

    def pixels(self, index: int) -> int:
        """Number of pixels of one image, by its header."""
        width, height = size_of(self._encoded[index]) or (0, 0)
        return width * height

    def __len__(self) -> int:
        return len(self._encoded)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> LazyImages: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return LazyImages(self._encoded[index])
        image = decode(self._encoded[index])
        if image is None:
            raise AssertionError("A image that could be decoded before cannot be decoded now.")
        return image
