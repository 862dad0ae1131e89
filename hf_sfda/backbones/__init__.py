"""Open the folder of a checkpoint as a backbone. It makes features of images, texts or sounds."""

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
class Loader:
    """One way to open a checkpoint.

    Attributes:
        modality: Modality of the inputs.
        fits: Whether ``config.json`` has the right layout. The content of the folder is better
            evidence than the library that the card names.
        opener: ``module:function``. It is imported only when needed, because it loads a framework.
    """

    modality: Modality
    fits: Callable[[Mapping[str, Any]], bool]
    opener: str


# The first one that fits is used. A folder in timm's layout goes to timm itself: the wrapper in
# transformers cannot open one whose model_args name num_classes.
LOADERS = (
    Loader("image", _timm_layout, "hf_sfda.backbones.timm_vision:open_timm"),
    Loader("image", _transformers_layout, "hf_sfda.backbones.vision:open_vision"),
    Loader("text", _transformers_layout, "hf_sfda.backbones.text:open_text"),
    Loader("audio", _transformers_layout, "hf_sfda.backbones.audio:open_audio"),
)

_opening = threading.Lock()
"""Held while a checkpoint is opened. transformers patches functions of torch and of its own classes
during that time. If two threads did so together, a patch could stay: every network that is built
later in the process would then keep uninitialised weights."""


def open_backbone(
    path: Path,
    candidate: Candidate,
    *,
    device: torch.device,
    dtype: torch.dtype,
    max_length: int,
    modality: Modality,
) -> Backbone:
    """Open a checkpoint for one modality. Only one thread opens a checkpoint at a time.

    Args:
        path: Folder with the checkpoint's files.
        candidate: The candidate, for messages.
        device: Device of the model.
        dtype: Data type of weights and activations.
        max_length: Largest number of tokens of a text.
        modality: Modality of the inputs.

    Raises:
        ExtractionError: The checkpoint cannot be opened. The message is the reason in the ranking.
    """
    config = read_config(path)
    options = OpenOptions(device=device, dtype=dtype, max_length=max_length)
    for loader in LOADERS:
        if loader.modality == modality and loader.fits(config):
            module, function = loader.opener.split(":")
            with _opening:
                opened: Backbone = getattr(importlib.import_module(module), function)(path, options)
            return opened
    library = f" (its library is {candidate.library})" if candidate.library else ""
    raise ExtractionError(
        f"is no {modality} checkpoint of transformers or timm{library}: config.json has neither "
        "model_type nor architecture, or takes other inputs"
    )
