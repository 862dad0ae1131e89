"""Which of a checkpoint's features are scored: the last layer, or all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hf_sfda.errors import MetricError
from hf_sfda.types import Features, IntArray, View

_CONSTANT = 1e-12
"""Variance below this share of the mean square is rounding, not variance."""


def view_features(features: Features, labels: IntArray, view: View) -> npt.NDArray[np.float32]:
    r"""The (N, D) array that metrics see.

    ``last`` is what a classification head would sit on, as stored. ``all`` is every stage side by
    side, the last one included, each brought to the same footing: with stage s of width
    :math:`D_s`, mean :math:`\bar x_s` and pooled within-class scatter :math:`S_w^{(s)}`,

    .. math::
        \tilde x_s = \frac{x_s - \bar x_s}
                          {\sqrt{\mathrm{tr}\, S_w^{(s)} / D_s} \; \sqrt{D_s}},

    that is, unit within-class variance a dimension, then every stage the same total variance, so
    that no stage speaks louder for being wide or for the unit of its activations. The scale is one
    number a stage and the labels enter through it alone.

    Why ``all``: fine-tuning changes every layer, so it can mend a last layer that has specialised
    away from the target. On 1,270 emoji pictures with nine checkpoints, the weighted Kendall tau of
    ``sfda_cv`` with fully fine-tuned accuracy was .727 for all stages and -.008 for the last (one
    target, one seed: a lead, not a proof).

    Args:
        features: Of N samples.
        labels: (N,) classes.
        view: ``"last"`` or ``"all"``.

    Returns:
        (N, D) float32; ``last`` is the stored array itself, not a copy.

    Raises:
        MetricError: There is no such view.
    """
    if view == "last":
        return features.last
    if view != "all":
        raise MetricError(f"Unknown view {view!r}; allowed are last, all.")
    return concatenate_stages(features.stages, labels)


def concatenate_stages(
    stages: Mapping[str, npt.NDArray[Any]], labels: IntArray
) -> npt.NDArray[np.float32]:
    """(N, sum of widths) stages on a common footing; the formula is in :func:`view_features`."""
    widths = [stage.shape[1] for stage in stages.values()]
    out = np.empty((len(labels), sum(widths)), dtype=np.float32)
    start = 0
    for stage, width in zip(stages.values(), widths, strict=True):
        out[:, start : start + width] = _balanced(np.asarray(stage, dtype=np.float64), labels)
        start += width
    return out


def _balanced(X: npt.NDArray[np.float64], labels: IntArray) -> npt.NDArray[np.float64]:
    """Centre, and divide by the square root of tr Sw."""
    power = float(np.square(X).sum()) / len(X)
    X = X - X.mean(0)
    _, y = np.unique(labels, return_inverse=True)
    sums = np.zeros((y.max() + 1, X.shape[1]))
    np.add.at(sums, y, X)
    counts = np.bincount(y)
    total = float(np.square(X).sum()) / len(X)
    within = total - float((np.square(sums).sum(1) / counts).sum()) / len(X)
    if total <= _CONSTANT * power:
        return np.zeros_like(X)  # a constant stage says nothing, and must not say its rounding
    # Classes without inner variance leave nothing to divide by; the total variance stands in.
    trace = within if within > _CONSTANT * total else total
    X /= np.sqrt(trace)
    return X
