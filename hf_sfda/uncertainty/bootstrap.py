"""The paired bootstrap: all models are scored on the same resamples of the same samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hf_sfda.errors import MetricError
from hf_sfda.types import IntArray

FloatArray = npt.NDArray[np.float64]

_CHUNK_BYTES = 32 * 2**20
"""Size of one block of weights; two or three blocks are in memory at a time."""


def paired_bootstrap(
    per_sample: npt.NDArray[np.floating], labels: IntArray, *, n_resamples: int, seed: int
) -> FloatArray:
    """Scores of all models on bootstrap resamples of the samples, the same for every model.

    The sample was drawn class by class, so it is resampled class by class. Of a class with n
    members n - 1 are drawn with replacement and weighted by n / (n - 1): drawing n would
    understate the variance by the factor (n - 1) / n, which is half of it for a class of two
    (Rao & Wu 1988, "Resampling inference with complex survey data", JASA 83). The spread of
    a class with one member is not known; that member is always drawn.

    Fitted parameters stay fixed: only the samples that are scored vary.

    Args:
        per_sample: (M, N) whose mean over N is the score of each of M models.
        labels: (N,) class of each sample; all zeros resamples without classes.
        n_resamples: B.
        seed: The resamples depend on this and on ``labels``, on nothing else.

    Returns:
        (B, M) scores. Time O(B N M) in one matrix product; memory O(B M) and a constant.

    Raises:
        MetricError: Shapes do not fit, or a value is not finite.
    """
    values = np.asarray(per_sample, dtype=np.float64)
    if values.ndim != 2 or labels.shape != values.shape[1:]:
        raise MetricError(
            f"per_sample has shape {values.shape} and labels {labels.shape}; "
            "expected (M, N) and (N,)."
        )
    if not np.isfinite(values).all():
        raise MetricError("per_sample holds NaN or infinity; leave that model out.")
    if not values.size:
        raise MetricError("There is nothing to resample: no model or no sample.")
    # A checkpoint under two names must give equal numbers to the last bit, which a matrix product
    # does not promise for equal columns; so equal rows are multiplied once.
    distinct, place = np.unique(values, axis=0, return_inverse=True)
    resampled = np.vstack(
        [weights @ distinct.T for weights in _weights(labels, n_resamples, seed)]
    )  # (B, distinct)
    return np.ascontiguousarray(resampled[:, place.ravel()] / len(labels))


def degrees_of_freedom(labels: IntArray) -> int:
    """Degrees of freedom of the bootstrap's standard errors: N minus the number of classes, or
    G - 1 for groups, which are one stratum. At least 1.
    """
    return max(1, len(labels) - len(np.unique(labels)))


def _weights(labels: IntArray, n_resamples: int, seed: int) -> Iterator[FloatArray]:
    """Blocks of (b, N) weights, in the order of the samples; each row sums to N."""
    n = len(labels)
    _, classes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(classes, kind="stable")
    starts = np.cumsum(sizes) - sizes  # (C,) first place of each class in `order`
    alone = np.flatnonzero(sizes == 1)
    # One draw fewer than members: drop the first place of every class.
    draws = np.delete(np.arange(n), starts)  # (N - C,)
    of_class = np.repeat(np.arange(len(sizes)), sizes)[draws]
    low, span = starts[of_class], sizes[of_class]
    scale = np.where(sizes > 1, sizes / np.maximum(sizes - 1, 1), 1.0)[classes]  # (N,)

    generator = np.random.default_rng(seed)
    rows = max(1, min(n_resamples, _CHUNK_BYTES // (8 * n)))
    for start in range(0, n_resamples, rows):
        b = min(rows, n_resamples - start)
        picks = low + (generator.random((b, len(draws))) * span).astype(np.int64)
        flat = picks + n * np.arange(b)[:, None]
        counts = np.bincount(flat.ravel(), minlength=b * n).reshape(b, n)
        counts[:, starts[alone]] = 1
        weights = np.empty((b, n))
        weights[:, order] = counts
        weights *= scale
        yield weights
