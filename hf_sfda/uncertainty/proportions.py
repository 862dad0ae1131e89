"""Intervals of measured values: of one model, and of the difference of two on the same samples."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

_Z95 = 1.959964
"""Quantile of the normal distribution for a 95% interval."""


def wilson(accuracy: float, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion (Wilson, JASA 1927); it stays within [0, 1].

    Args:
        accuracy: Proportion of successes.
        n: Number of trials.
    """
    z = _Z95
    centre = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and 1 the limits are exact; rounding must not put the proportion outside of them.
    low = 0.0 if accuracy == 0 else max(0.0, centre - half)
    return low, 1.0 if accuracy == 1 else min(1.0, centre + half)


def paired_difference(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]
) -> tuple[float, float, float]:
    """The difference of two accuracies on the same samples, with its 95% interval.

    Only samples on which exactly one model is right decide. With ``b`` samples that only the first
    classifies correctly, ``c`` that only the second does, and 1/2 added to each of the four counts
    (Agresti and Min, Statistics in Medicine 2005, which keeps the coverage for few samples), the
    interval is ``(b - c) / n -+ z * sqrt(b + c - (b - c)^2 / n) / n``.

    Args:
        first: (n,) whether the first model classifies each sample correctly.
        second: (n,) the same for the second model.

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
    half = _Z95 * math.sqrt(b + c - (b - c) ** 2 / n) / n
    return (
        (only_first - only_second) / first.size,
        max(-1.0, centre - half),
        min(1.0, centre + half),
    )


def bootstrap_mean(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The 95% percentile bootstrap interval of a mean.

    With the differences of two models on the same samples, it is the interval of their difference.

    Args:
        values: (n,) one value a sample.

    Raises:
        ValueError: There are no values.
    """
    return _percentiles(len(values), lambda rows: values[rows].mean(1))


def bootstrap_r2(
    per_sample: npt.NDArray[np.float64], labels: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """The 95% percentile bootstrap interval of R².

    The variance of the labels is resampled together with the errors: a sample with a far value
    counts in both.

    Args:
        per_sample: (n,) 1 minus the squared error of each sample, relative to the variance of
            ``labels``.
        labels: (n,) true values, in any unit.

    Raises:
        ValueError: There are no values.
    """
    errors = (1 - per_sample) * labels.var()

    def r2(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        variances = labels[rows].var(1)
        shares = np.divide(
            errors[rows].mean(1), variances, out=np.zeros(len(rows)), where=variances > 0
        )
        return np.where(variances > 0, 1 - shares, np.nan)

    return _percentiles(len(labels), r2)


_RESAMPLES = 2000
_AT_A_TIME = 1_000_000  # drawn rows that are held in memory


def _percentiles(
    n: int, statistic: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float64]]
) -> tuple[float, float]:
    """Limits of a statistic of resampled rows (R, n) -> (R,); the same for the same arguments."""
    if n == 0:
        raise ValueError("there are no samples to draw from")
    rng = np.random.default_rng(0)
    size = max(1, _AT_A_TIME // n)
    drawn = [
        statistic(rng.integers(n, size=(min(size, _RESAMPLES - done), n)))
        for done in range(0, _RESAMPLES, size)
    ]
    low, high = np.nanpercentile(np.concatenate(drawn), (2.5, 97.5))
    return float(low), float(high)
