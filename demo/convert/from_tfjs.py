"""MobileNetV2 in the layers format of TensorFlow.js (8 bit), as a state dict of timm's class."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from demo.convert import MappingError

Arrays = dict[str, np.ndarray]

_TENSOR = re.compile(
    r'\{name:"(?P<name>[^"]+)",shape:\[(?P<shape>[\d,]*)\],dtype:"float32",'
    r'quantization:\{min:(?P<min>[-.\de]+),scale:(?P<scale>[-.\de]+),dtype:"uint8"\}\}'
)


def tfjs_tensors(manifest: str, shard: bytes) -> Arrays:
    """Dequantise weights of TensorFlow.js: ``value = q * scale + min``.

    Args:
        manifest: The minified JavaScript that lists name, shape and quantisation of each tensor.
        shard: The tensors, uint8, one after the other in the same order.

    Raises:
        MappingError: The list does not account for every byte of the shard.
    """
    tensors: Arrays = {}
    offset = 0
    for entry in _TENSOR.finditer(manifest):
        shape = [int(n) for n in entry["shape"].split(",") if n]
        size = int(np.prod(shape))
        # float32 as TensorFlow.js does it.
        quantised = np.frombuffer(shard, np.uint8, size, offset).astype(np.float32)
        values = quantised * np.float32(entry["scale"]) + np.float32(entry["min"])
        tensors[entry["name"]] = values.reshape(shape)
        offset += size
    if offset != len(shard):
        raise MappingError(f"the manifest lists {offset} bytes, the shard has {len(shard)}.")
    return tensors


def mobilenetv2_state(tensors: Mapping[str, np.ndarray], native: Iterable[str]) -> Arrays:
    """State dict of timm's ``mobilenetv2_100`` without classifier, from Keras names.

    Args:
        tensors: Keras' ``layer/variable`` -> array; kernels are (H, W, in, out), those of
            depthwise convolutions (H, W, channels, 1).
        native: Names of the parameters and buffers of the architecture.

    Raises:
        MappingError: The checkpoint lacks a tensor.
    """
    state: Arrays = {}
    for name in native:
        if name.endswith("num_batches_tracked"):
            state[name] = np.zeros((), dtype=np.int64)
            continue
        theirs = _keras_name(name)
        if theirs not in tensors:
            raise MappingError(f"{name} needs {theirs}, which the checkpoint lacks.")
        value = tensors[theirs]
        if theirs.endswith("/depthwise_kernel"):
            value = value.transpose(2, 3, 0, 1)
        elif theirs.endswith("/kernel"):
            value = value.transpose(3, 2, 0, 1)
        state[name] = np.ascontiguousarray(value)
    return state


# timm numbers the blocks of each of its seven stages, Keras numbers all seventeen.
_FIRST_BLOCK = (0, 1, 3, 6, 10, 13, 16)
_LAYERS = {
    "conv_pw": "expand",
    "bn1": "expand_BN",
    "conv_dw": "depthwise",
    "bn2": "depthwise_BN",
    "conv_pwl": "project",
    "bn3": "project_BN",
}
# Block 0 has no expansion, which shifts the numbers timm gives its layers.
_LAYERS_OF_BLOCK_0 = {
    "conv_dw": "depthwise",
    "bn1": "depthwise_BN",
    "conv_pw": "project",
    "bn2": "project_BN",
}
_OUTSIDE_BLOCKS = {
    "conv_stem": "Conv1",
    "bn1": "bn_Conv1",
    "conv_head": "Conv_1",
    "bn2": "Conv_1_bn",
}
_BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def _keras_name(name: str) -> str:
    """``blocks.1.0.bn2.weight`` -> ``block_1_depthwise_BN/gamma``."""
    parts = name.split(".")
    if parts[0] != "blocks":
        layer = _OUTSIDE_BLOCKS[parts[0]]
    else:
        block = _FIRST_BLOCK[int(parts[1])] + int(parts[2])
        kind = (_LAYERS if block else _LAYERS_OF_BLOCK_0)[parts[3]]
        layer = f"block_{block}_{kind}" if block else f"expanded_conv_{kind}"
    if "bn" in layer.lower():
        return f"{layer}/{_BATCH_NORM[parts[-1]]}"
    return f"{layer}/depthwise_kernel" if layer.endswith("depthwise") else f"{layer}/kernel"
