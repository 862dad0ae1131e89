"""Publish a run on the Hub: make a plan, show it, then execute exactly this plan.

Importing this package loads no heavy library.
"""

from __future__ import annotations

from hf_sfda.publish.changes import FileChange, StepResult
from hf_sfda.publish.plan import Plan, execute, plan_publication

__all__ = ["FileChange", "Plan", "StepResult", "execute", "plan_publication"]
