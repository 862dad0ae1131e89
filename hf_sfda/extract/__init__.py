"""Candidates x target -> features, on as many processes as ``accelerate launch`` started."""

from __future__ import annotations

from hf_sfda.extract.extraction import Extraction
from hf_sfda.extract.features import Part, merge_parts
from hf_sfda.extract.loop import form_batches, run_batches
from hf_sfda.extract.run import extract_all, make_accelerator

__all__ = [
    "Extraction",
    "Part",
    "extract_all",
    "form_batches",
    "make_accelerator",
    "merge_parts",
    "run_batches",
]
