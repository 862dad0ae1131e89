"""Device, data type and memory format of a vision model."""

from __future__ import annotations

import torch
from torch import nn


def prepare_model(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Move a model to its device, in evaluation mode and in the memory format that is fastest.

    On a CPU a convolutional network is 1.2 to 1.4 times as fast with channels last (see
    benchmarks/README.md); torch converts the inputs to the format of the weights. Other networks
    keep their format: transformers do not become faster, and some reshape the output of their patch
    embedding in a way that channels last does not support.
    """
    model = model.to(device=device, dtype=dtype)
    if device.type == "cpu" and is_convolutional(model):
        model = nn.Module.to(model, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval()


def is_convolutional(model: nn.Module) -> bool:
    """Whether most parameters are convolution kernels (out, in, height, width)."""
    sizes = [(p.numel(), p.ndim == 4) for p in model.parameters()]
    return 2 * sum(n for n, kernel in sizes if kernel) > sum(n for n, _ in sizes)
