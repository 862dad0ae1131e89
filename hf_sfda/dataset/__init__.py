"""Draw the target, a labelled stratified sample of a dataset, and decode it once."""

from __future__ import annotations

from hf_sfda.dataset.hub import download_size
from hf_sfda.dataset.load import load_target, target_of

__all__ = ["download_size", "load_target", "target_of"]
