"""Publish a run on the Hub: plan the changes of results dataset, cards and collection.

Importing this package loads no heavy library.
"""

from __future__ import annotations

from hf_sfda.publish.plan import plan_publication

__all__ = ["plan_publication"]
