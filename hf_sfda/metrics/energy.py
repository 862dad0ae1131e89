"""Energy: how unfamiliar the least familiar samples are to the network."""

from __future__ import annotations

import torch

from hf_sfda.errors import MetricError
from hf_sfda.metrics import register_metric
from hf_sfda.metrics.problem import Problem
from hf_sfda.types import LabelKind, Score

_ANY: frozenset[LabelKind] = frozenset({"single-label", "multi-label", "regression", "token"})


@register_metric(
    "energy",
    summary="Free energy of the least familiar samples (sees no labels)",
    tasks=_ANY,
    cost="N D",
    reference="Gholami et al. (ETran), ICCV 2023, arXiv:2308.02027",
    invariant_to=frozenset({"row order"}),
    supervised=False,
)
def energy(problem: Problem, *, share: float = 0.005) -> Score:
    r"""Free energy of the least familiar samples (sees no labels).

    :math:`E_i = \log \sum_j e^{x_{ij}}` over the features of sample i, averaged over the ``share``
    of samples where it is lowest (one at least). The paper speaks of logits; its code, followed
    here, takes features.

    Traps: it grows with width and scale, and it does not use labels. Alone it measures whether the
    inputs are familiar, not whether the task can be learnt. ETran adds it to a discriminant score
    with a weight of 0.15.

    Args:
        problem: What to score.
        share: Of samples that count, in (0, 1].

    Raises:
        MetricError: ``share`` is out of range.
    """
    if not 0 < share <= 1:
        raise MetricError(f"share is {share}; it must lie in (0, 1].")
    energies = torch.logsumexp(problem.features, dim=1)
    k = max(1, int(share * len(energies)))
    return Score("energy", float(energies.topk(k, largest=False).values.mean()))
