"""Results to the Hub: a plan first, then exactly that.

Importing this loads nothing heavy.
"""

from __future__ import annotations

from hf_sfda.publish.changes import Done, FileChange
from hf_sfda.publish.plan import Plan, carry_out, plan_publication

__all__ = ["Done", "FileChange", "Plan", "carry_out", "plan_publication"]
