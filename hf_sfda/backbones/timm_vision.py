"""Image backbones of timm, for checkpoints in the format of timm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from hf_sfda.backbones.base import OpenOptions, Outputs
from hf_sfda.backbones.bounds import (
    blueprint,
    require_plausible,
    require_plausible_sizes,
    require_sizes,
)
from hf_sfda.backbones.checkpoint import (
    CONFIG,
    count_params,
    read_config,
    read_weights,
    require_complete,
    require_finite,
    require_shapes,
    require_used,
)
from hf_sfda.backbones.layout import prepare_model
from hf_sfda.backbones.loading import first_line
from hf_sfda.backbones.pooling import pool, stage_indices
from hf_sfda.compat import ensure_torchvision
from hf_sfda.errors import ExtractionError

ensure_torchvision()  # see vision.py

# Widths of the embeddings that CLIP and Perception Encoder compare with texts.
_EMBEDDINGS = (384, 512, 640, 768, 1024, 1152, 1280)


@dataclass(frozen=True)
class TimmCollate:
    """The evaluation transform of timm for this checkpoint."""

    transform: Any
    mode: str

    def __call__(self, samples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """RGB images of any size -> ``x`` (B, C, H, W)."""
        return {"x": torch.stack([self.transform(s.convert(self.mode)) for s in samples])}


class TimmBackbone:
    """A timm model. ``"last"`` is the input of its classifier, from ``forward_head``."""

    def __init__(self, model: torch.nn.Module, collate: TimmCollate, *, has_head: bool) -> None:
        self.collate = collate
        self.params = count_params(model)
        self.model_class = type(model).__name__
        self.preprocessing = "timm evaluation transform"
        self.module: Any = model
        self._dtype = next(model.parameters()).dtype
        self._has_head = has_head
        self._layers = _choose_layers(model)

    def costs(self, samples: Sequence[Any]) -> list[int]:
        """Every image is resized to the same shape."""
        return [0] * len(samples)

    def groups(self, samples: Sequence[Any]) -> list[Hashable] | None:
        """All images may share a batch."""
        return None

    def forward(self, batch: Mapping[str, torch.Tensor]) -> Outputs:
        """Run ``x`` (B, C, H, W)."""
        x = batch["x"].to(self._dtype)
        if self._layers:
            features, maps = self.module.forward_intermediates(
                x, indices=list(self._layers.values()), output_fmt="NCHW"
            )
            layers = {name: pool(m) for name, m in zip(self._layers, maps, strict=True)}
        else:
            features, layers = self.module.forward_features(x), {}
        entering = self.module.forward_head(features, pre_logits=True)
        layers["last"], rule = self._last(entering)
        logits = self.module.forward_head(features).float() if self._has_head else None
        if logits is not None and logits.ndim != 2:
            logits = (
                None  # without pooling, the classifier gives logits for each position of the map
            )
        return Outputs(layers, logits, rule)

    def _last(self, entering: torch.Tensor) -> tuple[torch.Tensor, str]:
        if entering.flatten(1).shape[1] == entering.shape[1]:
            return pool(entering.flatten(1)), "input of the classifier"
        # The model was saved without pooling (global_pool=''): use the rules of VisionBackbone.
        if entering.ndim == 3 and getattr(self.module, "cls_token", None) is not None:
            return pool(entering[:, 0]), "class token"
        if entering.ndim == 3:
            return pool(entering[:, getattr(self.module, "num_prefix_tokens", 0) :]), "mean"
        if entering.ndim == 4 and self._channels_last(entering):
            entering = entering.permute(0, 3, 1, 2)
        return pool(entering), "mean"

    def _channels_last(self, entering: torch.Tensor) -> bool:
        widths = (self.module.num_features, getattr(self.module, "head_hidden_size", None))
        if getattr(self.module, "output_fmt", None) == "NHWC":
            return entering.shape[-1] in widths
        return entering.shape[1] not in widths and entering.shape[-1] in widths


def open_timm(path: Path, options: OpenOptions) -> TimmBackbone:
    """Open a folder in the layout of timm repositories on the Hub.

    Raises:
        ExtractionError: The model cannot be opened.
    """
    config = read_config(path)
    weights = read_weights(path)
    require_plausible(config, weights)
    try:
        import timm
        from timm.data import create_transform, resolve_model_data_config
    except ImportError as error:
        raise ExtractionError("is a timm model: pip install 'hf-sfda[timm]'") from error
    if not isinstance(config["architecture"], str):
        raise ExtractionError(
            f"{CONFIG} states architecture = {config['architecture']!r:.40}, which is no name"
        )
    if not timm.is_model(config["architecture"]):
        raise ExtractionError(
            f"architecture {config['architecture']!r} is unknown to timm {timm.__version__}; "
            "a newer version may know it"
        )
    # Builds the architecture with model_args, without weights; `_fill` loads them.
    build = partial(timm.create_model, f"local-dir:{path}", pretrained=False)
    try:
        network = blueprint(build, weights)
        if not hasattr(network, "forward_head"):
            raise ExtractionError(
                f"{CONFIG} asks for feature maps only (features_only in model_args); remove that "
                "to rank the network"
            )
        data = resolve_model_data_config(network)
        require_plausible_sizes(data, CONFIG)
        require_sizes(network, weights)
        model = build()
    except ExtractionError:
        raise
    except Exception as error:
        raise ExtractionError(f"cannot be built: {first_line(error)}") from error
    has_head = _fill(model, _read_tensors(weights.files)) and not _is_projection(model, config)
    require_finite(model)
    collate = _open_transform(data, create_transform)
    model = prepare_model(model, options.device, options.dtype)
    return TimmBackbone(model, collate, has_head=has_head)


def _open_transform(data: Mapping[str, Any], create: Callable[..., Any]) -> TimmCollate:
    """Create the evaluation transform and try it on one image.

    Raises:
        ExtractionError: It needs another number of channels, or it fails.
    """
    size = data["input_size"]
    if len(size) != 3 or not all(isinstance(edge, int) and edge > 0 for edge in size):
        raise ExtractionError(
            f"{CONFIG} states input_size = {size}; three whole numbers are needed: "
            "channels, height, width"
        )
    if size[0] not in (1, 3):
        raise ExtractionError(f"takes images of {size[0]} channels; 1 and 3 are supported")
    try:
        collate = TimmCollate(create(**data, is_training=False), "RGB" if size[0] == 3 else "L")
        prepared = collate([Image.new("RGB", (40, 30))])["x"]
    except Exception as error:
        raise ExtractionError(
            f"the preprocessing that {CONFIG} states (pretrained_cfg) cannot be used: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    if not prepared.isfinite().all():
        raise ExtractionError(
            f"the preprocessing that {CONFIG} states (pretrained_cfg) gives values that are no "
            f"numbers: mean = {data['mean']}, std = {data['std']}"
        )
    return collate


def _read_tensors(files: Sequence[Path]) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def _fill(model: Any, weights: dict[str, torch.Tensor]) -> bool:
    """Load the weights and check that none of the body is missing.

    Returns:
        Whether there is a classifier and the checkpoint has all its weights.
    """
    own = model.state_dict()
    if own.keys() - weights.keys():
        weights = _translate(model, weights)
    require_shapes(
        {name: t.shape for name, t in weights.items()}, {name: t.shape for name, t in own.items()}
    )
    missed = model.load_state_dict(weights, strict=False)
    require_used(model, missed.unexpected_keys)
    missing = set(missed.missing_keys)
    heads = model.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else heads
    if not isinstance(heads, list | tuple) or not all(isinstance(head, str) for head in heads):
        raise ExtractionError(f"{CONFIG} states classifier = {heads!r:.40}, which is no name")
    in_head = {key for key in missing if key.startswith(tuple(f"{head}." for head in heads))}
    require_complete(missing - in_head)
    return bool(model.num_classes) and not in_head


def _is_projection(model: Any, config: Mapping[str, Any]) -> bool:
    """Whether the last layer gives an embedding to compare with texts, not one logit a class.

    timm keeps the projection of a CLIP tower as its classifier. Only the names tell: those of
    checkpoints that were fine-tuned to classify hold ``_ft_in`` (on ImageNet).
    """
    stated = config.get("pretrained_cfg")
    tag = stated.get("tag") if isinstance(stated, Mapping) else None
    name = f"{config['architecture']}.{tag or config.get('tag')}"
    paired = "clip" in name or "pe_core" in name
    return paired and "_ft_in" not in name and model.num_classes in _EMBEDDINGS


def _translate(model: Any, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert keys of an older format with the filter of the architecture, if it has one."""
    filter_fn = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if filter_fn is None:
        return weights
    try:
        return dict(filter_fn(weights, model))
    except Exception:
        return weights  # another format: the caller reports the missing keys


def _choose_layers(model: Any) -> dict[str, int]:
    """Name -> index into the list of feature levels of the model; empty without such a list."""
    levels = getattr(model, "feature_info", None)
    if not levels or not hasattr(model, "forward_intermediates"):
        return {}
    levels = levels if isinstance(levels, list) else levels.info
    return stage_indices([(level.get("reduction", 0),) for level in levels])
