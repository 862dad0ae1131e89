"""Position tables of vision transformers at another image size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from demo.convert import MappingError

if TYPE_CHECKING:
    import torch


def patches_for(image_size: int, patch_size: int) -> int:
    """Patches a side that hold at least ``image_size`` pixels."""
    return math.ceil(image_size / patch_size)


def resize_positions(table: torch.Tensor, side: int) -> torch.Tensor:
    """Interpolate a table of positions as transformers does when the image size changes.

    Args:
        table: (1 + S * S, D): the class token, then S rows of S patches.
        side: Patches a side that are wanted.

    Returns:
        (1 + side * side, D).

    Raises:
        MappingError: The patches of the table form no square.
    """
    import torch

    old = math.isqrt(len(table) - 1)
    if old * old != len(table) - 1:
        raise MappingError(f"{len(table) - 1} positions of patches form no square.")
    if side == old:
        return table
    grid = table[1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)  # (1, D, S, S)
    resized = torch.nn.functional.interpolate(
        grid, size=(side, side), mode="bicubic", align_corners=False
    )
    return torch.cat([table[:1], resized.flatten(2)[0].T])
