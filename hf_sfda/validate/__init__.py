"""Compare scores with accuracy after full fine-tuning."""

from __future__ import annotations

from hf_sfda.validate.measures import (
    chosen_probability,
    kendall,
    recall,
    regret,
    spearman,
    tau_truth_sided,
    tau_two_sided,
)
from hf_sfda.validate.over_targets import Mean, mean_over_targets, static_list

__all__ = [
    "Mean",
    "chosen_probability",
    "kendall",
    "mean_over_targets",
    "recall",
    "regret",
    "spearman",
    "static_list",
    "tau_truth_sided",
    "tau_two_sided",
]
