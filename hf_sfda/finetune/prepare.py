"""What a checkpoint needs before its weights can be trained: a sane input scale, frozen norms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hf_sfda.backbones.norms import Run, batch_norms

LARGEST_INPUT = 8.0
"""Spread of the inputs beyond which their scale is folded into the first layer. Normalised pixels
have a spread near 1, pixels in 0..255 one of about 70."""


@torch.no_grad()
def fold_input_scale(module: nn.Module, images: Tensor, scale: float, run: Run) -> bool:
    """Multiply the weight of the first layer by ``scale``; inputs must be divided by it.

    The function stays the same. It matters because Adam moves every weight by about the learning
    rate: weights that read pixels in 0..255 are some 70 times smaller than usual, and the first
    steps would destroy them.

    Args:
        module: The network.
        images: (B, C, H, W) what ``run`` feeds.
        scale: Spread of the inputs.
        run: Feeds the network with ``images``.

    Returns:
        Whether a first layer was found: the only convolution or linear layer that receives the
        images themselves. The inputs are not divided here.
    """
    readers: list[nn.Module] = []

    def look(layer: nn.Module, arguments: tuple[object, ...]) -> None:
        entering = arguments[0]
        if not isinstance(entering, Tensor) or entering.shape != images.shape:
            return
        if torch.equal(entering, images.to(entering)):
            readers.append(layer)

    layers = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    if len(set(readers)) != 1:
        return False
    weight = readers[0].weight
    assert isinstance(weight, Tensor)
    weight.mul_(scale)
    return True


def switch_off_masking(module: nn.Module) -> None:
    """Switch off the random masks of speech models (SpecAugment, arXiv:1904.08779) in training.

    Their length is made for long recordings: a sound of a few tenths of a second is shorter than
    one mask, and the model then fails. No other family augments inside the network either.
    """
    for part in module.modules():
        config: Any = getattr(part, "config", None)
        if getattr(config, "apply_spec_augment", False):
            config.apply_spec_augment = False


@contextmanager
def training_mode(module: nn.Module) -> Iterator[None]:
    """Training mode (dropout and the like are on) with frozen statistics in the batch norms."""
    module.train()
    for layer in batch_norms(module):
        layer.eval()
    try:
        yield
    finally:
        module.eval()
