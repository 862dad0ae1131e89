"""The paper's score for ensembles: own transferability and complementarity, half and half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from hf_sfda.types import IntArray

FloatArray = npt.NDArray[np.float64]
Layout = Literal["rows", "columns"]

_RANK = 1e-10
"""Directions whose within-class variance is a smaller share of the total are rounding."""
_FINITE = np.log(np.finfo(np.float64).tiny)


def fisher_space(log_posteriors: FloatArray, labels: IntArray) -> FloatArray:
    r"""(N, C) held-out features in Fisher space, of rank C - 1.

    Fisher's space is where the within-class scatter is the identity and only the C - 1 directions
    between classes are left. A posterior's centred logarithms *are* these directions:
    :math:`\log P_c - \overline{\log P} = z^\top(\nu_c - \bar\nu) + \ldots` for samples z and class
    means :math:`\nu_c` there. So they need only be centred and divided by the square root of their
    pooled within-class scatter. The symmetric root keeps column c on the side of class c. Axes from
    an eigen-solver have arbitrary signs and order, differ from fold to fold, and could not be
    compared between models.

    In the paper the projection is fitted and used on the same samples; with N near D it then maps
    every model onto the labels and all models look alike.

    Args:
        log_posteriors: (N, C) held out.
        labels: (N,) in ``0..C-1``.
    """
    logs = np.maximum(log_posteriors, _FINITE)
    F = logs - logs.mean(1, keepdims=True)
    F -= F.mean(0)
    scatter = F.T @ F
    one_hot = np.eye(F.shape[1])[labels]  # (N, C)
    sums = one_hot.T @ F
    within = scatter - sums.T @ (sums / one_hot.sum(0)[:, None])
    values, vectors = np.linalg.eigh(within / len(F))
    kept = values > _RANK * max(float(scatter.trace()) / len(F), np.finfo(np.float64).tiny)
    vectors = vectors[:, kept]
    whitened: FloatArray = F @ (vectors / np.sqrt(values[kept])) @ vectors.T
    return whitened


def complementarity(spaces: Sequence[FloatArray], layout: Layout = "rows") -> FloatArray:
    r"""(M,) what the nuclear norm of all models' Fisher features loses without each of them.

    :math:`T_{com}(m) = \lVert F_{ens} \rVert_* - \lVert F_{ens} \setminus m \rVert_*`, by singular
    values of small Gram matrices: M + 1 of size M for ``rows``, of size M C for ``columns``.

    What the paper leaves open, and what is done here:

    - *Shape.* ``rows``: row m of :math:`F_{ens}` holds the features of model m, of all samples, one
      after the other; :math:`\setminus m` sets it to zero. ``columns``: the models side by side,
      (N, M C). Rows of one sample at a time, averaged, would degenerate with two classes, where the
      norm of a single column is its length whatever complements what.
    - *Normalisation.* Fisher space has the unit of the within-class scatter, so a model's own unit
      does not matter and separation does. The whole is divided by the largest norm of a single
      model, so that the result lies in [0, 1], as SFDA does: 1 for the strongest model if nothing
      resembles it, sqrt(2) - 1 for one of two copies of it.

    Trap: noise complements everything. A useless model gets a fair share, and only the other half
    of the score speaks against it: among the demo's four text encoders, one with random weights
    came second on film reviews. So this score is shown, and does not choose.

    Args:
        spaces: M arrays (N, C) from :func:`fisher_space`.
        layout: See above.
    """
    if layout == "rows":
        F = np.stack([space.ravel() for space in spaces])  # (M, N C)
        gram, width = F @ F.T, 1
        alone = np.sqrt(gram.diagonal())
    else:
        F = np.hstack(spaces)  # (N, M C)
        gram, width = F.T @ F, spaces[0].shape[1]
        blocks = [gram[i : i + width, i : i + width] for i in range(0, len(gram), width)]
        alone = np.array([_nuclear_norm(block) for block in blocks])
    if not alone.max() > 0:
        return np.zeros(len(spaces))
    whole, owner = _nuclear_norm(gram), np.arange(len(gram)) // width
    without = [_nuclear_norm(gram[np.ix_(owner != m, owner != m)]) for m in range(len(spaces))]
    losses: FloatArray = np.maximum(whole - np.array(without), 0) / alone.max()
    return losses


def _nuclear_norm(gram: FloatArray) -> float:
    """Sum of the singular values of F, from F'F or FF'."""
    if not gram.size:
        return 0.0
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0)).sum())


def paper_score(sfda: float, complement: float, weight: float = 0.5) -> float:
    """``r T_SFDA + (1 - r) T_com`` with the paper's r = 0.5 (arXiv:2207.03036, eq. 8 and 9).

    T_SFDA is the cross-fitted score here, for the released one is near 1 for every model as soon as
    N is not much larger than D.
    """
    return weight * sfda + (1 - weight) * complement
