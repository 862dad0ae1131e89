"""Compare the numbers in a configuration with the weights before memory is allocated.

A configuration of a few bytes can describe a network of any size. A file of weights cannot, because
its header lists every tensor. So a network is first built without memory (on the ``meta`` device of
torch), with limits that follow from the header. It is built with memory only if it fits the header.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules import module as torch_module

from hf_sfda.backbones.checkpoint import CONFIG, Weights, require_shapes
from hf_sfda.errors import ExtractionError

LARGEST_EDGE = 4096
"""Largest height or width in pixels. Models for documents use up to 2,560."""

# How much larger than its weights a network may be: the head, the pooler or one of two towers may
# be missing, and tied weights are saved once.
_TIMES = 4
_SLACK_VALUES = 4096
_SLACK_TENSORS = 64
_MODULES_PER_TENSOR = 8
# Buffers that are computed, not saved: causal masks, tables of sines.
_SLACK_BUFFER_BYTES = 8 * 2**20

# Numbers of parts that are built in a Python loop, some of them by the configuration classes.
_LAYERS = re.compile(r"(^|_)(layers|blocks|stages|depth|depths|layer)$")
_NEVER_NEGATIVE = re.compile(r"^(num|n)_(\w+_)?(layers?|heads?|blocks|stages)$")
_LABELS = re.compile(r"^(num_labels|num_classes|n_classes|num_class)$")
_IMAGE_SIZES = re.compile(r"(^|_)(image_size|img_size|input_size|input_resolution)$")
_FEWEST_LABELS = 1000
# For timm, which lists all pairs of positions in a window in Python.
_WINDOWS = re.compile(r"^window_sizes?$")
_LARGEST_WINDOW = 48

_PROCESSED_SIZES = re.compile(r"(^|_)(size|edge|height|width|divisor)$")
_MOST_PATCHES = (LARGEST_EDGE // 16) ** 2


def require_plausible(config: Mapping[str, Any], weights: Weights) -> None:
    """Refuse a configuration whose counts exceed what the weights can fill.

    Args:
        config: ``config.json``, before any library has read it.
        weights: Headers of the weights.

    Raises:
        ExtractionError: Names the first such number.
    """
    most_layers = _TIMES * len(weights.shapes) + _SLACK_TENSORS
    most_labels = max(_FEWEST_LABELS, weights.values)
    for key, number in _numbers(config):
        if _NEVER_NEGATIVE.search(key) and number < 0:
            raise ExtractionError(f"{CONFIG} states {key} = {number:,}, which is less than none")
        if _LAYERS.search(key) and number > most_layers:
            raise ExtractionError(
                f"{CONFIG} states {key} = {number:,}, but the weights hold only "
                f"{len(weights.shapes):,} tensors"
            )
        if _LABELS.search(key) and number > most_labels:
            raise ExtractionError(
                f"{CONFIG} states {key} = {number:,}, but the weights hold only "
                f"{weights.values:,} values"
            )
        if "architecture" in config and _WINDOWS.search(key) and number > _LARGEST_WINDOW:
            raise ExtractionError(
                f"{CONFIG} states {key} = {number:,}; at most {_LARGEST_WINDOW} is supported"
            )
        if _IMAGE_SIZES.search(key) and number > LARGEST_EDGE:
            raise ExtractionError(
                f"{CONFIG} states {key} = {number:,}; at most {LARGEST_EDGE:,} is supported"
            )


def require_plausible_sizes(processor: Mapping[str, Any], file: str) -> None:
    """Refuse a processor that would enlarge images far beyond the input size of any network.

    Args:
        processor: Settings of the processor, by name.
        file: Name of the file with the settings, for the message.

    Raises:
        ExtractionError: Names the first such number.
    """
    numbers = list(_numbers(processor))
    # Processors with such settings use the usual names of edges for areas.
    areas = any(key.endswith("pixels") or key == "merge_size" for key, _ in numbers)
    crop = processor.get("crop_pct")
    enlarged = 1 / crop if isinstance(crop, int | float) and 0 < crop < 1 else 1
    for key, number in numbers:
        if key.endswith("patches"):
            most: float = _MOST_PATCHES
        elif key.endswith("pixels") or (areas and key.endswith("_edge")):
            most = LARGEST_EDGE**2
        elif _PROCESSED_SIZES.search(key):
            most = LARGEST_EDGE / enlarged
        else:
            continue
        if number > most:
            raise ExtractionError(
                f"{file} states {key} = {number:,}; images of at most {LARGEST_EDGE:,} x "
                f"{LARGEST_EDGE:,} pixels are supported"
            )


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, int | float]]:
    """Every number in a JSON value, with its key. Items of a list have the key of the list."""
    pending = [(key, value)]
    while pending:
        key, value = pending.pop()
        if isinstance(value, bool):
            continue
        if isinstance(value, int | float):
            yield key, value
        elif isinstance(value, Mapping):
            # Items of a nested mapping have the inner key: {"size": {"height": 9}} gives "height".
            pending += [(str(name), item) for name, item in value.items() if name != "label2id"]
        elif isinstance(value, list | tuple):
            pending += [(key, item) for item in value]


def blueprint(build: Callable[[], nn.Module], weights: Weights) -> nn.Module:
    """Build a network without memory and compare its size with the weights.

    Args:
        build: Builds the network.
        weights: Headers of the weights for the network.

    Returns:
        The network on the ``meta`` device: names and shapes, no values.

    Raises:
        ExtractionError: It is far larger than the weights.
    """
    import torch

    with _limited_tensors(weights), torch.device("meta"):
        network = build()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    if parameters > _TIMES * weights.values + _SLACK_VALUES:
        raise ExtractionError(
            f"the architecture in {CONFIG} has {parameters:,} parameters, "
            f"but the weights hold only {weights.values:,} values"
        )
    computed = sum(buffer.numel() * buffer.element_size() for buffer in network.buffers())
    if computed > _TIMES * weights.bytes + _SLACK_BUFFER_BYTES:
        raise ExtractionError(
            f"the architecture in {CONFIG} computes tables of {computed:,} bytes, "
            f"but the weights have only {weights.bytes:,} bytes"
        )
    return network


def require_sizes(network: nn.Module, weights: Weights, prefix: str = "") -> None:
    """Compare the shapes of tensors whose names agree, before anything is allocated.

    A library may rename tensors or reorder their axes while it loads them, so a shape counts as
    different only if the number of values differs.

    Args:
        network: The network on the ``meta`` device.
        weights: Headers of the weights.
        prefix: Prefix of the names of a body inside a larger model, such as ``vit``.

    Raises:
        ExtractionError: Names the first tensor that differs.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    stated: dict[str, tuple[int, ...]] = {}
    for name, shape in weights.shapes.items():
        names = (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}."))
        own = next((candidate for candidate in names if candidate in expected), None)
        if own is not None and _product(shape) != _product(expected[own]):
            stated[own] = shape
    require_shapes(stated, expected)


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for edge in shape:
        product *= edge
    return product


@contextmanager
def _limited_tensors(weights: Weights) -> Iterator[None]:
    """Raise if this thread builds a network with far more parts than the weights can fill."""
    thread = threading.get_ident()
    most = {"parameters": _TIMES * len(weights.shapes) + _SLACK_TENSORS}
    most["modules"] = _MODULES_PER_TENSOR * most["parameters"]
    counts = dict.fromkeys(most, 0)

    def count(kind: str, part: object) -> None:
        if part is None or threading.get_ident() != thread:
            return
        counts[kind] += 1
        if counts[kind] > most[kind]:
            raise ExtractionError(
                f"the architecture in {CONFIG} has more than {most[kind]:,} {kind}, "
                f"but the weights hold only {len(weights.shapes):,} tensors"
            )

    def parameter(module: nn.Module, name: str, part: nn.Parameter) -> None:
        count("parameters", part)

    def submodule(module: nn.Module, name: str, part: nn.Module) -> None:
        count("modules", part)

    handles = (
        torch_module.register_module_parameter_registration_hook(parameter),
        torch_module.register_module_module_registration_hook(submodule),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
