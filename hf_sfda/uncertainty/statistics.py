"""Ranks, quantiles and a rank correlation with plain numpy and ``scipy.special``.

``scipy.stats`` has them all, but it takes most of a second to import, which is more than a ranking
needs to compute them.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
AnyArray = npt.NDArray[Any]


def ranks(values: AnyArray, ties: Literal["min", "max", "average"] = "average") -> FloatArray:
    """Ranks along the last axis: 1 is the smallest.

    Args:
        values: (..., M), without NaN.
        ties: Rank of equal values: the lowest of their ranks, the highest, or the mean.

    Returns:
        (..., M).
    """
    size = values.shape[-1]
    order = np.argsort(values, axis=-1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=-1)
    differs = ordered[..., 1:] != ordered[..., :-1]
    edge = np.ones((*values.shape[:-1], 1), dtype=bool)
    places = np.arange(1, size + 1)
    # A run of equal values begins where a value differs from the one before it.
    lowest = np.maximum.accumulate(
        np.where(np.concatenate([edge, differs], axis=-1), places, 1), axis=-1
    )
    highest = np.minimum.accumulate(
        np.where(np.concatenate([differs, edge], axis=-1), places, size)[..., ::-1], axis=-1
    )[..., ::-1]
    of_ordered = {"min": lowest, "max": highest, "average": (lowest + highest) / 2}[ties]
    result = np.empty(values.shape)
    np.put_along_axis(result, order, of_ordered.astype(np.float64), axis=-1)
    return result


def normal_quantile(tail: float) -> float:
    """The value that a standard normal variable exceeds with probability ``tail``."""
    from scipy.special import ndtri

    return float(-ndtri(tail))


def t_quantile(tail: float, degrees_of_freedom: float) -> float:
    """The value that a variable with Student's t distribution exceeds with probability ``tail``."""
    from scipy.special import stdtrit

    # stdtrit has the wrong sign at 0, which is what a tail beyond 38 standard errors rounds to.
    return float(-stdtrit(degrees_of_freedom, tail)) if tail > 0 else math.inf


def normal_tail(value: float) -> float:
    """The probability that a standard normal variable exceeds ``value``."""
    from scipy.special import ndtr

    return float(ndtr(-value))


def weighted_kendall(first: FloatArray, second: FloatArray) -> float:
    """Kendall's tau with additive hyperbolic weights (Vigna 2015), ranks from both lists in turn.

    Args:
        first: (M,) finite values, not all equal.
        second: (M,) such values of the same models.

    Returns:
        The mean of the two correlations, in [-1, 1]. Time O(M^2), memory O(M).
    """
    taus = [_weighted_by(first, second), _weighted_by(second, first)]
    return min(1.0, max(-1.0, sum(taus) / 2))


def _weighted_by(leading: FloatArray, other: FloatArray) -> float:
    """The correlation with weights by the order of ``leading``, where ``other`` breaks ties."""
    order = np.lexsort((-other, -leading))
    a, b = leading[order], other[order]
    weights = 1 / np.arange(1, len(a) + 1)
    both = of_a = of_b = 0.0
    for i in range(len(a) - 1):
        pair = weights[i] + weights[i + 1 :]
        sign_a, sign_b = np.sign(a[i] - a[i + 1 :]), np.sign(b[i] - b[i + 1 :])
        both += float(pair @ (sign_a * sign_b))
        of_a += float(pair @ np.abs(sign_a))
        of_b += float(pair @ np.abs(sign_b))
    return float(both / np.sqrt(of_a * of_b))
