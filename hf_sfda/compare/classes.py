"""Where two models differ, class by class, at a level that holds for all classes at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from hf_sfda.types import IntArray

FloatArray = npt.NDArray[np.float64]

FEWEST = 10
"""Samples that a class needs for an interval. What samples contribute is bounded and skewed; below
this, Student's t promises more than it keeps."""


def class_intervals(
    differences: FloatArray, labels: IntArray, n_classes: int, confidence: float
) -> dict[int, tuple[float, float]]:
    r"""Simultaneous intervals of the mean difference in each class.

    For a class of n samples with mean :math:`\bar d` and standard deviation s,

    .. math:: \bar d \pm t_{n-1}\!\left(\tfrac{1 + \gamma^{1/C}}{2}\right) \frac{s}{\sqrt{n}}

    over the C classes that are large enough, with :math:`\gamma` the confidence.

    The level is Sidak's: the sample was drawn class by class, so the classes' means are
    independent, and there it is exact. A max-t over classes has no correlation to make use of, and
    one critical value for all would let the smallest class, whose standard error is the least
    sure, widen every other. The standard error is what the stratified bootstrap
    (:func:`hf_sfda.uncertainty.paired_bootstrap`) tends to; it is written out here because the
    tails of a hundred classes together lie beyond what a thousand resamples can show.

    Args:
        differences: (N,) difference of two models on each sample.
        labels: (N,) in ``0..C-1``.
        n_classes: C.
        confidence: That all intervals cover what they are for.

    Returns:
        Class -> (low, high); classes of fewer than :data:`FEWEST` samples are absent.
    """
    sizes = np.bincount(labels, minlength=n_classes)
    large = np.flatnonzero(sizes >= FEWEST)
    each = confidence ** (1 / max(len(large), 1))
    found = {}
    for c in large.tolist():
        d = differences[labels == c]
        reach = t.ppf((1 + each) / 2, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
        found[c] = (float(d.mean() - reach), float(d.mean() + reach))
    return found
