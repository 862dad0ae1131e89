"""Image files of every kind as RGB: nothing is lost without a word."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hf_sfda import load_target
from hf_sfda.dataset import images

GREY = np.add.outer(np.arange(16), np.arange(16)).astype("int64") * 8  # 0 to 240


def saved(picture, kind, **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


DEEP = {
    "png 16": ("PNG", (GREY * 257).astype("uint16")),
    "tiff 16": ("TIFF", (GREY * 257).astype("uint16")),
    "pgm 16": ("PPM", (GREY * 257).astype("uint16")),
    "jp2 16": ("JPEG2000", (GREY * 257).astype("uint16")),
    "png 12 in 16": ("PNG", (GREY * 16).astype("uint16")),
    "tiff 12 in 16": ("TIFF", (GREY * 16).astype("uint16")),
    "pgm 12 in 16": ("PPM", (GREY * 16).astype("uint16")),
    "tiff int32": ("TIFF", (GREY * 65793).astype("int32")),
    "tiff float": ("TIFF", (GREY / 255).astype("float32")),
    "tiff float to 255": ("TIFF", GREY.astype("float32")),
    "tiff big-endian": ("TIFF", (GREY * 257).astype(">u2")),
}


@pytest.mark.parametrize("name", DEEP)
def test_more_than_eight_bits_are_scaled(name):
    kind, values = DEEP[name]
    if kind == "JPEG2000" and "JPEG2000" not in _formats():
        pytest.skip("this Pillow reads no JPEG 2000")
    options = {"irreversible": False} if kind == "JPEG2000" else {}
    read = np.asarray(images.decode(saved(Image.fromarray(values), kind, **options)))[..., 0]
    assert np.abs(read.astype(int) - GREY).max() <= 1


def png_16(*channels, transparent=None):
    """A PNG of 16 bits a channel, which Pillow does not write: grey and alpha, RGB or RGBA."""
    values = np.stack(channels, axis=-1).astype(">u2")
    height, width, count = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))]
    if transparent is not None:
        chunks.append((b"tRNS", struct.pack(">H", transparent)))
    chunks.append((b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))))
    chunks.append((b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("bits", [16, 12])
def test_deep_colours_beside_alpha_are_scaled(channels, bits):
    grey = GREY * (257 if bits == 16 else 16)
    alpha = [np.full_like(GREY, 65535)] if channels in (2, 4) else []
    encoded = png_16(*[grey] * (channels - len(alpha)), *alpha)
    read = np.asarray(images.decode(encoded))[..., 0].astype(int)
    assert np.abs(read - GREY).max() <= (1 if bits == 16 else 17)  # upper bytes: sixteen levels


@pytest.mark.parametrize("channels", [2, 4])
def test_a_deep_alpha_channel_is_laid_on_white(channels):
    black, alpha = np.zeros_like(GREY), np.where(GREY > 100, 65535, 0)
    encoded = png_16(*[black] * (channels - 1), alpha)
    read = np.asarray(images.decode(encoded))[..., 0]
    assert np.array_equal(read, np.where(GREY > 100, 0, 255))


def test_the_transparent_value_of_deep_grey_is_white():
    encoded = png_16(np.where(GREY > 100, GREY * 257, 0), transparent=0)
    read = np.asarray(images.decode(encoded))[..., 0]
    assert np.array_equal(read, np.where(GREY > 100, GREY, 255))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_deep_colours_of_which_nothing_can_be_read_are_left_out(channels):
    alpha = [np.full_like(GREY, 65535)] if channels in (2, 4) else []
    encoded = png_16(*[GREY] * (channels - len(alpha)), *alpha)  # eight bits in a container of 16
    assert images.decode_or_reason(encoded) == images.TOO_DARK


def _formats():
    Image.init()
    return Image.OPEN


@pytest.mark.parametrize("low", [-1.0, float("nan"), float("inf")])
def test_values_without_a_range_are_left_out_with_a_reason(low):
    values = (GREY / 255).astype("float32")
    values[0, 0] = low
    encoded = saved(Image.fromarray(values), "TIFF")
    assert images.decode_or_reason(encoded) == images.NO_RANGE


def _alpha():
    return Image.fromarray((GREY > 100).astype("uint8") * 255)


def transparent(mode):
    shape = _alpha()
    if mode == "P":
        picture = Image.fromarray((GREY > 100).astype("uint8"), "P")
        picture.putpalette([0, 0, 0] * 2)
        return saved(picture, "PNG", transparency=0)
    if mode == "L":
        grey = Image.fromarray(np.where(GREY > 100, 0, 7).astype("uint8"))
        return saved(grey, "PNG", transparency=7)
    picture = Image.new(mode, shape.size, 0)
    picture.putalpha(shape)
    return saved(
        picture,
        "WEBP" if mode == "RGBA" else "PNG",
        **({"lossless": True, "exact": True} if mode == "RGBA" else {}),
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L"])
def test_transparent_parts_are_laid_on_white(mode):
    read = np.asarray(images.decode(transparent(mode)))
    assert np.array_equal(read[..., 0] == 0, GREY > 100)
    assert np.array_equal(read[..., 0] == 255, GREY <= 100)


def test_opaque_alpha_changes_nothing():
    rgb = Image.fromarray(np.stack([GREY] * 3, axis=-1).astype("uint8"))
    assert images.decode(saved(rgb.convert("RGBA"), "PNG")).tobytes() == rgb.tobytes()


@pytest.mark.parametrize("mode", ["L", "CMYK", "YCbCr", "LAB"])
def test_images_of_other_modes_keep_their_content(mode):
    picture = Image.fromarray(GREY.astype("uint8"))
    if mode == "LAB":
        picture = Image.merge("LAB", [picture, *[Image.new("L", picture.size, 128)] * 2])
    else:
        picture = picture.convert(mode)
    encoded = saved(picture, "JPEG" if mode == "YCbCr" else "TIFF")
    read = np.asarray(images.decode(encoded).convert("L"))
    assert np.corrcoef(read.ravel(), GREY.ravel())[0, 1] > 0.95


def test_one_bit_is_black_and_white():
    read = np.asarray(images.decode(saved(Image.fromarray(GREY > 100), "PNG")))
    assert np.array_equal(read[..., 0], np.where(GREY > 100, 255, 0))


def test_of_an_animation_the_first_frame_is_read():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG", "TIFF"):
        encoded = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        assert images.decode(encoded).getpixel((0, 0))[0] > 200


def test_images_that_are_equal_once_read_are_warned_of(tmp_path):
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for i in range(4):
            shape = np.zeros((8, 8, 4), "uint8") + 255
            shape[i, :, 3] = 0 if kind == "a" else 128  # white on nothing
            Image.fromarray(shape, "RGBA").save(tmp_path / kind / f"{i}.png")
    target = load_target(str(tmp_path))
    assert len(target) == 8
    assert (
        "8 of 8 images differ in their files and are equal once they are read"
        in (target.warnings[0])
    )


# -- size


def blank(width, height):
    return saved(Image.new("1", (width, height)), "PNG")


def test_absurd_sizes_are_broken_and_never_decoded(monkeypatch):
    assert images.decode(blank(1, 300)) is None, "a strip"
    assert images.decode(blank(1, 200)) is not None
    large = blank(20, 20)
    monkeypatch.setattr(images, "MOST_PIXELS", 100)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert images.decode_or_reason(large) == images.BROKEN


def test_few_pixels_are_decoded_at_once(monkeypatch):
    monkeypatch.setattr(images, "PIXELS_IN_FLIGHT", 250)
    batches = []

    class Pool:
        def __init__(self, threads):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

        def map(self, function, items):
            batches.append(len(items))
            return [function(item) for item in list(items)]

    monkeypatch.setattr(images, "ThreadPoolExecutor", Pool)
    encoded = [blank(10, 10)] * 5 + [None, b"broken"] + [blank(30, 30)] + [blank(10, 10)]
    read = list(images.decode_all(encoded))
    assert [isinstance(item, str) for item in read] == [False] * 5 + [True] * 2 + [False] * 2
    assert batches == [2, 2, 3, 1, 1]


def test_a_batch_is_cut_where_it_would_decode_too_much(monkeypatch):
    monkeypatch.setattr(images, "PIXELS_IN_FLIGHT", 250)
    lazy = images.LazyImages([blank(10, 10)] * 3 + [blank(30, 30), blank(10, 10)])
    assert images.pieces(lazy, [4, 0, 3, 1, 2]) == [[4, 0], [3], [1, 2]]
    assert images.pieces(["a", "b"], [1, 0]) == [[1, 0]]


def test_a_cut_batch_is_the_same_batch(monkeypatch):
    import torch

    from hf_sfda.extract.loop import _Batches

    lazy = images.LazyImages([saved(Image.new("RGB", (9, 9), (i, 0, 0)), "PNG")
                                  for i in range(6)])  # fmt: skip
    seen = []

    def collate(images):
        seen.append(len(images))
        return {"x": torch.tensor([image.getpixel((0, 0)) for image in images])}

    whole = _Batches(lazy, [[3, 1, 5, 0]], collate)[0]
    monkeypatch.setattr(images, "PIXELS_IN_FLIGHT", 200)
    cut = _Batches(lazy, [[3, 1, 5, 0]], collate)[0]
    assert seen == [4, 2, 2]
    assert whole[0] == cut[0] == [3, 1, 5, 0]
    assert torch.equal(whole[1]["x"], cut[1]["x"])
