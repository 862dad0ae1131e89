"""Keras' HDF5 files as named arrays: only numbers are read, no layer is ever rebuilt from them."""

from __future__ import annotations

import io
import re

import numpy as np

from demo.convert import MappingError

Arrays = dict[str, np.ndarray]


def read_hdf5(content: bytes, group: str = "/") -> Arrays:
    """All datasets below a group of an HDF5 file.

    Args:
        content: The file.
        group: Where to start.

    Returns:
        Path below the group -> array.

    Raises:
        MappingError: The file has no such group.
    """
    import h5py

    arrays: Arrays = {}

    def visit(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            arrays[name] = node[()]

    with h5py.File(io.BytesIO(content), "r") as file:
        if group not in file:
            raise MappingError(f"the file has no group {group!r}; it has {sorted(file)}.")
        file[group].visititems(visit)
    return arrays


def keras3_mobilenetv2(arrays: Arrays) -> Arrays:
    """Names of Keras 3 as those of Keras 2, which :mod:`demo.convert.from_tfjs` reads.

    Keras 3 calls every kernel ``kernel``, also that of a depthwise convolution.
    """
    return {
        re.sub(r"depthwise/kernel$", "depthwise/depthwise_kernel", k): v for k, v in arrays.items()
    }


_TFHUB = re.compile(r"(?:expanded_conv(?P<block>_\d+)?/)?(?P<layer>\w+)/(?P<rest>[\w/]+):0")
_OUTSIDE_BLOCKS = {"Conv": ("Conv1", "bn_Conv1"), "Conv_1": ("Conv_1", "Conv_1_bn")}


def tfhub_mobilenetv2(arrays: Arrays) -> Arrays:
    """Names of TensorFlow Hub's MobileNetV2 as those of Keras 2.

    ``expanded_conv_3/depthwise/BatchNorm/gamma:0`` -> ``block_3_depthwise_BN/gamma``.

    Raises:
        MappingError: A name of another form.
    """
    return {_keras2_name(name): value for name, value in arrays.items()}


def _keras2_name(name: str) -> str:
    match = _TFHUB.fullmatch(name)
    if match is None:
        raise MappingError(f"{name!r} is no name of TensorFlow Hub's MobileNetV2.")
    layer = match["layer"]
    if layer in _OUTSIDE_BLOCKS:
        convolution, norm = _OUTSIDE_BLOCKS[layer]
    else:
        block = f"block{match['block']}" if match["block"] else "expanded_conv"
        convolution, norm = f"{block}_{layer}", f"{block}_{layer}_BN"
    if match["rest"].startswith("BatchNorm/"):
        return f"{norm}/{match['rest'].removeprefix('BatchNorm/')}"
    kernel = {"weights": "kernel", "depthwise_weights": "depthwise_kernel"}
    return f"{convolution}/{kernel[match['rest']]}"
