"""Intervals of accuracies: of one model, and of the difference of two on the same samples."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Z95 = 1.959964
"""Quantile of the normal distribution for a 95% interval."""


def wilson(accuracy: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's interval of a proportion (Wilson, JASA 1927); it stays within [0, 1].

    Args:
        accuracy: Proportion of successes.
        n: Number of trials.
        z: Quantile of the normal distribution; the default is for 95%.
    """
    centre = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_difference(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], z: float = Z95
) -> tuple[float, float, float]:
    """The difference of two accuracies on the same samples, with its interval.

    Only samples on which exactly one model is right decide. With ``b`` samples that only the first
    classifies correctly, ``c`` that only the second does, and 1/2 added to each of the four counts
    (Agresti and Min, Statistics in Medicine 2005, which keeps the coverage for few samples), the
    interval is ``(b - c) / n -+ z * sqrt(b + c - (b - c)^2 / n) / n``.

    Args:
        first: (n,) whether the first model classifies each sample correctly.
        second: (n,) the same for the second model.
        z: Quantile of the normal distribution; the default is for 95%.

    Returns:
        Difference (first minus second), lower and upper limit.

    Raises:
        ValueError: The arrays are empty or of different length.
    """
    if first.shape != second.shape or first.size == 0:
        raise ValueError(f"cannot pair {first.size} with {second.size} samples")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    n, b, c = first.size + 2, only_first + 0.5, only_second + 0.5
    centre = (b - c) / n
    half = z * math.sqrt(b + c - (b - c) ** 2 / n) / n
    return (
        (only_first - only_second) / first.size,
        max(-1.0, centre - half),
        min(1.0, centre + half),
    )
