"""The noise floor: the score of a metric on shuffled labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_sfda.types import ModelRow

_SHARE = 0.95


def noise_floor(permuted_scores: Sequence[float] | np.ndarray) -> float:
    """The score that shuffled labels reach by chance.

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


def at_floor(low: float, floor: float | None) -> bool:
    """Whether a score cannot be distinguished from chance.

    It can be only if the low end of its interval lies above the floor. The interval is used and not
    the score, so that a lucky sample does not count as evidence. A metric that reaches its maximum
    on shuffled labels has its floor there, and no score is above it.

    Args:
        low: Low end of the score's interval; the score itself where there is no interval.
        floor: From :func:`noise_floor`. A floor that was not measured (``None`` or NaN) is below
            every score.
    """
    return floor is not None and bool(low <= floor)


def is_at_floor(row: ModelRow, metric: str) -> bool:
    """:func:`at_floor` of a ranked model under the metric that its noise floor was measured with.

    Raises:
        KeyError: The model has no score of this metric.
    """
    low = row.intervals.get(metric, (row.scores[metric],))[0]
    return at_floor(low, row.noise_floor)
