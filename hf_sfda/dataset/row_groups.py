"""Draw a stratified sample from as few row groups of a parquet file as possible. Pure functions.

A row group is read as a whole, and the rows of a random sample lie in nearly as many row groups.
So row groups are chosen first. The sample has as many rows of each class as a sample of all rows
would have, and all its rows lie in the chosen row groups.

The choice is greedy: the next row group is the one in which the largest share of rows is still
needed; the seed decides between equal ones. Where classes are mixed, nearly all rows of the first
row groups are needed, so they are chosen at random, and only the last ones by their classes.
"""

from __future__ import annotations

import heapq

import numpy as np

from hf_sfda.dataset.sample import FEWEST, allocate, choose, choose_tagged
from hf_sfda.types import IntArray


def draw_by_class(
    codes: IntArray, rows: IntArray, sizes: IntArray, samples: int, seed: int
) -> IntArray:
    """Choose rows, stratified by class, from few row groups.

    Args:
        codes: (N,) class of each usable row, from 0 on.
        rows: (N,) row number of each usable row, ascending.
        sizes: (G,) number of rows of each row group; row groups follow one another.
        samples: Size of the sample, as in :func:`~.sample.allocate`.
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
    at least :data:`~.sample.FEWEST`, if there are as many.

    Args:
        tags: (N, T) zeros and ones of each usable row.
        rows: As in :func:`draw_by_class`.
        sizes: As in :func:`draw_by_class`.
        samples: Size of the sample, as in :func:`~.sample.choose_tagged`.
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
