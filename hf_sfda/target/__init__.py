"""On what the candidates are judged: a labelled, stratified sample of a dataset, decoded once."""

from __future__ import annotations

from hf_sfda.target.load import load_target

__all__ = ["load_target"]
