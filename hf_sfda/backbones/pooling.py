"""Pool the activations of a network to one vector per sample and layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import ExtractionError

if TYPE_CHECKING:
    import torch

MOST_STAGES = 5
"""A pyramid network has one output per stride, 2 to 32. A longer list is a list of blocks."""

QUARTERS = 4
"""Number of layers used from a stack of equal blocks. A pyramid has as many stages, so a
transformer with 24 blocks does not have six times as many features as a ResNet."""


def pool(activation: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Average over space or tokens, in float32.

    Args:
        activation: (B, C, H, W) map, (B, T, C) tokens or (B, C) vectors.
        mask: (B, T) with zeros for padding tokens, or (B, H', W') with zeros for padding pixels. A
            mask that does not fit the shape of the activation is ignored.

    Returns:
        (B, C) float32.

    Raises:
        ExtractionError: An activation of another shape.
    """
    values = activation.float()
    if values.ndim == 4 and mask is not None and mask.ndim == 3:
        weights = _resized(mask, values.shape[2:]).unsqueeze(1)  # (B, 1, H, W)
        return (values * weights).sum(dim=(2, 3)) / weights.sum(dim=(2, 3)).clamp_min(1)
    if values.ndim == 4:
        return values.mean(dim=(2, 3))
    if values.ndim == 3 and mask is not None and mask.shape == values.shape[:2]:
        weights = mask.to(values.dtype).unsqueeze(-1)  # (B, T, 1)
        # A text without any token has no mean; the clamp keeps it at zero instead of NaN.
        return (values * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)
    if values.ndim == 3:
        return values.mean(dim=1)
    if values.ndim == 2:
        return values
    raise ExtractionError(f"gives activations of shape {tuple(values.shape)}, not maps or tokens")


def _resized(mask: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Resize a pixel mask to the resolution of a map, as detection models do."""
    from torch.nn.functional import interpolate

    return interpolate(mask.float().unsqueeze(1), size=tuple(size)).squeeze(1)


def tensors(states: Sequence[Any] | None) -> list[torch.Tensor]:
    """Hidden states as tensors. Some networks return a tuple per block; the first item is used."""
    return [state[0] if isinstance(state, tuple) else state for state in states or ()]


def resolution(activation: torch.Tensor) -> tuple[int, ...]:
    """(H, W) of a map, (T,) of tokens."""
    shape = tuple(activation.shape)
    return shape[2:] if len(shape) == 4 else shape[1:-1]


def stage_indices(resolutions: Sequence[tuple[int, ...]]) -> dict[str, int]:
    """Choose the block outputs that are used as layers.

    - A pyramid (the resolution falls) of at most :data:`MOST_STAGES` outputs: all of them.
    - A pyramid given block by block: the last block of every resolution.
    - A stack of L equal blocks: the blocks ``ceil(L * k / 4)`` for k from 1 to 4, that is at a
      quarter, half, three quarters and the end. If there are at most four blocks: all of them.

    Args:
        resolutions: Resolution of each block output, in order of depth.

    Returns:
        name -> index; ``stage<k>`` in a pyramid, ``block<depth>`` in a stack, both from 1.
    """
    n = len(resolutions)
    if len(set(resolutions)) <= 1:
        depths = sorted({math.ceil(n * k / QUARTERS) for k in range(1, QUARTERS + 1)} - {0})
        return {f"block{depth}": depth - 1 for depth in depths}
    if n <= MOST_STAGES:
        ends = list(range(n))
    else:
        ends = [i for i in range(n) if i + 1 == n or resolutions[i + 1] != resolutions[i]]
    return {f"stage{k}": index for k, index in enumerate(ends, start=1)}


def pool_layers(
    blocks: Sequence[torch.Tensor], mask: torch.Tensor | None = None
) -> dict[str, torch.Tensor]:
    """Pool the block outputs that :func:`stage_indices` chooses.

    Args:
        blocks: Outputs in order of depth, without the input embedding.
        mask: See :func:`pool`.

    Returns:
        name -> (B, D) float32.
    """
    chosen = stage_indices([resolution(block) for block in blocks])
    return {name: pool(blocks[index], mask) for name, index in chosen.items()}
