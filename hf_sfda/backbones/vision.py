"""Image backbones of transformers, such as ViT, ConvNeXt, Swin and the image tower of CLIP."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hf_sfda.backbones.axes import channels_first, stated_widths
from hf_sfda.backbones.base import OpenOptions, Outputs
from hf_sfda.backbones.bounds import require_plausible_sizes
from hf_sfda.backbones.checkpoint import count_params, require_no_pointers
from hf_sfda.backbones.layout import is_convolutional
from hf_sfda.backbones.loading import IMAGE, Loaded, first_line, load
from hf_sfda.backbones.pooling import pool, pool_layers, tensors
from hf_sfda.compat import ensure_torchvision
from hf_sfda.errors import ExtractionError

# At module level: a spawned worker that unpickles a processor imports this module before
# transformers.
ensure_torchvision()

_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_OF_TEXTS = ("tokenizer.json", "vocab.txt")
_FORMER = "FeatureExtractor"
_CLASS_TOKENS = ("cls_token", "class_embedding", "class_token")
# Masks over patches (B, T) and over pixels (B, H, W), for processors that pad.
_TOKEN_MASKS = ("pixel_attention_mask", "patch_attention_mask")
_PIXEL_MASKS = ("pixel_mask",)
# Sizes of test images that show whether a processor resizes all images to the same shape.
_PROBES = ((40, 30), (50, 80), (90, 70))


@dataclass(frozen=True)
class ImageCollate:
    """The image processor of the checkpoint.

    Attributes:
        processor: An image processor of transformers.
        mode: ``"RGB"``, or ``"L"`` for networks of one channel.
        arguments: Arguments of the ``forward`` of the network; other outputs of the processor are
            dropped.
    """

    processor: Any
    mode: str = "RGB"
    arguments: frozenset[str] = frozenset({"pixel_values"})

    def __call__(self, samples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """RGB images of any size -> ``pixel_values`` (B, C, H, W), and masks if there are any.

        If the processor returns images of different sizes, the result has nested tensors.
        """
        images = [sample.convert(self.mode) for sample in samples]
        try:
            return self._process(images)
        except ValueError:  # tensors of different sizes cannot be stacked
            parts = [self._process([image]) for image in images]
            if _same_shapes(parts):
                raise
        with warnings.catch_warnings():  # torch warns that nested tensors are a prototype
            warnings.simplefilter("ignore", UserWarning)
            return {
                name: torch.nested.nested_tensor([part[name][0] for part in parts])
                for name in parts[0]
            }

    def _process(self, images: Sequence[Any]) -> dict[str, torch.Tensor]:
        batch = self.processor(images=list(images), return_tensors="pt")
        return {
            name: value
            for name, value in batch.items()
            if name in self.arguments and isinstance(value, torch.Tensor)
        }


def _same_shapes(parts: Sequence[Mapping[str, torch.Tensor]]) -> bool:
    return len({tuple((n, p[n].shape) for n in sorted(p)) for p in parts}) == 1


class VisionBackbone:
    """A vision model of transformers.

    ``"last"`` is the first of these that the checkpoint has:

    1. the input of the classifier, if the checkpoint is a classifier and has all weights of its
       head; if two heads read different vectors, both vectors are concatenated;
    2. the output of the pooler, if no weight of the pooler is random;
    3. the class token of the last hidden state;
    4. the mean over the last hidden state, without padding.
    """

    def __init__(self, loaded: Loaded, collate: ImageCollate) -> None:
        self.collate = collate
        self.params = count_params(loaded.tower)
        self.model_class = type(loaded.model).__name__
        self.preprocessing = type(collate.processor).__name__
        self.module = loaded.model
        self._dtype = next(loaded.model.parameters()).dtype
        self._has_head = loaded.has_head
        self._heads = loaded.heads
        self._classes = getattr(loaded.model.config, "num_labels", None) if loaded.heads else None
        self._use_pooler = loaded.pooler_filled
        self._has_class_token = any(
            name.rsplit(".", 1)[-1] in _CLASS_TOKENS for name, _ in loaded.tower.named_parameters()
        )
        self._widths = stated_widths(loaded.config)
        self._convolutional = is_convolutional(loaded.tower)
        self._block_outputs = _BlockOutputs(loaded.tower)
        self._shapes: dict[tuple[int, int], Hashable] = {}
        self._seen: Any = None
        loaded.tower.register_forward_hook(self._see_tower)

    def costs(self, samples: Sequence[Any]) -> list[int]:
        """The images of a batch have equal costs; see :meth:`groups`."""
        return [0] * len(samples)

    def groups(self, samples: Sequence[Any]) -> list[Hashable] | None:
        """Shape of each image after preprocessing, if the processor returns different shapes."""
        probes = [_blank(size) for size in _PROBES]
        if len({self._shape(probe) for probe in probes}) == 1:
            return None
        return [self._shape(sample) for sample in samples]

    def forward(self, batch: Mapping[str, torch.Tensor]) -> Outputs:
        """Run ``pixel_values`` (B, C, H, W) and the other outputs of the processor."""
        if any(value.is_nested for value in batch.values()):
            return _joined([self.forward(part) for part in _one_by_one(batch)])
        self._clear()
        inputs = {
            # Pixels that are neither rescaled nor normalised arrive as integers.
            name: value.to(self._dtype) if _is_pixels(name, value) else value
            for name, value in batch.items()
        }
        output = self.module(**inputs)
        tower = self._seen
        blocks = self._block_outputs.blocks(tensors(tower.get("hidden_states")))
        layers = pool_layers(self._oriented(blocks, batch), _mask(batch))
        layers["last"], rule = self._last(tower, batch)
        logits = self._logits(output) if self._has_head else None
        if logits is not None and logits.shape[-1] != self._classes:
            logits = None  # saved without classes: the head returns its input
        self._clear()
        return Outputs(layers, logits, rule)

    def _last(
        self, tower: Mapping[str, Any], batch: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, str]:
        size = len(next(iter(batch.values())))
        vectors = [head.vector(size) for head in self._heads]
        if entering := _different([vector for vector in vectors if vector is not None]):
            return pool(torch.cat(entering, dim=1)), "input of the classifier"
        pooled = tower.get("pooler_output")
        if self._use_pooler and pooled is not None and len(pooled) == size:
            return pool(pooled.flatten(1)), "pooler"
        hidden = tower.get("last_hidden_state")
        if hidden is None:
            maps = tower.get("feature_maps")
            if not maps:
                raise ExtractionError("gives neither hidden states nor feature maps")
            hidden = maps[-1]
        if len(hidden) != size:
            raise ExtractionError(
                f"gives {len(hidden)} outputs for {size} images: it joins the images of a batch"
            )
        if self._has_class_token and hidden.ndim == 3:
            return pool(hidden[:, 0]), "class token"
        (hidden,) = self._oriented([hidden], batch)
        return pool(hidden, _mask(batch)), "mean"

    def _logits(self, output: Any) -> torch.Tensor:
        logits: torch.Tensor | None = output.get("logits")
        return (self._heads[0].output if logits is None else logits).float()

    def _oriented(
        self, activations: Sequence[torch.Tensor], batch: Mapping[str, torch.Tensor]
    ) -> list[torch.Tensor]:
        pixels = batch.get("pixel_values")
        image = (1, 1) if pixels is None or pixels.ndim != 4 else tuple(pixels.shape[2:])
        return channels_first(activations, image, self._widths, convolutional=self._convolutional)

    def _shape(self, sample: Any) -> Hashable:
        if sample.size not in self._shapes:
            batch = self.collate([_blank(sample.size)])
            self._shapes[sample.size] = tuple(
                (name, tuple(value.shape)) for name, value in sorted(batch.items())
            )
        return self._shapes[sample.size]

    def _clear(self) -> None:
        self._seen = None
        self._block_outputs.clear()
        for head in self._heads:
            head.clear()

    def _see_tower(self, module: object, arguments: object, output: Any) -> None:
        self._seen = output


def _one_by_one(batch: Mapping[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    columns = [[part.unsqueeze(0) for part in value.unbind()] for value in batch.values()]
    return [dict(zip(batch, parts, strict=True)) for parts in zip(*columns, strict=True)]


def _joined(outputs: Sequence[Outputs]) -> Outputs:
    layers = {name: torch.cat([o.layers[name] for o in outputs]) for name in outputs[0].layers}
    logits = [output.logits for output in outputs if output.logits is not None]
    return Outputs(layers, torch.cat(logits) if logits else None, outputs[0].pooling)


class _BlockOutputs:
    """Finds out which hidden states are outputs of blocks.

    In most networks the first hidden state is the embedding, the input of the first block. In
    Segformer, PVT, PoolFormer, CvT and MobileNet it is not. PVT appends a normalised copy of the
    last output.
    """

    def __init__(self, tower: nn.Module) -> None:
        self._counts: set[int] = set()
        self._entering: Any = None
        for blocks in _outermost_lists(tower):
            self._counts |= {len(blocks), sum(map(_size, blocks))}
            first: nn.Module = blocks
            while isinstance(first, nn.ModuleList) and len(first):
                first = first[0]
            first.register_forward_pre_hook(self._record_input, with_kwargs=True)

    def blocks(self, states: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """The hidden states that are outputs of blocks or of the stages of a pyramid."""
        if not states:
            return ()
        if self._entering is None or _same(self._entering, states[0]):
            return states[1:]
        copied = len(states) not in self._counts and len(states) - 1 in self._counts
        return states[:-1] if copied else states

    def clear(self) -> None:
        """Release the recorded input."""
        self._entering = None

    def _record_input(
        self, module: object, arguments: tuple[Any, ...], named: Mapping[str, Any]
    ) -> None:
        if self._entering is None:
            self._entering = next(
                (v for v in (*arguments, *named.values()) if isinstance(v, torch.Tensor)), None
            )


def _outermost_lists(tower: nn.Module) -> list[nn.ModuleList]:
    lists = {name: m for name, m in tower.named_modules() if isinstance(m, nn.ModuleList) and m}
    return [
        module
        for name, module in lists.items()
        if not any(name.startswith(f"{other}.") for other in lists if other != name)
    ]


def _size(module: nn.Module) -> int:
    return len(module) if isinstance(module, nn.ModuleList) else 1


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.data_ptr() == right.data_ptr():
        return left.numel() == right.numel()
    return left.shape == right.shape and torch.equal(left, right)


def _mask(batch: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    names = [name for name in (*_TOKEN_MASKS, *_PIXEL_MASKS) if name in batch]
    return batch[names[0]] if names else None


def _different(vectors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The vectors without duplicates: two heads can read the same tensor."""
    by_place = {(vector.data_ptr(), vector.shape): vector for vector in vectors}
    return list(by_place.values())


def _blank(size: tuple[int, int]) -> Any:
    from PIL import Image

    return Image.new("RGB", size)


def _is_pixels(name: str, value: torch.Tensor) -> bool:
    return name == "pixel_values" or value.is_floating_point()


def open_vision(path: Path, options: OpenOptions) -> VisionBackbone:
    """Open a folder with an image model of transformers.

    Raises:
        ExtractionError: The model or its processor cannot be opened.
    """
    loaded = load(path, IMAGE, options)
    processor = _open_processor(path)
    channels = getattr(loaded.config, "num_channels", None) or 3
    if channels not in (1, 3):
        raise ExtractionError(f"takes images of {channels} channels; 1 and 3 are supported")
    if channels == 1:
        _normalise_one_channel(processor)
    arguments = frozenset(inspect.signature(loaded.model.forward).parameters)
    collate = ImageCollate(processor, "RGB" if channels == 3 else "L", arguments)
    _try_processor(collate)
    return VisionBackbone(loaded, collate)


def _try_processor(collate: ImageCollate) -> None:
    """Try a processor on one image before any sample is read.

    Raises:
        ExtractionError: It fails, or its outputs cannot be used.
    """
    try:
        batch = collate([_blank(_PROBES[0])])
    except Exception as error:
        raise ExtractionError(
            f"its image processor cannot prepare an image ({_PROCESSOR_FILES[0]}): "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    if not batch:
        raise ExtractionError(
            f"its {type(collate.processor).__name__} makes no inputs that its network takes"
        )
    if not all(value.isfinite().all() for value in batch.values()):
        raise ExtractionError(
            f"its image processor gives values that are no numbers; see image_mean, image_std and "
            f"rescale_factor in {_PROCESSOR_FILES[0]}"
        )


def _open_processor(path: Path) -> Any:
    require_no_pointers(path)
    try:
        processor = _load_processor(path)
        settings = processor.to_dict()
    except Exception as error:
        if not any((path / name).is_file() for name in _PROCESSOR_FILES):
            reason = f"no {_PROCESSOR_FILES[0]} in the folder, which says how it takes images"
            if any((path / name).is_file() for name in _OF_TEXTS):
                reason += "; it has a tokenizer, so it seems to take texts"
        else:
            reason = f"its image processor cannot be loaded: {first_line(error)}"
        raise ExtractionError(reason) from error
    require_plausible_sizes(settings, _PROCESSOR_FILES[0])
    return processor


def _load_processor(path: Path) -> Any:
    """The image processor of a folder, also by a name of before transformers 5.

    Until then, ``ViTFeatureExtractor`` was another name of ``ViTImageProcessor``, and training with
    it saved that name.
    """
    from transformers import AutoImageProcessor
    from transformers.models.auto import image_processing_auto as auto

    named = auto.get_image_processor_config(path, local_files_only=True).get("image_processor_type")
    if isinstance(named, str) and named.endswith(_FORMER):
        renamed = f"{named.removesuffix(_FORMER)}ImageProcessor"
        cls = auto.get_image_processor_class_from_name(renamed)
        if cls is not None:
            return cls.from_pretrained(path, local_files_only=True)
    return AutoImageProcessor.from_pretrained(path, trust_remote_code=False, local_files_only=True)


def _normalise_one_channel(processor: Any) -> None:
    """Adapt a processor with the mean and deviation of three channels to images of one channel."""
    for name in ("image_mean", "image_std"):
        values = getattr(processor, name, None)
        if isinstance(values, list | tuple) and len(values) == 3:
            setattr(processor, name, [sum(values) / 3])
    processor.do_convert_rgb = False
