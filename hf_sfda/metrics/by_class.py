"""Classes stacked into batches: one batched operation instead of a loop over classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_CELLS = 2**23
"""Numbers in one stack (64 MB)."""


class Stack(NamedTuple):
    """Classes of similar size, padded with zero rows to the size of the largest.

    Attributes:
        classes: (B,) class numbers.
        counts: (B,) float64 class sizes.
        rows: (B, n, D) samples of each class.
    """

    classes: Tensor
    counts: Tensor
    rows: Tensor

    @property
    def grams(self) -> Tensor:
        """(B, m, m) Gram matrices on the shorter side, m = min(n, D); padding adds zeros."""
        rows = self.rows
        short = rows.mT if rows.shape[1] > rows.shape[2] else rows
        return short @ short.mT


def stacks(X: Tensor, y: Tensor, counts: Tensor) -> Iterator[Stack]:
    """Divide the rows of X by class, in stacks of classes of similar size.

    Args:
        X: (N, D).
        y: (N,) classes.
        counts: (C,) float64 class sizes, none of them zero.
    """
    order = torch.argsort(y, stable=True)
    starts = (counts.cumsum(0) - counts).long()
    by_size = torch.argsort(counts, stable=True)
    sizes: list[int] = counts[by_size].long().tolist()
    low = 0
    while low < len(sizes):
        high = low + 1
        while high < len(sizes) and (high + 1 - low) * sizes[high] * X.shape[1] <= _CELLS:
            high += 1
        classes = by_size[low:high]
        n = sizes[high - 1]
        place = torch.arange(n, device=X.device)
        is_real = place < counts[classes, None]  # (B, n)
        at = (starts[classes, None] + place).clamp(max=len(y) - 1)
        rows = X[order[at]] * is_real[..., None]
        yield Stack(classes, counts[classes], rows)
        low = high
