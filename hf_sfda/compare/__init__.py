"""Compare two models on the same samples: overall, by class and by sample."""

from __future__ import annotations

from hf_sfda.compare.paired import compare_samples
from hf_sfda.compare.result import ClassDifference, Comparison, SampleDifference
from hf_sfda.compare.run import (
    add_ranking_warnings,
    check_comparable,
    compare_for_ranking,
    compare_for_run,
    ranked_pair,
)

__all__ = [
    "ClassDifference",
    "Comparison",
    "SampleDifference",
    "add_ranking_warnings",
    "check_comparable",
    "compare_for_ranking",
    "compare_for_run",
    "compare_samples",
    "ranked_pair",
]
