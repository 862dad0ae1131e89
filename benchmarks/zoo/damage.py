"""Damaged copies of real checkpoints: what a ranking must put last although the name is good."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def shuffled(state: Mapping[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """The values of each tensor in random order.

    The distribution of every tensor stays, what it computed is lost.

    Args:
        state: State dict; it is not changed.
        seed: Of the order.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    damaged = {}
    for name, value in state.items():
        order = torch.randperm(value.numel(), generator=generator)
        damaged[name] = value.flatten()[order].reshape(value.shape).clone()
    return damaged


def without_top(
    state: Mapping[str, torch.Tensor],
    fresh: Mapping[str, torch.Tensor],
    block: str,
    *,
    share: float,
    also: Iterable[str] = (),
) -> dict[str, torch.Tensor]:
    """The last blocks of a network as they are before any training.

    Args:
        state: Trained state dict; it is not changed.
        fresh: State dict of the same architecture before training.
        block: Regular expression for the beginning of a name that tells one block from another.
        share: Of the blocks that lose their training, rounded up.
        also: Beginnings of further names that lose it.
    """
    pattern = re.compile(block)
    matches = {name: pattern.match(name) for name in state}
    blocks = list(dict.fromkeys(match[0] for match in matches.values() if match))
    lost = (*blocks[len(blocks) - math.ceil(share * len(blocks)) :], *also)
    return {name: (fresh if name.startswith(lost) else state)[name].clone() for name in state}
