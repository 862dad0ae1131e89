"""From a folder with a checkpoint to something that turns pictures or texts into features."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.backbones.base import EXTRACTOR_VERSION, Backbone, OpenOptions, Outputs
from hf_sfda.backbones.checkpoint import read_config
from hf_sfda.errors import ExtractionError
from hf_sfda.types import Candidate, Modality

if TYPE_CHECKING:
    import torch

__all__ = ["EXTRACTOR_VERSION", "Backbone", "OpenOptions", "Outputs", "open_backbone"]


def _timm_layout(config: Mapping[str, Any]) -> bool:
    # transformers writes its own model_type into the timm checkpoints it saves.
    return "architecture" in config and config.get("model_type", "timm_wrapper") == "timm_wrapper"


def _transformers_layout(config: Mapping[str, Any]) -> bool:
    return "model_type" in config


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to open a checkpoint.

    Attributes:
        modality: What it takes.
        fits: Judges ``config.json``. What the folder holds is better evidence than the library its
            card names.
        opener: ``module:function``; imported only when needed, for it brings a framework.
    """

    modality: Modality
    fits: Callable[[Mapping[str, Any]], bool]
    opener: str


# The first that fits is taken. A folder in timm's layout goes to timm itself: the wrapper in
# transformers cannot open one whose model_args name num_classes.
KINDS = (
    Kind("image", _timm_layout, "hf_sfda.backbones.timm_vision:open_timm"),
    Kind("image", _transformers_layout, "hf_sfda.backbones.vision:open_vision"),
    Kind("text", _transformers_layout, "hf_sfda.backbones.text:open_text"),
)

_opening = threading.Lock()
"""Held while a checkpoint is opened. transformers replaces functions of torch and of its own
classes meanwhile, and two threads that put each other's replacements back leave them there: every
network made later in the process then keeps uninitialised weights."""


def open_backbone(
    path: Path,
    candidate: Candidate,
    *,
    device: torch.device,
    dtype: torch.dtype,
    max_length: int,
    modality: Modality,
) -> Backbone:
    """Open a checkpoint for one kind of input. Threads take turns.

    Args:
        path: Folder with the checkpoint's files.
        candidate: Whose files they are.
        device: Where to run.
        dtype: Of weights and activations.
        max_length: Tokens kept of a text.
        modality: What will be fed.

    Raises:
        ExtractionError: With a reason fit for a row of the ranking.
    """
    config = read_config(path)
    options = OpenOptions(device=device, dtype=dtype, max_length=max_length)
    for kind in KINDS:
        if kind.modality == modality and kind.fits(config):
            module, function = kind.opener.split(":")
            with _opening:
                opened: Backbone = getattr(importlib.import_module(module), function)(path, options)
            return opened
    library = f" (its library is {candidate.library})" if candidate.library else ""
    raise ExtractionError(
        f"is no {modality} checkpoint of transformers or timm{library}: config.json has neither "
        "model_type nor architecture, or takes other inputs"
    )
