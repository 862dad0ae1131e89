"""Select several models whose combined prediction is better than that of the best single model."""

from __future__ import annotations

from hf_sfda.ensemble.posteriors import Member, member_of
from hf_sfda.ensemble.run import select_for_ranking, select_for_run
from hf_sfda.ensemble.select import (
    Ensemble,
    PaperScore,
    Quality,
    RejectedSet,
    Step,
    select_ensemble,
)

__all__ = [
    "Ensemble",
    "Member",
    "PaperScore",
    "Quality",
    "RejectedSet",
    "Step",
    "member_of",
    "select_ensemble",
    "select_for_ranking",
    "select_for_run",
]
