"""ONNX graphs of two known networks, as state dicts of transformers' classes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from demo.convert import MappingError

if TYPE_CHECKING:
    import onnx

Arrays = dict[str, np.ndarray]

BATCH_NORM_EPS = 1e-5
"""Of transformers' ResNet (torch's default)."""


_BLOCK = re.compile(
    r"bn_stage(?P<stage>\d)_block(?P<block>\d)_(?P<part>proj_shortcut|branch2[abc])/.*"
)
_PARTS = {
    "proj_shortcut": "shortcut",
    "branch2a": "layer.0",
    "branch2b": "layer.1",
    "branch2c": "layer.2",
}
_STEM = "embedder.embedder"


def opennsfw_state(model: onnx.ModelProto) -> Arrays:
    """State dict of :class:`transformers.ResNetModel` from the OpenNSFW graph.

    A convolution is known by the name of its output, ``bn_stage1_block0_branch2a/...``. Its bias
    holds the folded normalisation, so ours becomes the identity plus that bias: weight 1, mean 0
    and variance 1 - eps. The network was trained on BGR; flipping the input channels of the
    first convolution makes it take RGB.

    Raises:
        MappingError: A convolution with an unknown name.
    """
    weights = _initializers(model)
    state: Arrays = {}
    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        layer = _opennsfw_layer(node.output[0])
        kernel, bias = weights[node.input[1]], weights[node.input[2]]
        if layer == _STEM:
            kernel = kernel[:, ::-1].copy()
        state[f"{layer}.convolution.weight"] = kernel
        state[f"{layer}.normalization.weight"] = np.ones_like(bias)
        state[f"{layer}.normalization.bias"] = bias
        state[f"{layer}.normalization.running_mean"] = np.zeros_like(bias)
        state[f"{layer}.normalization.running_var"] = np.full_like(bias, 1 - BATCH_NORM_EPS)
        state[f"{layer}.normalization.num_batches_tracked"] = np.zeros((), dtype=np.int64)
    return state


def _opennsfw_layer(output: str) -> str:
    if output.startswith("bn_1/"):
        return _STEM
    match = _BLOCK.fullmatch(output)
    if match is None:
        raise MappingError(f"the graph has a convolution {output!r}; expected bn_stageS_blockB_*.")
    layer = f"encoder.stages.{match['stage']}.layers.{match['block']}"
    return f"{layer}.{_PARTS[match['part']]}"


_BERT = "model.0.auto_model."


def minilm_state(model: onnx.ModelProto) -> Arrays:
    """State dict of :class:`transformers.BertModel` (no pooler) from the MiniLM graph.

    Most initialisers keep their names. The exporter transposed the matrices of the linear layers
    and renamed them; each is known by the name of the node that multiplies with it.

    Raises:
        MappingError: A matrix whose node does not say which layer it belongs to.
    """
    weights = _initializers(model)
    state = {k.removeprefix(_BERT): v for k, v in weights.items() if k.startswith(_BERT)}
    used = set(state)
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in weights:
            continue
        path = node.name.removesuffix("/MatMul").replace("/", ".")
        if _BERT not in path:
            raise MappingError(f"node {node.name!r} multiplies with an unknown matrix.")
        name = path.split(_BERT, 1)[1] + ".weight"
        state[name] = np.ascontiguousarray(weights[node.input[1]].T)
        used.add(node.input[1])
    return state


def _initializers(model: onnx.ModelProto) -> Arrays:
    from onnx import numpy_helper

    # A copy: torch and safetensors want arrays that can be written to.
    return {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in model.graph.initializer}
