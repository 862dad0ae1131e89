"""Ledoit and Wolf's shrinkage intensity, from sums that add up over groups of samples."""

from __future__ import annotations

from torch import Tensor


def ledoit_wolf(scatter: Tensor, fourth_moment: float, n_samples: float, width: int) -> float:
    """Share of the spherical target that minimises the expected squared error of the covariance.

    With S = ``scatter`` (biased covariance of n residuals r in D dimensions) and
    mu = tr S / D, the intensity is ``min(b, d) / d`` where
    ``d = |S - mu I|^2 / D`` and ``b = (sum_i |r_i|^4 / n - |S|^2) / (n D)``.

    Args:
        scatter: (r, r), in any orthonormal basis that spans the residuals.
        fourth_moment: ``sum_i |r_i|^4``.
        n_samples: n.
        width: D, the dimension before a rotation.

    Returns:
        A number in [0, 1]; 1 where the covariance is spherical or zero.

    Reference: Ledoit & Wolf, A well-conditioned estimator for large-dimensional covariance
    matrices, J. Multivariate Analysis 88 (2004); agrees with ``sklearn.covariance``.
    """
    entries = scatter.flatten()
    squared = float(entries @ entries)
    trace = float(scatter.diagonal().sum())
    distance = squared - trace**2 / width
    noise = (fourth_moment / n_samples - squared) / n_samples
    if distance <= 0:
        return 1.0
    return max(0.0, min(noise, distance) / distance)
