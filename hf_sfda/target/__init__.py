"""On what the candidates are judged: a labelled, stratified sample of a dataset, decoded once."""

from __future__ import annotations

from hf_sfda.target.load import load_target, target_of

__all__ = ["load_target", "target_of"]
