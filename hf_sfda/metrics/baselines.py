"""Baselines without labels. A metric that cannot beat them is not worth a forward pass."""

from __future__ import annotations

import hashlib

from hf_sfda.metrics import register_metric
from hf_sfda.metrics.problem import Problem
from hf_sfda.types import Candidate, LabelKind, Score

_ANY: frozenset[LabelKind] = frozenset({"single-label", "multi-label", "regression", "token"})


@register_metric(
    "params", summary="Number of parameters: bigger is better", tasks=_ANY, needs="candidate"
)
def params(candidate: Candidate) -> Score | None:
    """Number of parameters: bigger is better.

    Returns:
        ``None`` if it is not known.
    """
    return None if candidate.params is None else Score("params", float(candidate.params))


@register_metric(
    "downloads", summary="Downloads in the last 30 days", tasks=_ANY, needs="candidate"
)
def downloads(candidate: Candidate) -> Score | None:
    """Downloads in the last 30 days: the choice of most users.

    Returns:
        ``None`` for local checkpoints.
    """
    return None if candidate.downloads is None else Score("downloads", float(candidate.downloads))


@register_metric(
    "random",
    summary="A number drawn from the model id: what chance gives",
    tasks=_ANY,
    needs="candidate",
)
def random(candidate: Candidate) -> Score:
    """A number drawn from the model id: what chance gives.

    It depends on the model id only, so it is the same in every run.
    """
    digest = hashlib.sha256(candidate.model_id.encode()).digest()
    return Score("random", int.from_bytes(digest[:6]) / 2**48)


@register_metric(
    "width",
    summary="Number of feature dimensions: wider is better",
    tasks=_ANY,
    cost="0",
    reference="Baseline",
    invariant_to=frozenset({"row order", "translation", "scale", "rotation"}),
    supervised=False,
    uses_features=False,
)
def width(problem: Problem) -> Score:
    """Number of feature dimensions: wider is better.

    Scores without held-out samples rise with the width where samples are few. A metric that orders
    models as this one does measures nothing else.
    """
    return Score("width", float(problem.geometry.width))
