"""The matrix routines that take most of the time of scoring. All of them take float64 tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

_COLUMN_BLOCKS = 8
"""A symmetric product needs only the blocks on and above the diagonal, (B + 1) / 2B of the work:
56% at 8. With more, thinner blocks the products themselves get slower."""

_MIN_BLOCK = 64

_PASS = 1024
"""Rows of a weighted copy: long enough for a product at full speed, and small beside the
features."""

_IN_CACHE = 2**17
"""Numbers (1 MB) that element-wise steps work on at a time, so that they meet in the cache."""


def gram(X: Tensor) -> Tensor:
    """(D, D) product ``X'X`` of X (N, D), only the upper half multiplied out."""
    out = X.new_zeros(X.shape[1], X.shape[1])
    _add_gram_(out, X)
    return _mirror_(out)


def upper_gram(X: Tensor) -> list[Tensor]:
    """``X'X`` of X (N, D) as its rows of blocks on and above the diagonal: 0.56 of the memory."""
    return [X[:, low:high].T @ X[:, low:] for low, high in pairwise(_edges(X.shape[1]))]


def upper_blocks(A: Tensor) -> list[Tensor]:
    """The same blocks of a symmetric matrix (D, D), as views."""
    return [A[low:high, low:] for low, high in pairwise(_edges(len(A)))]


def symmetric(blocks: Sequence[Tensor]) -> Tensor:
    """(D, D) matrix of which these are the blocks on and above the diagonal."""
    width = blocks[0].shape[1]
    out = blocks[0].new_empty(width, width)
    for place, block in zip(upper_blocks(out), blocks, strict=True):
        place.copy_(block)
    return _mirror_(out)


class Moments(NamedTuple):
    """What the scatter of weighted samples is made of.

    Attributes:
        gram: (D, D) ``sum_i w_i^2 x_i x_i'``.
        first: (G, D) ``sum_i w_i x_i`` by group.
        second: (G, D) ``sum_i w_i^2 x_i`` by group.
        weight: (G,) ``sum_i w_i`` by group.
        weight2: (G,) ``sum_i w_i^2`` by group.
    """

    gram: Tensor
    first: Tensor
    second: Tensor
    weight: Tensor
    weight2: Tensor


def weighted_moments(
    X: Tensor, weights: Tensor, groups: Tensor, n_groups: int, parts: Sequence[slice]
) -> Moments:
    """Moments of the rows in ``parts``, without a weighted copy of X.

    Args:
        X: (N, D).
        weights: (N,).
        groups: (N,) int64.
        n_groups: G.
        parts: Which rows count.
    """
    width = X.shape[1]
    square = X.new_zeros(width, width)
    first, second = X.new_zeros(n_groups, width), X.new_zeros(n_groups, width)
    sums = X.new_zeros(n_groups), X.new_zeros(n_groups)
    buffer = X.new_empty(min(_PASS, len(X)), width)
    for part in parts:
        for rows in _passes(*part.indices(len(X))[:2], _PASS):
            w, g = weights[rows], groups[rows]
            R = torch.mul(X[rows], w[:, None], out=buffer[: len(w)])
            first.index_add_(0, g, R)
            _add_gram_(square, R)
            second.index_add_(0, g, R.mul_(w[:, None]))
            sums[0].index_add_(0, g, w)
            sums[1].index_add_(0, g, w.square())
    return Moments(_mirror_(square), first, second, *sums)


def _add_gram_(out: Tensor, X: Tensor) -> None:
    """Add X'X to the blocks of ``out`` on and above the diagonal."""
    for low, high in pairwise(_edges(X.shape[1])):
        out[low:high, low:].addmm_(X[:, low:high].T, X[:, low:])


def _mirror_(out: Tensor) -> Tensor:
    """Make a matrix symmetric whose blocks on and above the diagonal are filled."""
    for low, high in pairwise(_edges(len(out))):
        out[high:, low:high] = out[low:high, high:].T
        block = out[low:high, low:high]
        block.copy_(block.triu() + block.triu(1).T)  # a product need not be symmetric to the bit
    return out


def _edges(width: int) -> list[int]:
    blocks = max(1, min(_COLUMN_BLOCKS, width // _MIN_BLOCK))
    return [width * i // blocks for i in range(blocks + 1)]


def _passes(start: int, stop: int, step: int) -> Iterator[slice]:
    for low in range(start, stop, step):
        yield slice(low, min(low + step, stop))


def group_sums(X: Tensor, groups: Tensor, n_groups: int) -> Tensor:
    """(G, D) sums of the rows of X by group."""
    return X.new_zeros(n_groups, X.shape[1]).index_add_(0, groups, X)


def squared_distances(X: Tensor, centres: Tensor, groups: Tensor) -> Tensor:
    """(N,) squared distance of each row of X to the centre of its group."""
    out = X.new_empty(len(X))
    for rows in _passes(0, len(X), max(1, _IN_CACHE // X.shape[1])):
        torch.linalg.vector_norm(X[rows] - centres[groups[rows]], dim=1, out=out[rows])
    return out.square_()


def cholesky(A: Tensor) -> tuple[Tensor, float]:
    """Lower Cholesky factor of a matrix that is positive definite except for rounding errors.

    Where rounding made it indefinite, the smallest power of ten times ``eps * max diag`` that
    helps is added to the diagonal.

    Returns:
        The factor, and the number added to the diagonal (usually 0.0).
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
