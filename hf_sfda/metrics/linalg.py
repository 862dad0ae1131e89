"""The matrix routines that take most of the time of scoring.

They take float64 tensors; :func:`single_scatter` alone takes float32.
"""

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

_SINGLE_PASS = 2048
"""The same in float32, which needs half the room."""

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


def downdated(
    whole: Sequence[Tensor], part: Sequence[Tensor], A: Tensor, B: Tensor, scale: float
) -> Tensor:
    """(D, D) symmetric ``scale (whole - part - A'B)``, of which the upper half is computed.

    Args:
        whole: Blocks on and above the diagonal.
        part: The same.
        A: (C, D).
        B: (C, D).
        scale: A factor.
    """
    width = A.shape[1]
    out = A.new_empty(width, width)
    for place, more, less in zip(upper_blocks(out), whole, part, strict=True):
        low = width - place.shape[1]
        torch.sub(more, less, out=place)
        place.addmm_(A[:, low : low + len(place)].T, B[:, low:], alpha=-scale, beta=scale)
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


class Sums(NamedTuple):
    """The moments without the Gram matrix; of that, only the trace.

    Attributes:
        square: ``sum_i w_i^2 |x_i|^2``.
        first: (G, D) ``sum_i w_i x_i`` by group.
        second: (G, D) ``sum_i w_i^2 x_i`` by group.
        weight: (G,) ``sum_i w_i`` by group.
        weight2: (G,) ``sum_i w_i^2`` by group.
    """

    square: float
    first: Tensor
    second: Tensor
    weight: Tensor
    weight2: Tensor


def weighted_sums(
    X: Tensor, weights: Tensor, groups: Tensor, n_groups: int, parts: Sequence[slice]
) -> Sums:
    """Sums of the rows in ``parts``; arguments as in :func:`weighted_moments`."""
    width = X.shape[1]
    square = 0.0
    first, second = X.new_zeros(n_groups, width), X.new_zeros(n_groups, width)
    sums = X.new_zeros(n_groups), X.new_zeros(n_groups)
    step = max(1, _IN_CACHE // width)
    buffer = X.new_empty(min(step, len(X)), width)
    for part in parts:
        for rows in _passes(*part.indices(len(X))[:2], step):
            w, g = weights[rows], groups[rows]
            R = torch.mul(X[rows], w[:, None], out=buffer[: len(w)])
            first.index_add_(0, g, R)
            square += float(torch.dot(R.flatten(), R.flatten()))
            second.index_add_(0, g, R.mul_(w[:, None]))
            sums[0].index_add_(0, g, w)
            sums[1].index_add_(0, g, w.square())
    return Sums(square, first, second, *sums)


def weighted_gram_times(V: Tensor, X: Tensor, weights: Tensor, parts: Sequence[slice]) -> Tensor:
    """(m, D) product ``sum_i w_i^2 (V x_i) x_i'`` over the rows in ``parts``.

    Args:
        V: (m, D), a few rows: samples in columns are three times faster here than in rows.
        X: (N, D).
        weights: (N,).
        parts: Which rows count.
    """
    out = torch.zeros_like(V)
    for part in parts:
        for rows in _passes(*part.indices(len(X))[:2], max(1, _IN_CACHE // X.shape[1])):
            out.addmm_((V @ X[rows].T).mul_(weights[rows].square()), X[rows])
    return out


def single(X: Tensor, unit: float) -> Tensor:
    """(N, D) float32 of ``X / unit``, without a copy of X (N, D), float64."""
    if unit == 1:
        return X.float()
    out = torch.empty_like(X, dtype=torch.float32)
    step = max(1, _IN_CACHE // X.shape[1])
    buffer = X.new_empty(min(step, len(X)), X.shape[1])
    for rows in _passes(0, len(X), step):
        place = out[rows]
        place.copy_(torch.div(X[rows], unit, out=buffer[: len(place)]))
    return out


def single_scatter(
    X: Tensor,
    weights: Tensor,
    groups: Tensor,
    centres: Tensor,
    shifts: Tensor,
    parts: Sequence[slice],
) -> Tensor:
    """(D, D) float64 sum of ``r_i r_i'``, ``r_i = w_i (x_i - c_g) - s_g``, of float32 products.

    Products of two thousand rows are in float32, their sum in float64. Only the blocks on and above
    the diagonal are filled; the others are zero.

    Args:
        X: (N, D) float32.
        weights: (N,) float32.
        groups: (N,) int64.
        centres: (G, D) float32 c.
        shifts: (G, D) float32 s.
        parts: Which rows count.
    """
    width = X.shape[1]
    out = X.new_zeros(width, width, dtype=torch.float64)
    step = max(1, _IN_CACHE // width)
    buffer, centre = X.new_empty(min(_SINGLE_PASS, len(X)), width), X.new_empty(step, width)
    for part in parts:
        for block in _passes(*part.indices(len(X))[:2], _SINGLE_PASS):
            for rows in _passes(block.start, block.stop, step):
                g = groups[rows]
                R, c = buffer[rows.start - block.start :][: len(g)], centre[: len(g)]
                torch.index_select(centres, 0, g, out=c)
                torch.index_select(shifts, 0, g, out=R)
                # This is -r: the sign does not matter in a product of r with itself.
                R.addcmul_(weights[rows, None], c.sub_(X[rows]))
            R = buffer[: block.stop - block.start]
            for low, high in pairwise(_edges(width)):
                out[low:high, low:] += R[:, low:high].T @ R[:, low:]
    return out


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


def product(X: Tensor, W: Tensor) -> Tensor:
    """(N, C) ``X W`` of X (N, D) and W (D, C), C far below D.

    Made with the samples in columns, which takes half the time of the same product in rows.
    """
    return (W.T @ X.T).T


def group_sums(X: Tensor, groups: Tensor, n_groups: int) -> Tensor:
    """(G, D) sums of the rows of X by group."""
    return X.new_zeros(n_groups, X.shape[1]).index_add_(0, groups, X)


def squared_distances(X: Tensor, centres: Tensor, groups: Tensor) -> Tensor:
    """(N,) squared distance of each row of X to the centre of its group."""
    out = X.new_empty(len(X))
    step = max(1, _IN_CACHE // X.shape[1])
    buffer = X.new_empty(min(step, len(X)), X.shape[1])
    for rows in _passes(0, len(X), step):
        g = groups[rows]
        R = torch.index_select(centres, 0, g, out=buffer[: len(g)])
        torch.linalg.vector_norm(R.sub_(X[rows]), dim=1, out=out[rows])
    return out.square_()


def solve_lower(L: Tensor, B: Tensor) -> Tensor:
    """``L^-1 B`` for a lower triangular L."""
    X: Tensor = torch.linalg.solve_triangular(L, B, upper=False)
    return X


def solve_lower_transposed(L: Tensor, B: Tensor) -> Tensor:
    """``L'^-1 B`` for a lower triangular L."""
    X: Tensor = torch.linalg.solve_triangular(L.T, B, upper=True)
    return X


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
