"""How reliable a ranking is: intervals, ties, noise floor, agreement, warnings.

Everything here is a pure function of arrays (numpy and scipy, no torch, no files). scipy is
imported inside the functions that use it: a page of results loads without waiting for it.
"""

from __future__ import annotations

from hf_sfda.uncertainty.agreement import Consensus, agreement_with, consensus, weighted_tau
from hf_sfda.uncertainty.calibration import (
    Calibration,
    coverage_warnings,
    find_calibration,
    predict_accuracies,
)
from hf_sfda.uncertainty.curve import disjoint_samples, learning_curve
from hf_sfda.uncertainty.diagnose import (
    at_floor,
    diagnose,
    diagnose_row,
    diagnose_rows,
    is_at_floor,
    noise_floor,
    voting_metrics,
)
from hf_sfda.uncertainty.proportions import bootstrap_mean, bootstrap_r2, paired_difference, wilson
from hf_sfda.uncertainty.resampling import (
    degrees_of_freedom,
    group_jackknife,
    jackknife_groups,
    one_stratum,
    paired_bootstrap,
)
from hf_sfda.uncertainty.summary import Uncertainty, percentile_intervals, summarise
from hf_sfda.uncertainty.ties import significant_differences, tie_groups

__all__ = [
    "Calibration",
    "Consensus",
    "Uncertainty",
    "agreement_with",
    "at_floor",
    "bootstrap_mean",
    "bootstrap_r2",
    "consensus",
    "coverage_warnings",
    "degrees_of_freedom",
    "diagnose",
    "diagnose_row",
    "diagnose_rows",
    "disjoint_samples",
    "find_calibration",
    "group_jackknife",
    "is_at_floor",
    "jackknife_groups",
    "learning_curve",
    "noise_floor",
    "one_stratum",
    "paired_bootstrap",
    "paired_difference",
    "percentile_intervals",
    "predict_accuracies",
    "significant_differences",
    "summarise",
    "tie_groups",
    "voting_metrics",
    "weighted_tau",
    "wilson",
]
