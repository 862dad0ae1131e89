"""A static prior: how well checkpoints of this name have fine-tuned elsewhere."""

from __future__ import annotations

import re

from hf_sfda.metrics import register_metric
from hf_sfda.types import Candidate, Score

HINTS = {
    "vit": r"\bvit\b",
    "swin": r"swin",
    "convnext": r"convnext",
    "deit": r"\bdeit\b",
    "beit": r"\bbeit\b",
    "van": r"\bvan\b",
    "tiny": r"\b(tiny|nano|micro)\b",
    "small": r"\bsmall\b",
    "base": r"\bbase\b",
    "large": r"\b(large|huge)\b",
    "22k": r"\b(in|ft|pt)?2[12]k\b",
    "384": r"\b(384|512)\b",
    "distilled": r"distil",
    "finetuned": r"fine.?tun",
    "random": r"\b(random|test|dummy)\b",
}
"""What a name may say -> pattern in the lower-case name, separators made hyphens."""

_ARCHITECTURES = ("vit", "swin", "convnext", "deit", "beit", "van")

WEIGHTS = {
    "vit": -0.1650,
    "swin": 0.3399,
    "convnext": 0.4859,
    "deit": -0.0297,
    "beit": -1.3685,
    "van": 0.0116,
    "tiny": -0.6883,
    "small": -0.1740,
    "base": 0.0964,
    "large": -0.0732,
    "22k": 0.0604,
    "384": 0.0632,
    "distilled": 0.0669,
    "finetuned": 0.0915,
    "random": -1.7946,
}
"""Learnt by ``benchmarks/learn_prior.py``, in standard deviations over models."""

INTERCEPT = 0.1098


@register_metric(
    "prior",
    summary="How well checkpoints with such names fine-tuned on 13 other datasets (images)",
    tasks=frozenset({"single-label", "multi-label", "regression"}),
    needs="candidate",
    cost="0",
    reference="Ours, learnt from the table of zLizy/transferability_graph",
)
def prior(candidate: Candidate) -> Score | None:
    """Expected fine-tuned accuracy from words in the repository id (images).

    Ridge regression on words of the id: architecture, size, pre-training on ImageNet-22k, input
    size, distilled, fine-tuned before, test model. It was fitted to the fine-tuned accuracies of
    180 image models, standardised within each of 13 data sets and averaged. It predicts held-out
    models on held-out data sets with a mean weighted Kendall tau of 0.38 (from -0.20
    on food101 to 0.62 on caltech101); the true mean over the other data sets would reach 0.47.

    It uses neither features nor labels of the target, so a metric that does should do better.

    Traps: image models of 2022 and before only. A name without known words gets the mean. The
    target does not matter. A renamed model gets another value.

    Returns:
        ``None`` where the candidate is not known to be an image model.
    """
    words = hints(candidate.model_id)
    if not _is_image_model(candidate, words):
        return None
    parts = {name: WEIGHTS[name] for name in words}
    return Score("prior", INTERCEPT + sum(parts.values()), details=parts)


def hints(model_id: str) -> list[str]:
    """Known words in the last part of a Hub id or path."""
    name = re.sub(r"[^a-z0-9]+", "-", model_id.rstrip("/").split("/")[-1].lower())
    return [hint for hint, pattern in HINTS.items() if re.search(pattern, name)]


def _is_image_model(candidate: Candidate, words: list[str]) -> bool:
    if candidate.pipeline_tag is not None:
        return candidate.pipeline_tag.startswith("image")
    return candidate.library == "timm" or any(hint in _ARCHITECTURES for hint in words)
