"""The noise floor: what a metric gives when there is nothing to find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SHARE = 0.95


def noise_floor(permuted_scores: Sequence[float] | np.ndarray) -> float:
    """The score that shuffled labels reach.

    It is the smallest observed score that at least 95% of the shuffles do not exceed: the
    critical value of a one-sided permutation test at 5%. With fewer than 20 shuffles that is the
    highest of them.

    Args:
        permuted_scores: (P,) scores of one model on P shuffles of the labels, higher is better.

    Returns:
        The floor, NaN if there were no shuffles.
    """
    scores = np.asarray(permuted_scores, dtype=np.float64)
    return float(np.quantile(scores, _SHARE, method="higher")) if scores.size else float("nan")


def at_floor(low: float, floor: float) -> bool:
    """Whether a score cannot be told from chance.

    It can only if even the low end of its interval lies above the floor. Asking the interval and
    not the score keeps lucky samples out; a metric that saturates on shuffled labels has its floor
    at the top, and then nothing is above it, as it should be.

    Args:
        low: Low end of the score's interval.
        floor: From :func:`noise_floor`; NaN (never measured) is below everything.
    """
    return bool(low <= floor)
