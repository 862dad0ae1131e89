"""Choosing several checkpoints that are better together than the best one alone."""

from __future__ import annotations

from hf_sfda.ensemble.member import Member, member_of
from hf_sfda.ensemble.result import Ensemble, PaperScore, Quality, Refused, Step
from hf_sfda.ensemble.run import select_for_ranking, select_for_run
from hf_sfda.ensemble.select import select_ensemble

__all__ = [
    "Ensemble",
    "Member",
    "PaperScore",
    "Quality",
    "Refused",
    "Step",
    "member_of",
    "select_ensemble",
    "select_for_ranking",
    "select_for_run",
]
