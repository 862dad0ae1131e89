"""Stratified folds that depend on the labels and the seed, never on the features.

All checkpoints of a run are therefore cross-fitted on the same folds, so that their scores can be
compared sample by sample.
"""

from __future__ import annotations

import math

import numpy as np

from hf_sfda.types import IntArray


def fold_numbers(n_samples: int, folds: int, max_scored: int | None) -> tuple[int, int]:
    """How many folds are made, and how many of them are scored.

    Args:
        n_samples: N.
        folds: K, as requested; no more than N are made.
        max_scored: Stop after the fold with which so many samples have been scored; ``None`` scores
            all.
    """
    n_folds = min(folds, n_samples)
    if max_scored is None:
        return n_folds, n_folds
    # Folds differ by one sample at most, and the first ones are the larger.
    return n_folds, min(n_folds, math.ceil(n_folds * max_scored / n_samples))


def stratified_folds(labels: IntArray, n_folds: int, seed: int) -> IntArray:
    """Assign samples to folds class by class; each class continues where the one before ended.

    Every fold has ``n_c / K`` samples of class c, rounded up or down, and fold sizes differ by at
    most one. Classes are taken in the order in which they first appear, so the names of classes do
    not matter.

    Args:
        labels: (N,) int64.
        n_folds: K, at most N.
        seed: Decides which samples share a fold.

    Returns:
        (N,) fold of each sample in ``0..K-1``.
    """
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    appearance = np.argsort(np.argsort(first))[inverse]
    shuffle = np.random.default_rng(seed).permutation(len(labels))
    order = shuffle[np.argsort(appearance[shuffle], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[order] = np.arange(len(labels)) % n_folds
    return folds
