"""NCE: how uncertain the new labels remain when the decisions of the head are known."""

from __future__ import annotations

import torch

from hf_sfda.metrics import register_metric
from hf_sfda.metrics.problem import Problem
from hf_sfda.types import Score


@register_metric(
    "nce",
    summary="Negative conditional entropy of the new labels given the head's decisions",
    tasks=frozenset({"single-label", "token"}),
    needs="source_logits",
    cost="N",
    reference="Tran et al., ICCV 2019, arXiv:1908.08142",
    invariant_to=frozenset({"row order"}),
)
def nce(problem: Problem) -> Score:
    r"""Negative conditional entropy of the new labels given the head's decisions.

    :math:`-H(Y|Z) = \frac1N \sum_i \log \frac{n(y_i, z_i)}{n(z_i)}` with :math:`z_i` the head's
    most probable source class; ``per_sample`` holds the N terms.

    Trap: with many source classes and few samples most z are seen once, and predict their one
    sample perfectly.
    """
    log_probs = problem.required_source_log_probs
    z, y = log_probs.argmax(1), problem.labels
    n_source = log_probs.shape[1]
    cells = z * problem.n_classes + y
    joint = torch.bincount(cells, minlength=n_source * problem.n_classes).double()
    terms = (joint[cells] / torch.bincount(z, minlength=n_source).double()[z]).log()
    return Score("nce", float(terms.mean()), terms.cpu().numpy())
