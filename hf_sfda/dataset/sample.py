"""The seeded stratified sample, and parts of it. Pure functions of labels and numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hf_sfda.types import IntArray, Target

FEWEST = 2
"""Fewest samples of a class: one for the fit and one for the held-out score."""


def allocate(counts: IntArray, size: int) -> IntArray:
    """Number of samples to draw from each class.

    The numbers are proportional to the class sizes, rounded by largest remainder (Hamilton's
    method), but at least :data:`FEWEST`. Without this minimum a rare class could have no sample,
    and the score would ignore it.

    Args:
        counts: (C,) available samples per class, each at least :data:`FEWEST`.
        size: Size of the sample, at least ``FEWEST * C``.

    Returns:
        (C,) with ``FEWEST <= result <= counts`` and the sum ``min(size, sum(counts))``.
    """
    counts = np.asarray(counts, dtype=np.int64)
    if size >= counts.sum():
        return counts.copy()
    quotas = np.full_like(counts, FEWEST)
    free = np.ones(len(counts), dtype=bool)  # classes whose quota is above the minimum
    while True:
        left = size - quotas[~free].sum()
        quota = left * counts / max(counts[free].sum(), 1)  # (C,)
        small = free & (quota < FEWEST)
        if not small.any():
            break
        free &= ~small
    quotas[free] = np.floor(quota[free]).astype(np.int64)
    remainder = np.where(free, quota - np.floor(quota), -1.0)
    order = np.argsort(-remainder, kind="stable")  # ties go to the first class
    quotas[order[: size - quotas.sum()]] += 1
    return quotas


def choose(codes: IntArray, quotas: IntArray, seed: int) -> IntArray:
    """Choose rows: shuffle all rows once, then take the first ``quotas[c]`` rows of each class c.

    The order does not depend on the quotas, so a smaller sample is almost a subset of a larger one.

    Args:
        codes: (N,) class of each row. Rows with a negative class are never chosen.
        quotas: (C,) number of samples per class.
        seed: Random seed of the shuffle.

    Returns:
        (sum of ``quotas``,) row numbers, ascending.
    """
    order = np.random.default_rng(seed).permutation(len(codes))
    shuffled = codes[order]
    chosen = [order[np.flatnonzero(shuffled == c)[:n]] for c, n in enumerate(quotas) if n]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)


def choose_tagged(tags: IntArray, size: int, seed: int) -> IntArray:
    """Choose rows that may have several labels, so that rare labels are kept.

    Rows are shuffled once. First each label, the rarest first, gets :data:`FEWEST` rows that have
    it and :data:`FEWEST` that lack it; then each gets its proportional share; the rest are the
    first rows left (iterative stratification, Sechidis et al. 2011).

    Args:
        tags: (N, T) zeros and ones.
        size: Size of the sample, at least ``2 * FEWEST * T``.
        seed: Random seed of the shuffle.

    Returns:
        (``min(size, N)``,) row numbers, ascending.
    """
    n = len(tags)
    if size >= n:
        return np.arange(n)
    order = np.random.default_rng(seed).permutation(n)
    sides = np.hstack([tags, 1 - tags])[order].astype(bool)  # (N, 2 T)
    counts = sides.sum(0)
    chosen = np.zeros(n, dtype=bool)
    for wanted in (np.full_like(counts, FEWEST), counts * size // n):
        for side in np.argsort(counts, kind="stable"):
            missing = int(wanted[side]) - int(sides[chosen, side].sum())
            room = min(missing, size - int(chosen.sum()))
            if room > 0:
                chosen[np.flatnonzero(sides[:, side] & ~chosen)[:room]] = True
    chosen[np.flatnonzero(~chosen)[: size - int(chosen.sum())]] = True
    return np.sort(order[chosen])


def part_of(target: Target, rows: Sequence[int]) -> Target:
    """Some samples of a target as a target of their own.

    Its fingerprints name the samples: a draw by another seed or by other labels is another part,
    also where the target has the same inputs.

    Args:
        target: The target.
        rows: Positions of the samples.
    """
    positions = np.asarray(rows, dtype=np.int64)
    name = f"rows {hashlib.sha256(positions.astype('<i8').tobytes()).hexdigest()}"
    return replace(
        target,
        samples=[target.samples[row] for row in positions],
        sample_ids=tuple(target.sample_ids[row] for row in positions),
        labels=target.labels[positions],
        fingerprint=f"{target.fingerprint} {name}",
        inputs_fingerprint=f"{target.inputs_fingerprint} {name}",
    )
