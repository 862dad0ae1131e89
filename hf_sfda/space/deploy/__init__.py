"""The Space to the Hub: a plan first, then exactly that.

Importing this loads nothing heavy, and no gradio at all.
"""

from __future__ import annotations

from hf_sfda.space.deploy.plan import plan_deploy

__all__ = ["plan_deploy"]
