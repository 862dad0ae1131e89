"""Two models on the same samples: which is ahead, by how much, and where."""

from __future__ import annotations

from hf_sfda.compare.paired import compare_samples
from hf_sfda.compare.result import ClassDifference, Comparison, SampleDifference
from hf_sfda.compare.run import (
    beside_ranking,
    check_comparable,
    compare_for_ranking,
    compare_for_run,
    ranked_pair,
)

__all__ = [
    "ClassDifference",
    "Comparison",
    "SampleDifference",
    "beside_ranking",
    "check_comparable",
    "compare_for_ranking",
    "compare_for_run",
    "compare_samples",
    "ranked_pair",
]
