"""Deploy the Space on the Hub: make a plan, show it, then execute exactly this plan.

Importing this package loads no heavy library, and never gradio.
"""

from __future__ import annotations

from hf_sfda.space.deploy.plan import plan_deploy

__all__ = ["plan_deploy"]
