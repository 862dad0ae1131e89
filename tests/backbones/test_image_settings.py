"""Images reach a network as the settings of well-known repositories say; worked out with PIL."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from hf_sfda.backbones.vision import ImageCollate, _open_processor

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,) * 3, (0.5,) * 3)
BYTES = ((127.5,) * 3, (127.5,) * 3)
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
NEAREST, BILINEAR, BICUBIC = (Image.Resampling(code) for code in (0, 2, 3))


@dataclass(frozen=True)
class Steps:
    """What is done to an image, in this order.

    Attributes:
        resize: Both edges, or the shorter one where ``crop`` is given.
        crop: Edge of the square that is kept.
        resample: How it is resized.
        scale: Factor of the values from 0 to 255.
        norm: Mean and deviation of the channels, or ``None``.
        square: Both edges are resized although it is cropped.
        flip: Blue comes first.
        twice: The deviation divides once more, as in EfficientNet.
        floats: It is resized as numbers, not as bytes.
    """

    resize: int
    crop: int | None = None
    resample: Image.Resampling = BICUBIC
    norm: tuple[tuple[float, ...], tuple[float, ...]] | None = IMAGENET
    scale: float = 1 / 255
    square: bool = False
    flip: bool = False
    twice: bool = False
    floats: bool = False

    def __call__(self, image: Image.Image) -> np.ndarray:
        """(H, W, 3) bytes -> (3, h, w)."""
        width, height = image.size
        both = self.crop is None or self.square
        factor = self.resize / min(width, height)
        size = (self.resize,) * 2 if both else (int(width * factor), int(height * factor))
        if self.floats:
            bands = [Image.fromarray(band) for band in np.float32(image).transpose(2, 0, 1)]
            resized = np.stack([band.resize(size, self.resample) for band in bands], axis=2)
        else:
            resized = np.asarray(image.resize(size, self.resample))
        if self.crop:
            top, left = ((edge - self.crop) // 2 for edge in resized.shape[:2])
            resized = resized[top : top + self.crop, left : left + self.crop]
        values = resized * self.scale
        if self.norm:
            values = (values - self.norm[0]) / self.norm[1]
        if self.twice:
            values = values / self.norm[1]
        return values.transpose(2, 0, 1)[:: -1 if self.flip else 1]


def settings(norm=None, **others):
    of_norm = {"do_normalize": True, "image_mean": norm[0], "image_std": norm[1]} if norm else {}
    return {"do_resize": True, **of_norm, **others}


def former(name):
    """The key of repositories of before 2023."""
    return {"feature_extractor_type": f"{name}FeatureExtractor"}


def kind(name):
    return {"image_processor_type": name, "do_rescale": True, "rescale_factor": 1 / 255}


def square(edge):
    return {"height": edge, "width": edge}


# Repository -> model type, its preprocessor_config.json, and what it asks for.
CASES = {
    "google/vit-base-patch16-224": (
        "vit", settings(HALF, size=224, resample=2), Steps(224, None, BILINEAR, HALF),
    ),
    "dima806/facial_age_image_detection": (
        "vit", settings(HALF, **kind("ViTFeatureExtractor"), size=square(224), resample=2),
        Steps(224, None, BILINEAR, HALF),
    ),
    "a ViT saved as ViTImageProcessorFast": (
        "vit", settings(HALF, **kind("ViTImageProcessorFast"), size=square(224), resample=2),
        Steps(224, None, BILINEAR, HALF),
    ),
    "a ViT of bytes": (
        "vit",
        settings(BYTES, size=square(224), resample=2, do_rescale=False,
                 image_processor_type="ViTImageProcessor"),
        Steps(224, None, BILINEAR, BYTES, scale=1),
    ),
    "facebook/deit-base-distilled-patch16-224": (
        "deit",
        settings(IMAGENET, **former("DeiT"), size=256, do_center_crop=True, crop_size=224,
                 resample=3),
        Steps(256, 224, square=True),
    ),
    "facebook/deit-base-patch16-224": (  # a ViT with the processor of DeiT
        "vit",
        settings(IMAGENET, **kind("DeiTFeatureExtractor"), size=square(256), do_center_crop=True,
                 crop_size=square(224), resample=3),
        Steps(256, 224, square=True),
    ),
    "facebook/dinov2-base": (
        "dinov2",
        settings(IMAGENET, **kind("BitImageProcessor"), size={"shortest_edge": 256},
                 do_center_crop=True, crop_size=square(224), do_convert_rgb=True, resample=3),
        Steps(256, 224),
    ),
    "facebook/dinov3-vits16-pretrain-lvd1689m": (
        "dinov3_vit",
        settings(IMAGENET, **kind("DINOv3ViTImageProcessorFast"), size=square(224), resample=2,
                 do_center_crop=None, crop_size=None, default_to_square=True,
                 data_format="channels_first", do_convert_rgb=None, return_tensors=None),
        Steps(224, None, BILINEAR, floats=True),
    ),
    "microsoft/resnet-50": (
        "resnet",
        settings(IMAGENET, **former("ConvNext"), size=224, crop_pct=0.875, resample=3),
        Steps(256, 224),
    ),
    "facebook/convnextv2-tiny-22k-384": (  # from 384 pixels on, nothing is cropped
        "convnextv2",
        settings(IMAGENET, **kind("ConvNextImageProcessor"), size={"shortest_edge": 384},
                 crop_pct=0.875, resample=3),
        Steps(384),
    ),
    "microsoft/swin-tiny-patch4-window7-224": (
        "swin", settings(IMAGENET, **former("ViT"), size=224, resample=3), Steps(224),
    ),
    "microsoft/beit-base-patch16-224": (
        "beit",
        settings(HALF, **former("Beit"), size=224, do_center_crop=False, crop_size=224, resample=2),
        Steps(224, None, BILINEAR, HALF),
    ),
    "openai/clip-vit-base-patch32": (
        "clip",
        settings(CLIP, **former("CLIP"), size=224, do_center_crop=True, crop_size=224, resample=3),
        Steps(224, 224, norm=CLIP),
    ),
    "google/siglip-base-patch16-224": (
        "siglip",
        settings(HALF, **kind("SiglipImageProcessor"), size=square(224), resample=3),
        Steps(224, None, norm=HALF),
    ),
    "apple/mobilevit-small": (
        "mobilevit",
        settings(**former("MobileViT"), size=288, do_center_crop=True, crop_size=256, resample=2,
                 do_flip_channel_order=True),
        Steps(288, 256, BILINEAR, None, flip=True),
    ),
    "google/mobilenet_v2_1.0_224": (
        "mobilenet_v2",
        settings(HALF, **kind("MobileNetV2FeatureExtractor"), size={"shortest_edge": 256},
                 do_center_crop=True, crop_size=square(224), resample=2),
        Steps(256, 224, BILINEAR, HALF),
    ),
    "google/efficientnet-b0": (
        "efficientnet",
        settings(IMAGENET, **kind("EfficientNetImageProcessor"), size=square(224), resample=0,
                 do_center_crop=False, crop_size=square(289), include_top=True,
                 rescale_offset=False),
        Steps(224, None, NEAREST, twice=True),
    ),
    "facebook/levit-128S": (
        "levit",
        settings(IMAGENET, **former("Levit"), size=224, do_center_crop=True, resample=3),
        Steps(256, 224),
    ),
    "sail/poolformer_s12": (
        "poolformer",
        settings(IMAGENET, **former("PoolFormer"), size=224, do_center_crop=True, crop_pct=0.9,
                 resample=3),
        Steps(248, 224),
    ),
    "facebook/regnet-y-040": (
        "regnet",
        settings(IMAGENET, **former("ConvNext"), size=224, crop_pct=0.875, resample=3),
        Steps(256, 224),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def photo():
    """A smooth image, wider than high, of which no channel is another one."""
    colours = np.random.default_rng(0).integers(0, 256, (7, 10, 3), np.uint8)
    colours[..., 0] //= 2
    return Image.fromarray(colours).resize((520, 360), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("repository", CASES)
def test_pixels_are_those_that_the_repository_asks_for(repository, photo, tmp_path):
    model_type, stated, steps = CASES[repository]
    write(tmp_path, "config.json", {"model_type": model_type})
    write(tmp_path, "preprocessor_config.json", stated)
    expected = steps(photo)
    found = ImageCollate(_open_processor(tmp_path))([photo])["pixel_values"][0].numpy()
    assert found.shape == expected.shape
    # torchvision and PIL round some pixels to neighbouring bytes.
    assert np.abs(found - expected).mean() < 0.002
    assert np.abs(found - expected).max() < 3 / 255 * np.ptp(expected)


def test_settings_inside_those_of_a_processor_are_the_same(photo, tmp_path):
    """transformers 5 saves the image processor of a CLIP or SigLIP so."""
    model_type, stated, _ = CASES["google/siglip-base-patch16-224"]
    for folder, name, content in (
        (tmp_path / "plain", "preprocessor_config.json", stated),
        (tmp_path / "nested", "processor_config.json", {"image_processor": stated}),
    ):
        folder.mkdir()
        write(folder, "config.json", {"model_type": model_type})
        write(folder, name, content)
    plain, nested = (
        ImageCollate(_open_processor(tmp_path / name))([photo])["pixel_values"]
        for name in ("plain", "nested")
    )
    assert (plain == nested).all()


def write(folder, name, content):
    (folder / name).write_text(json.dumps(content))
