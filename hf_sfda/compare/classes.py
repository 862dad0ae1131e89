"""Simultaneous confidence intervals for the difference of two models in each class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from hf_sfda.types import IntArray

FloatArray = npt.NDArray[np.float64]

MIN_CLASS_SIZE = 10
"""Smallest number of samples for which a class gets an interval. Contributions are bounded and
skewed; with fewer samples, the coverage of Student's t interval is too low."""


def class_intervals(
    differences: FloatArray, labels: IntArray, n_classes: int, confidence: float
) -> dict[int, tuple[float, float]]:
    r"""Simultaneous intervals of the mean difference in each class.

    For a class of n samples with mean :math:`\bar d` and standard deviation s,

    .. math:: \bar d \pm t_{n-1}\!\left(\tfrac{1 + \gamma^{1/C}}{2}\right) \frac{s}{\sqrt{n}}

    over the C classes that are large enough, with :math:`\gamma` the confidence.

    This is the Sidak correction. It is exact here, because the sample was drawn class by class, so
    the means of the classes are independent. A max-t method has no correlation to exploit. It would
    also use one critical value for all classes, so that the smallest class, whose standard error is
    the least certain, would widen all other intervals.

    The standard error is the limit of the stratified bootstrap
    (:func:`hf_sfda.uncertainty.paired_bootstrap`). The formula is used instead of the bootstrap,
    because a thousand resamples cannot estimate the extreme quantiles that many classes need.

    Args:
        differences: (N,) difference of the two models on each sample.
        labels: (N,) classes in ``0..C-1``.
        n_classes: C.
        confidence: Joint confidence of all intervals.

    Returns:
        Class -> (low, high). Classes with fewer than :data:`MIN_CLASS_SIZE` samples are missing.
    """
    sizes = np.bincount(labels, minlength=n_classes)
    large = np.flatnonzero(sizes >= MIN_CLASS_SIZE)
    level = confidence ** (1 / max(len(large), 1))
    intervals = {}
    for c in large.tolist():
        d = differences[labels == c]
        margin = t.ppf((1 + level) / 2, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
        intervals[c] = (float(d.mean() - margin), float(d.mean() + margin))
    return intervals
