"""The few matrix routines that scoring spends its time in. All of them take float64 tensors."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

_ROWS = 2048
"""Rows a pass works on: long enough for full speed, short enough that temporaries stay small
beside the features."""

_COLUMN_BLOCKS = 8
"""A symmetric product needs only the blocks on and above the diagonal, (B + 1) / 2B of the work:
56% at 8. With more, thinner blocks the products themselves get slower."""

_MIN_BLOCK = 64


def gram(
    X: Tensor,
    *,
    centre: Tensor | None = None,
    groups: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Symmetric product of weighted residuals, ``sum_i w_i^2 (x_i - c_i)(x_i - c_i)'``.

    Residuals are made a few thousand rows at a time, so memory stays at X plus (D, D), and only
    the upper half is multiplied out.

    Args:
        X: (N, D).
        centre: (D,) common centre, or (C, D) one a group; nothing is subtracted without it.
        groups: (N,) which row of ``centre`` belongs to which sample.
        weights: (N,).

    Returns:
        (D, D), symmetric to the bit.
    """
    width = X.shape[1]
    out = X.new_zeros(width, width)
    blocks = max(1, min(_COLUMN_BLOCKS, width // _MIN_BLOCK))
    edges = [width * i // blocks for i in range(blocks + 1)]
    for start in range(0, len(X), _ROWS):
        rows = slice(start, start + _ROWS)
        R = X[rows]
        if centre is not None:
            R = R - (centre if groups is None else centre[groups[rows]])
        if weights is not None:
            R = R * weights[rows, None]
        for low, high in pairwise(edges):
            out[low:high, low:].addmm_(R[:, low:high].T, R[:, low:])
    return mirror_(out)


def mirror_(upper: Tensor) -> Tensor:
    """Copy the upper triangle onto the lower one, in place."""
    return upper.triu_().add_(upper.triu(1).T)


def group_sums(X: Tensor, groups: Tensor, n_groups: int) -> Tensor:
    """(G, D) sums of the rows of X by group."""
    return X.new_zeros(n_groups, X.shape[1]).index_add_(0, groups, X)


def cholesky(A: Tensor) -> tuple[Tensor, float]:
    """Lower Cholesky factor of a matrix that is positive definite but for rounding.

    Where rounding made it indefinite, the smallest power of ten times ``eps * max diag`` that
    helps is added to the diagonal.

    Returns:
        The factor, and what was added (0.0 as a rule).
    """
    L, info = torch.linalg.cholesky_ex(A)
    if not info.item():
        return L, 0.0
    limits = torch.finfo(A.dtype)
    jitter = max(float(limits.eps * A.diagonal().abs().max()), limits.tiny)
    eye = torch.eye(len(A), dtype=A.dtype, device=A.device)
    while True:
        jitter *= 10
        L, info = torch.linalg.cholesky_ex(A + jitter * eye)
        if not info.item() or not 0 < jitter < float("inf"):
            return L, jitter


def weighted_sums(
    X: Tensor, weights: Tensor, groups: Tensor, n_groups: int, *, centre: Tensor
) -> Tensor:
    """(G, D) sums over a group of ``w_i (x_i - centre_g)``, without a second copy of X."""
    out = X.new_zeros(n_groups, X.shape[1])
    for start in range(0, len(X), _ROWS):
        rows = slice(start, start + _ROWS)
        out.index_add_(0, groups[rows], X[rows] * weights[rows, None])
    total = weights.new_zeros(n_groups).index_add_(0, groups, weights)
    return out.sub_(total[:, None] * centre)


def squared_distances(X: Tensor, centres: Tensor, groups: Tensor) -> Tensor:
    """(N,) squared distance of each row to the centre of its group."""
    out = X.new_empty(len(X))
    for start in range(0, len(X), _ROWS):
        rows = slice(start, start + _ROWS)
        out[rows] = (X[rows] - centres[groups[rows]]).square_().sum(1)
    return out
