"""Principal components, shared by the metrics that begin with them."""

from __future__ import annotations

import torch
from torch import Tensor

from hf_sfda.metrics.problem import Geometry


def principal_components(geometry: Geometry, keep: int | float) -> Tensor:
    """(N, d) coordinates on the leading principal axes, largest variance first.

    Signs are fixed by the samples and not by the basis: the coordinate of largest magnitude is
    positive in each column.

    Args:
        geometry: The features.
        keep: How many, at most min(N, D); or, below 1, the share of variance to exceed.
    """
    return geometry.cached(("principal components", keep), lambda: _components(geometry, keep))


def _components(geometry: Geometry, keep: int | float) -> Tensor:
    values, vectors = geometry.spectrum.values.flip(0), geometry.spectrum.vectors.flip(1)
    if isinstance(keep, int):
        n = min(keep, len(values))
    else:
        shares = values.cumsum(0) / values.sum().clamp(min=torch.finfo(torch.float64).tiny)
        n = min(int((shares <= keep).sum()) + 1, len(values))
    Z = geometry.centred @ vectors[:, :n]
    largest = Z.gather(0, Z.abs().argmax(0, keepdim=True))
    return Z * torch.where(largest < 0, -1.0, 1.0)
