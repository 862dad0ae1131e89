"""Baselines that need no features: a metric that cannot beat them is not worth its forward pass."""

from __future__ import annotations

from hf_sfda.metrics import register_metric
from hf_sfda.types import Candidate, LabelKind, Score

_ANY: frozenset[LabelKind] = frozenset({"single-label", "multi-label", "regression", "token"})


@register_metric(
    "params", summary="Number of parameters: bigger is better", tasks=_ANY, needs="candidate"
)
def params(candidate: Candidate) -> Score | None:
    """Number of parameters: bigger is better.

    Returns:
        ``None`` if the checkpoint does not say.
    """
    return None if candidate.params is None else Score("params", float(candidate.params))


@register_metric(
    "downloads", summary="Downloads in the last 30 days", tasks=_ANY, needs="candidate"
)
def downloads(candidate: Candidate) -> Score | None:
    """Downloads in the last 30 days: what copying the crowd would choose.

    Returns:
        ``None`` for local checkpoints, which nobody counts.
    """
    return None if candidate.downloads is None else Score("downloads", float(candidate.downloads))
