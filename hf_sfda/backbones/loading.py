"""Open a transformers checkpoint and find the part that runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

from torch import nn

from hf_sfda.backbones.base import OpenOptions
from hf_sfda.backbones.bounds import blueprint, require_plausible, require_sizes
from hf_sfda.backbones.checkpoint import (
    CONFIG,
    Weights,
    read_config,
    read_weights,
    require_complete,
    require_finite,
    require_shapes,
    require_used,
)
from hf_sfda.backbones.heads import Head, find_heads
from hf_sfda.backbones.layout import prepare_model
from hf_sfda.errors import ExtractionError
from hf_sfda.hub import WEIGHTS


@dataclass(frozen=True, slots=True)
class Part:
    """The names that transformers uses for models of one modality.

    Attributes:
        heads: Attribute of ``transformers.models.auto.modeling_auto`` that maps a model type to its
            classifier classes.
        bodies: The same for classes that hold less than ``AutoModel`` does, if there are any.
        backbones: The same for classes that give feature maps, not hidden states.
        sub_config: Field that only configurations of models with several towers have.
        towers: Names of the tower for this input in such a model.
        arguments: Names of the input in the ``forward`` of such a tower.
    """

    heads: str
    bodies: str | None
    backbones: str | None
    sub_config: str
    towers: tuple[str, ...]
    arguments: tuple[str, ...]


IMAGE = Part(
    heads="MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    bodies="MODEL_FOR_IMAGE_MAPPING_NAMES",
    backbones="MODEL_FOR_BACKBONE_MAPPING_NAMES",
    sub_config="vision_config",
    towers=("vision_model", "vision_tower", "visual", "vision_encoder"),
    arguments=("pixel_values", "input_ids"),  # the second for ImageGPT
)
TEXT = Part(
    heads="MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    bodies="MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES",
    backbones=None,
    sub_config="text_config",
    towers=("text_model", "language_model"),
    arguments=("input_ids",),
)
AUDIO = Part(
    heads="MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
    bodies=None,
    backbones=None,
    sub_config="audio_config",
    towers=("audio_model", "audio_encoder"),
    arguments=("input_values", "input_features"),
)

# Video models that transformers lists among the image models.
_VIDEO_TYPES = (
    "timesformer", "videomae", "videoprism", "videoprism_vision_model", "vivit", "vjepa2",
)  # fmt: skip

# Modules that pool the output of the tower. Their weights are often missing and then random. For
# example, a classifier or a masked language model has none.
_POOLERS = ("pooler", "head")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint in memory. Only weights of a head or a pooler may be random.

    Attributes:
        model: The module to call: the tower, or the classifier that contains it.
        tower: The part whose activations are pooled.
        config: Configuration of the tower.
        types: Model types of the checkpoint and of the tower.
        has_head: ``model`` is a classifier, and the checkpoint has all weights of its head.
        heads: Heads of the classifier; empty if ``model`` is not a classifier.
        pooler_filled: No weight of the tower's pooler is random (true also without a pooler).
    """

    model: nn.Module
    tower: nn.Module
    config: Any
    types: tuple[str, ...]
    has_head: bool
    heads: tuple[Head, ...]
    pooler_filled: bool


def load(path: Path, part: Part, options: OpenOptions) -> Loaded:
    """Open a checkpoint without remote code, from safetensors only, and check all its weights.

    Args:
        path: Folder of the checkpoint.
        part: Names for the modality of the inputs.
        options: Device and dtype.

    Raises:
        ExtractionError: Says what is wrong with the folder.
    """
    raw = read_config(path)
    if (other := raw.get("transformers_weights")) not in (None, WEIGHTS):
        raise ExtractionError(f"{CONFIG} names other weights, {other!r:.60}; we read {WEIGHTS}")
    weights = read_weights(path)
    require_plausible(raw, weights)
    config = _read_auto_config(path, raw)
    if part is IMAGE and config.model_type in _VIDEO_TYPES:
        raise ExtractionError(f"{config.model_type} takes videos, not images")
    cls, is_head = _choose_class(config, part)
    _require_fit(cls, config, weights)
    model, info = _from_pretrained(path, cls, config, options)
    require_shapes(
        {name: actual for name, actual, _ in info["mismatched_keys"]},
        {name: expected for name, _, expected in info["mismatched_keys"]},
    )
    tower = find_tower(model, config, part)
    heads = find_heads(model, tower) if is_head else ()
    prefix = next(f"{name}." if name else "" for name, m in model.named_modules() if m is tower)
    missing = {name for name in info["missing_keys"] if not _is_computed(name, model)}
    in_heads = {name for name in missing if name.startswith(tuple(f"{h.name}." for h in heads))}
    inside = {name[len(prefix) :] for name in missing - in_heads if name.startswith(prefix)}
    outside = in_heads | {name for name in missing if not name.startswith(prefix)}
    pooler = {name for name in inside if name.split(".", 1)[0] in _POOLERS}
    require_complete(inside - pooler)
    extra = getattr(config, "num_nextn_predict_layers", None)
    if not extra:  # such models have further layers that only predict more tokens
        require_used(tower, _within(prefix, model.base_model_prefix, info["unexpected_keys"]))
    has_head = is_head and not outside
    tower_config = getattr(tower, "config", model.config)  # the encoder of FSMT has no config
    model = model if has_head else tower
    require_finite(model)
    tower_config.output_hidden_states = True
    for module in tower.modules():  # a backbone inside the tower has a configuration of its own
        inner = getattr(module, "config", None)
        if inner is not None and hasattr(inner, "output_hidden_states"):
            inner.output_hidden_states = True
    return Loaded(
        model=prepare_model(model, options.device, options.dtype),
        tower=tower,
        config=tower_config,
        types=(config.model_type, tower_config.model_type),
        has_head=has_head,
        heads=heads,
        pooler_filled=not pooler,
    )


def _within(prefix: str, base: str, names: Iterable[str]) -> Iterator[str]:
    """The names of weights in the tower, without the prefix of the tower.

    Args:
        prefix: Prefix of the tower in the model.
        base: Name of this model in a larger model; the checkpoint may be of the larger model.
        names: Names in the checkpoint.
    """
    for name in names:
        own = name.removeprefix(f"{base}.") if base and not prefix.startswith(f"{base}.") else name
        if own.startswith(prefix):
            yield own[len(prefix) :]
        elif prefix == f"{base}.":  # weights of a body that was opened as a larger model
            yield own


def _is_computed(name: str, model: nn.Module) -> bool:
    """Whether a parameter is never saved, because its values are computed.

    Examples are the sinusoidal positions of Marian. A class can also list such names itself.
    """
    owner, _, leaf = name.rpartition(".")
    if "Sinusoidal" in type(model.get_submodule(owner)).__name__:
        return leaf == "weight"
    unsaved: Any = getattr(model, "_keys_to_ignore_on_save", None) or ()
    return name in unsaved


def _require_fit(cls: Any, config: Any, weights: Weights) -> None:
    """Compare the network in the configuration with the weights, without allocating memory.

    Raises:
        ExtractionError: They do not belong together.
    """
    from transformers import initialization

    build = partial(getattr(cls, "from_config", cls), config)  # AutoModel has no constructor
    try:
        with (
            quiet(),
            initialization.no_init_weights(),
            initialization.meta_device_safe_creation_ops(),
        ):
            network = blueprint(build, weights)
    except ExtractionError:
        raise
    except Exception as error:
        raise ExtractionError(f"cannot be built: {first_line(error)}") from error
    require_sizes(network, weights, getattr(network, "base_model_prefix", ""))


def _encoder_decoder(config: Any) -> bool:
    return bool(getattr(config, "is_encoder_decoder", False))


def _read_auto_config(path: Path, raw: dict[str, Any]) -> Any:
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(
            path, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:
        kind = raw.get("model_type")
        if "auto_map" in raw:
            reason = "needs code from its repository, which is never run (trust_remote_code)"
        elif kind is None:
            reason = "config.json names no model_type"
        elif not isinstance(kind, str):
            reason = f"config.json states model_type = {kind!r:.40}, which is no name"
        elif kind not in transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES:
            reason = (
                f"model type {kind!r} is unknown to transformers {transformers.__version__}; "
                "a newer version may know it"
            )
        else:
            reason = f"config.json is not a valid {kind} configuration: {first_line(error)}"
        raise ExtractionError(reason) from error
    # A repository may not choose the code of the attention, which can be in another repository.
    config._attn_implementation = None
    for part in (config, *vars(config).values()):
        # Named outputs, and no chunks: chunking requires a length that is a multiple of the chunk.
        # Neither changes a value.
        if hasattr(part, "return_dict"):
            part.return_dict = True
        if hasattr(part, "chunk_size_feed_forward"):
            part.chunk_size_feed_forward = 0
    return config


def _choose_class(config: Any, part: Part) -> tuple[Any, bool]:
    """The class to load, and whether it is a classifier.

    It is the class that the configuration names if it fits the modality, otherwise ``AutoModel``.
    The classifier of an encoder-decoder is not used, because it reads the decoder, which does not
    run.
    """
    import transformers

    for name in getattr(config, "architectures", None) or ():
        if name in _classes(part.heads, config) and not _encoder_decoder(config):
            return getattr(transformers, name), True
        if part.bodies and name in _classes(part.bodies, config):
            return getattr(transformers, name), False
        if part.backbones and name in _classes(part.backbones, config):
            return getattr(transformers, name), False
    return transformers.AutoModel, False


def _classes(mapping: str, config: Any) -> tuple[str, ...]:
    from transformers.models.auto import modeling_auto

    names = getattr(modeling_auto, mapping).get(config.model_type, ())
    return (names,) if isinstance(names, str) else tuple(names)


def _from_pretrained(path: Path, cls: Any, config: Any, options: OpenOptions) -> Any:
    if hasattr(config, "mask_ratio"):
        # Masked autoencoders drop random patches in every forward pass unless told not to.
        config.mask_ratio = 0.0
    try:
        with quiet():
            return cls.from_pretrained(
                path,
                config=config,
                dtype=options.dtype,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                # `load` reports them by name; the library would raise an error with a table.
                ignore_mismatched_sizes=True,
            )
    except Exception as error:
        raise ExtractionError(f"cannot be loaded: {first_line(error)}") from error


def find_tower(model: Any, config: Any, part: Part) -> Any:
    """Find the part of a model that takes only this input.

    Raises:
        ExtractionError: There is no such part.
    """
    body = model.base_model
    # `base_model` can be an inner part, such as the encoder of DINOv3.
    if not _takes(body, part) and _takes(model, part):
        body = model
    if _encoder_decoder(config):
        tower = model.get_encoder()
    elif getattr(config, part.sub_config, None) is not None:
        tower = _one_of_several(model, body, config, part)
    else:
        tower = body
    if not _takes(tower, part):
        raise ExtractionError(
            f"{type(tower).__name__} takes no {part.arguments[0]}, so it cannot be run by itself"
        )
    return tower


def _one_of_several(model: Any, body: Any, config: Any, part: Part) -> Any:
    from transformers import PreTrainedModel

    named = [getattr(body, name, None) for name in part.towers]
    kind = type(getattr(config, part.sub_config))
    for tower in (*named, *body.modules()):
        if not isinstance(tower, nn.Module) or tower is body:
            continue
        if tower not in named and type(getattr(tower, "config", None)) is not kind:
            continue
        if isinstance(tower, PreTrainedModel):
            if _encoder_decoder(tower.config):
                tower = tower.get_encoder()
            else:  # the tower can be a language model with its head
                tower = _without_head(tower)
        if _takes(tower, part):
            return tower
    raise ExtractionError(
        f"{type(model).__name__} has several towers, and none of them takes {part.arguments[0]}"
    )


def _without_head(tower: Any) -> Any:
    from transformers import PreTrainedModel

    body = tower.base_model
    if body is tower and isinstance(getattr(tower, "model", None), PreTrainedModel):
        return tower.model  # of Llama 4
    return body


def _takes(module: nn.Module, part: Part) -> bool:
    return not inspect.signature(module.forward).parameters.keys().isdisjoint(part.arguments)


def first_line(error: BaseException) -> str:
    """The first non-empty line of the error message of a library, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shorten(lines[0], 200, placeholder=" ...") if lines else type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Disable the load report and the progress bars of transformers."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
