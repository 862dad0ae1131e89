"""The seeded stratified sample. Pure functions of labels and numbers."""

from __future__ import annotations

import numpy as np

from hf_sfda.types import IntArray

FEWEST = 2
"""Samples a class needs: one to learn from and one to be tested on."""


def allocate(counts: IntArray, size: int) -> IntArray:
    """How many samples each class gets.

    In proportion to its share, rounded by largest remainder (Hamilton's method), but at least
    :data:`FEWEST`: a rare class that the sample cannot see is a class that the score ignores.

    Args:
        counts: (C,) available samples a class, each at least :data:`FEWEST`.
        size: Wanted samples, at least ``FEWEST * C``.

    Returns:
        (C,) with ``FEWEST <= result <= counts`` and the sum ``min(size, sum(counts))``.
    """
    counts = np.asarray(counts, dtype=np.int64)
    if size >= counts.sum():
        return counts.copy()
    given = np.full_like(counts, FEWEST)
    free = np.ones(len(counts), dtype=bool)  # classes whose share is above the floor
    while True:
        left = size - given[~free].sum()
        quota = left * counts / max(counts[free].sum(), 1)  # (C,)
        small = free & (quota < FEWEST)
        if not small.any():
            break
        free &= ~small
    given[free] = np.floor(quota[free]).astype(np.int64)
    remainder = np.where(free, quota - np.floor(quota), -1.0)
    order = np.argsort(-remainder, kind="stable")  # ties go to the first class
    given[order[: size - given.sum()]] += 1
    return given


def choose(codes: IntArray, given: IntArray, seed: int) -> IntArray:
    """Which rows: of each class the first ``given`` in one shuffled order.

    The same order serves every size, so that a smaller sample is nearly a part of a larger one.

    Args:
        codes: (N,) class of each row; negative rows are never chosen.
        given: (C,) samples a class.
        seed: Of the shuffle.

    Returns:
        (sum of ``given``,) row numbers, ascending.
    """
    order = np.random.default_rng(seed).permutation(len(codes))
    shuffled = codes[order]
    chosen = [order[np.flatnonzero(shuffled == c)[:n]] for c, n in enumerate(given) if n]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)
