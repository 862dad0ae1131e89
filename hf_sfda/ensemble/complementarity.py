"""The ensemble score of the SFDA paper: the mean of a model's own score and its complementarity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hf_sfda.types import IntArray

FloatArray = npt.NDArray[np.float64]

_RANK = 1e-10
"""Directions whose share of the variance within classes is below this are rounding errors."""
_FINITE = np.log(np.finfo(np.float64).tiny)


def fisher_space(log_posteriors: FloatArray, labels: IntArray) -> FloatArray:
    r"""Compute a model's (N, C) held-out features in Fisher space; their rank is C - 1.

    In Fisher space the within-class scatter is the identity, and only the C - 1 directions between
    the classes remain. The centred log-posteriors already span these directions:
    :math:`\log P_c - \overline{\log P} = z^\top(\nu_c - \bar\nu) + \ldots` for a sample z and the
    class means :math:`\nu_c` in Fisher space. So it is enough to centre them and to divide by the
    square root of their within-class scatter. The root is symmetric, so column c still belongs to
    class c. The axes of an eigenvalue solver would have arbitrary signs and an arbitrary order in
    each fold, so models could not be compared.

    The paper fits the projection on the same samples that it projects. If N is close to D, this
    maps the features of every model onto the labels, and all models look the same.

    Args:
        log_posteriors: (N, C) held-out log-posteriors.
        labels: (N,) classes in ``0..C-1``.
    """
    logs = np.maximum(log_posteriors, _FINITE)
    F = logs - logs.mean(1, keepdims=True)
    F -= F.mean(0)
    scatter = F.T @ F
    one_hot = np.eye(F.shape[1])[labels]  # (N, C)
    sums = one_hot.T @ F
    within = scatter - sums.T @ (sums / one_hot.sum(0)[:, None])
    values, vectors = np.linalg.eigh(within / len(F))
    nonzero = values > _RANK * max(float(scatter.trace()) / len(F), np.finfo(np.float64).tiny)
    vectors = vectors[:, nonzero]
    whitened: FloatArray = F @ (vectors / np.sqrt(values[nonzero])) @ vectors.T
    return whitened


def complementarity(spaces: Sequence[FloatArray]) -> FloatArray:
    r"""Compute the (M,) complementarity of each model: the loss of nuclear norm without it.

    :math:`T_{com}(m) = \lVert F_{ens} \rVert_* - \lVert F_{ens} \setminus m \rVert_*`. The norms
    come from the eigenvalues of M + 1 Gram matrices of size M.

    The paper does not specify these two points:

    - *Shape.* Row m of :math:`F_{ens}` is the flattened (N C) features of model m, and
      :math:`\setminus m` leaves it out. Another choice, one matrix per sample, does not work for
      two classes: the norm of a single column does not depend on how the models complement each
      other.
    - *Normalisation.* In Fisher space the within-class scatter is the identity, so the scale of a
      model's features has no effect, but its class separation has. The result is divided by the
      largest norm of a single model, so it lies in [0, 1], as SFDA does. The strongest model gets 1
      if it is orthogonal to all others, and sqrt(2) - 1 if there is one copy of it.

    Trap: noise is complementary to every model. A useless model gets a high complementarity, and
    only the other half of the paper's score counts against it. Among the demo's four text encoders,
    one with random weights came second on film reviews. So the score is reported but not used to
    select models.

    Args:
        spaces: M arrays (N, C) from :func:`fisher_space`.
    """
    F = np.stack([space.ravel() for space in spaces])  # (M, N C)
    gram = F @ F.T
    alone = np.sqrt(gram.diagonal())
    if not alone.max() > 0:
        return np.zeros(len(spaces))
    total, model = _nuclear_norm(gram), np.arange(len(gram))
    without = [_nuclear_norm(gram[np.ix_(model != m, model != m)]) for m in model]
    losses: FloatArray = np.maximum(total - np.array(without), 0) / alone.max()
    return losses


def _nuclear_norm(gram: FloatArray) -> float:
    """Sum of the singular values of F, from FF'."""
    if not gram.size:
        return 0.0
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0)).sum())


def paper_score(sfda: float, complement: float, weight: float = 0.5) -> float:
    """Compute ``r T_SFDA + (1 - r) T_com``; the paper uses r = 0.5 (arXiv:2207.03036, eq. 8, 9).

    Here T_SFDA is the cross-fitted score ``sfda_cv``. The original score is near 1 for every model
    unless N is much larger than D.
    """
    return weight * sfda + (1 - weight) * complement
