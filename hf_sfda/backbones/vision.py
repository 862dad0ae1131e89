"""Pictures through transformers: ViT, ConvNeXt, Swin, ResNet, DINOv2, towers of CLIP and SigLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import Module

from hf_sfda.backbones.base import OpenOptions, Outputs
from hf_sfda.backbones.checkpoint import count_params
from hf_sfda.backbones.loading import IMAGE, Loaded, first_line, load
from hf_sfda.backbones.pooling import pool, pool_stages
from hf_sfda.compat import ensure_torchvision
from hf_sfda.errors import ExtractionError

# Here and not in a function: unpickling a processor in a spawned worker imports this module first
# and transformers second.
ensure_torchvision()

_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_CLASS_TOKENS = ("cls_token", "class_embedding", "class_token")


@dataclass(frozen=True)
class ImageCollate:
    """The checkpoint's own image processor."""

    processor: Any

    def __call__(self, samples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """RGB pictures of any size -> ``pixel_values`` (B, C, H, W), and masks if there are any."""
        return dict(self.processor(images=list(samples), return_tensors="pt"))


class VisionBackbone:
    """A vision model of transformers.

    ``"last"`` is the first of these that the checkpoint has:

    1. what enters the classifier, if the checkpoint is a classifier and its head is whole;
    2. the pooler's output, if no weight of the pooler is random;
    3. the class token of the last hidden state;
    4. the mean over the last hidden state.
    """

    def __init__(self, loaded: Loaded, collate: ImageCollate) -> None:
        self.collate = collate
        self.params = count_params(loaded.tower)
        self.model_class = type(loaded.model).__name__
        self.preprocessing = type(collate.processor).__name__
        self.module = loaded.model
        self._dtype = next(loaded.model.parameters()).dtype
        self._has_head = loaded.has_head
        self._use_pooler = loaded.pooler_filled
        self._has_class_token = any(
            name.rsplit(".", 1)[-1] in _CLASS_TOKENS for name, _ in loaded.tower.named_parameters()
        )
        self._seen: dict[str, Any] = {}
        loaded.tower.register_forward_hook(self._see_tower)
        classifier = getattr(loaded.model, "classifier", None) if loaded.has_head else None
        if isinstance(classifier, Module):
            classifier.register_forward_pre_hook(self._see_classifier)

    def costs(self, samples: Sequence[Any]) -> list[int]:
        """Every picture is resized to the same shape."""
        return [0] * len(samples)

    def forward(self, batch: Mapping[str, torch.Tensor]) -> Outputs:
        """Run ``pixel_values`` (B, C, H, W) and whatever else the processor made."""
        self._seen = {}
        inputs = {
            # Pixels that are neither rescaled nor normalised arrive as integers.
            name: value.to(self._dtype) if _is_pixels(name, value) else value
            for name, value in batch.items()
        }
        output = self.module(**inputs)
        tower = self._seen["tower"]
        blocks = (tower.get("hidden_states") or ())[1:]  # the first is the input embedding
        stages = pool_stages([block for block in blocks if block.ndim in (3, 4)])
        stages["last"], rule = self._last(tower, self._seen.get("classifier"))
        self._seen = {}
        return Outputs(stages, output.logits.float() if self._has_head else None, rule)

    def _last(self, tower: Mapping[str, Any], entering: Any) -> tuple[torch.Tensor, str]:
        # (B, C) or (B, C, 1, 1); a head that does its own pooling is given more than that.
        if entering is not None and entering.flatten(1).shape[1] == entering.shape[1]:
            return pool(entering.flatten(1)), "input of the classifier"
        if self._use_pooler and tower.get("pooler_output") is not None:
            return pool(tower["pooler_output"].flatten(1)), "pooler"
        hidden = tower["last_hidden_state"]
        if self._has_class_token and hidden.ndim == 3:
            return pool(hidden[:, 0]), "class token"
        return pool(hidden), "mean"

    def _see_tower(self, module: object, arguments: object, output: Any) -> None:
        self._seen["tower"] = output

    def _see_classifier(self, module: object, arguments: tuple[Any, ...]) -> None:
        self._seen["classifier"] = arguments[0]


def _is_pixels(name: str, value: torch.Tensor) -> bool:
    return name == "pixel_values" or value.is_floating_point()


def open_vision(path: Path, options: OpenOptions) -> VisionBackbone:
    """Open a folder that transformers' image models read.

    Raises:
        ExtractionError: Says what is wrong with the folder.
    """
    return VisionBackbone(load(path, IMAGE, options), ImageCollate(_open_processor(path)))


def _open_processor(path: Path) -> Any:
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(
            path, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:
        if not any((path / name).is_file() for name in _PROCESSOR_FILES):
            reason = f"no {_PROCESSOR_FILES[0]} in the folder, which says how it takes pictures"
        else:
            reason = f"its image processor cannot be loaded: {first_line(error)}"
        raise ExtractionError(reason) from error
