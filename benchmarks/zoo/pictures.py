"""Opening pictures of any kind and bringing them to one size."""

from __future__ import annotations

import io

from PIL import Image


def opened(content: bytes) -> Image.Image:
    """A picture as RGB, transparent parts on white."""
    image = Image.open(io.BytesIO(content))
    if image.mode not in {"RGB", "L"} or "transparency" in image.info:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        image = canvas
    return image.convert("RGB")


def resized(image: Image.Image, size: int) -> Image.Image:
    """A square picture of ``size`` pixels; bicubic, with antialiasing."""
    return image.resize((size, size), Image.Resampling.BICUBIC)


def fitted(image: Image.Image, size: int) -> Image.Image:
    """The whole picture in the middle of a white square of ``size`` pixels."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return resized(square, size)
