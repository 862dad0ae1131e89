"""LEEP: how well the checkpoint's own head predicts the new classes."""

from __future__ import annotations

import torch

from hf_sfda.metrics import register_metric
from hf_sfda.metrics.problem import Problem
from hf_sfda.types import Score


@register_metric(
    "leep",
    summary="Log-likelihood of the new labels under the checkpoint's own head",
    tasks=frozenset({"single-label", "token"}),
    needs="source_logits",
    cost="N C_source C",
    reference="Nguyen et al., ICML 2020, arXiv:2002.12462",
    invariant_to=frozenset({"row order"}),
)
def leep(problem: Problem) -> Score:
    r"""Log-likelihood of the new labels under the checkpoint's own head.

    With the head's probabilities :math:`\theta_{iz}` over source classes z and the empirical joint
    :math:`P(y, z) = \frac1N \sum_{i: y_i = y} \theta_{iz}`,

    .. math:: \mathrm{LEEP} = \frac1N \sum_i \log \sum_z P(y_i | z)\, \theta_{iz},

    between minus the entropy of the labels (the head knows nothing) and 0. ``per_sample`` holds the
    N terms.

    Traps: it measures the head, not the backbone, and heads with many classes overfit small targets
    (P(y | z) is counted on the samples it is applied to).
    """
    theta = problem.required_source_log_probs.exp()  # (N, Z)
    return expected_log_probability("leep", theta, problem)


def expected_log_probability(name: str, theta: torch.Tensor, problem: Problem) -> Score:
    """Score of the expected empirical predictor from any soft assignment.

    Args:
        name: Of the metric.
        theta: (N, Z) rows that add up to one.
        problem: Whose labels are predicted.
    """
    joint = problem.one_hot.T @ theta  # (C, Z), times N
    conditional = joint / joint.sum(0).clamp(min=torch.finfo(torch.float64).tiny)
    predicted = (theta @ conditional.T).gather(1, problem.labels[:, None])[:, 0]
    terms = predicted.clamp(min=torch.finfo(torch.float64).tiny).log()
    details = {"mean_probability": float(predicted.mean())}
    return Score(name, float(terms.mean()), terms.cpu().numpy(), details)
