"""The seeded stratified sample, of all rows or from few row groups of a parquet file, and parts of
it. Pure functions of labels and numbers.

A row group is read as a whole, and the rows of a random sample lie in nearly as many row groups.
So row groups are chosen first. The sample has as many rows of each class as a sample of all rows
would have, and all its rows lie in the chosen row groups.

The choice is greedy: the next row group is the one in which the largest share of rows is still
needed; the seed decides between equal ones. Where classes are mixed, nearly all rows of the first
row groups are needed, so they are chosen at random, and only the last ones by their classes.
"""

from __future__ import annotations

import hashlib
import heapq
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


def draw_by_class(
    codes: IntArray, rows: IntArray, sizes: IntArray, samples: int, seed: int
) -> IntArray:
    """Choose rows, stratified by class, from few row groups.

    Args:
        codes: (N,) class of each usable row, from 0 on.
        rows: (N,) row number of each usable row, ascending.
        sizes: (G,) number of rows of each row group; row groups follow one another.
        samples: Size of the sample, as in :func:`allocate`.
        seed: Random seed.

    Returns:
        Row numbers, ascending.
    """
    quotas = allocate(np.bincount(codes), samples)
    groups = _groups_of(rows, sizes)
    pairs, counts = np.unique(groups * len(quotas) + codes, return_counts=True)
    chosen = choose_groups(pairs // len(quotas), pairs % len(quotas), counts, sizes, quotas, seed)
    inside = np.flatnonzero(np.isin(groups, chosen))
    return rows[inside[choose(codes[inside], quotas, seed)]]


def draw_by_tags(
    tags: IntArray, rows: IntArray, sizes: IntArray, samples: int, seed: int
) -> IntArray:
    """Choose rows that may have several labels, from few row groups.

    The chosen row groups hold enough rows with and without each label: its share of the sample, and
    at least :data:`FEWEST`, if there are as many.

    Args:
        tags: (N, T) zeros and ones of each usable row.
        rows: As in :func:`draw_by_class`.
        sizes: As in :func:`draw_by_class`.
        samples: Size of the sample, as in :func:`choose_tagged`.
        seed: Random seed.

    Returns:
        Row numbers, ascending.
    """
    n, n_tags = tags.shape
    groups = _groups_of(rows, sizes)
    n_rows = np.bincount(groups, minlength=len(sizes))  # (G,)
    having = np.stack([np.bincount(groups, t, minlength=len(sizes)) for t in tags.T], axis=1)
    having = having.astype(np.int64)  # (G, T)
    # The last column makes sure that there are enough rows in all.
    held = np.hstack([having, n_rows[:, None] - having, n_rows[:, None]])
    total = held.sum(0)
    wanted = np.minimum(total, np.maximum(FEWEST, total * samples // n))
    wanted[2 * n_tags] = min(samples, n)
    group, side = np.nonzero(held)
    chosen = choose_groups(group, side, held[group, side], sizes, wanted, seed)
    inside = np.flatnonzero(np.isin(groups, chosen))
    return rows[inside[choose_tagged(tags[inside], samples, seed)]]


def choose_groups(
    group: IntArray, kind: IntArray, count: IntArray, sizes: IntArray, wanted: IntArray, seed: int
) -> IntArray:
    """Choose row groups that together hold the wanted number of rows of each kind.

    Args:
        group: (E,) row group of each entry, ascending.
        kind: (E,) kind of row of each entry; a row may be of several kinds.
        count: (E,) number of rows of this kind in this row group.
        sizes: (G,) number of rows of each row group.
        wanted: (K,) number of rows of each kind, at most as many as there are.
        seed: Random seed of the order of row groups that are equally useful.

    Returns:
        Row groups, ascending; at most as many as rows are wanted, since each holds a wanted row.
    """
    missing = np.array(wanted, dtype=np.int64)
    starts = np.searchsorted(group, np.arange(len(sizes) + 1))
    rank = np.random.default_rng(seed).permutation(len(sizes))
    needed = np.minimum(count, missing[kind])
    useful = np.bincount(group, needed, minlength=len(sizes))  # (G,) rows that are needed
    heap = [
        (-useful[g] / sizes[g], int(rank[g]), g) for g in range(len(sizes)) if useful[g]
    ]  # the share of a row group only falls, so an old value is an upper bound
    heapq.heapify(heap)
    chosen = []
    while heap and missing.any():
        _, order, g = heapq.heappop(heap)
        entries = slice(starts[g], starts[g + 1])
        part = np.minimum(count[entries], missing[kind[entries]])
        share = float(part.sum() / sizes[g])
        if share == 0:
            continue
        if heap and (-share, order, g) > heap[0]:
            heapq.heappush(heap, (-share, order, g))
            continue
        missing[kind[entries]] -= part
        chosen.append(g)
    return np.sort(np.array(chosen, dtype=np.int64))


def _groups_of(rows: IntArray, sizes: IntArray) -> IntArray:
    """(N,) the row group of each row."""
    return np.searchsorted(np.cumsum(sizes), rows, side="right")
