"""Why a checkpoint is left out. Pure functions of what is known about it; no file, no network."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from hf_sfda.foreign import bounded, clean
from hf_sfda.format import count
from hf_sfda.types import Modality

_QUANTISED_TAGS = frozenset(
    "4-bit 8-bit awq bitsandbytes compressed-tensors exl2 exl3 fp8 gptq hqq nvfp4 quanto".split()
)
_FORMATS = {
    ".bin": "pickle",
    ".pt": "pickle",
    ".pth": "pickle",
    ".ckpt": "pickle",
    ".pkl": "pickle",
    ".gguf": "GGUF",
    ".onnx": "ONNX",
    ".h5": "TensorFlow",
    ".keras": "Keras",
    ".msgpack": "Flax",
    ".tflite": "TFLite",
    ".mlmodel": "Core ML",
}
_NOT_WEIGHTS = frozenset({"training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt"})
_PROCESSORS: dict[Modality, dict[str, str]] = {
    "image": {"AutoTokenizer": "text"},
    "text": {"AutoImageProcessor": "images", "AutoFeatureExtractor": "audio or images"},
    "audio": {},  # :data:`AUDIO_TYPES` decides
}
AUDIO_TYPES = (
    "audio-spectrogram-transformer", "clap", "data2vec-audio", "hubert", "sew", "sew-d",
    "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-conformer", "wavlm", "whisper",
)  # fmt: skip
"""Model types of transformers that are read for sounds. Each takes its inputs in its own way, so a
type that is not in the list is refused."""
_OF_TRANSFORMERS = ("transformers", "sentence-transformers", "open_clip")
"""Libraries in cards of repositories that can be checkpoints of transformers. LAION's CLIP models
name open_clip and hold both formats: a ``config.json`` with a model type is of transformers."""
_DTYPE_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4,
    "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


def has_weights(names: Collection[str]) -> bool:
    """Whether there are safetensors that ``from_pretrained`` and timm open by themselves."""
    return "model.safetensors" in names or "model.safetensors.index.json" in names


def weights_reason(names: Collection[str]) -> str | None:
    """Left out for want of safetensors; says what there is instead."""
    if has_weights(names):
        return None
    weights = [name for name in sorted(names) if PurePosixPath(name).name not in _NOT_WEIGHTS]
    if "adapter_model.safetensors" in names or "adapter_config.json" in names:
        return adapter_reason()
    if other := [name for name in weights if name.endswith(".safetensors")]:
        return f"no model.safetensors at the top level, only {_some(other)}"
    kinds: dict[str, list[str]] = {}
    for name in weights:
        if kind := _FORMATS.get(PurePosixPath(name).suffix.lower()):
            kinds.setdefault(kind, []).append(name)
    if not kinds:
        return "no weights"
    there = ", ".join(f"{kind} ({_some(files)})" for kind, files in kinds.items())
    advice = "; pickles are never opened" if "pickle" in kinds else ""
    return f"no safetensors weights, only {there}{advice}"


_ADAPTED = "base_model:adapter:"


def adapter_reason(settings: Mapping[str, Any] | None = None) -> str:
    """Left out because it holds the weights of an adapter, not of a model.

    Args:
        settings: ``adapter_config.json``, or the part of it that the Hub shows.
    """
    base = (settings or {}).get("base_model_name_or_path")
    named = f" {bounded(clean(base), 100)}" if isinstance(base, str) and base else ""
    return f"an adapter only; merge it into its base model{named} to rank it"


ADAPTER_BESIDE_WEIGHTS = (
    "weights and an adapter (adapter_config.json) in one folder: with the library peft, it would "
    "be another model than without; merge the adapter, or move it away"
)
"""Left out because transformers would add the adapter where peft is installed."""


def code_reason(config: Mapping[str, Any], tags: Collection[str] = ()) -> str | None:
    """Left out because its own Python code would have to run."""
    if config.get("auto_map") or "custom_code" in tags:
        return "needs remote code, which is never run"
    return None


def compression_reason(config: Mapping[str, Any], tags: Collection[str] = ()) -> str | None:
    """Left out as adapter or quantised copy: neither can be fine-tuned as it is."""
    bases = [tag.removeprefix(_ADAPTED) for tag in tags if tag.startswith(_ADAPTED)]
    if peft := config.get("peft"):
        return adapter_reason(peft if isinstance(peft, Mapping) else {})
    if bases:
        return adapter_reason({"base_model_name_or_path": bases[0]})
    how = config.get("quantization_config")
    if how:
        method = how.get("quant_method") if isinstance(how, Mapping) else None
        return f"quantised ({method}); rank the model it was made from" if method else _QUANTISED
    if _QUANTISED_TAGS.intersection(tags) or any(
        t.startswith("base_model:quantized:") for t in tags
    ):
        return _QUANTISED
    return None


_QUANTISED = "quantised; rank the model it was made from"


def size_reason(params: int | None, max_params: int | None) -> str | None:
    """Left out as too large, or as of unknown size where a limit is set."""
    if max_params is None:
        return None
    most = count(max_params, precise=True)
    if params is None:
        return f"its size is not stated, and at most {most} parameters are asked for"
    if params > max_params:
        return f"too large: {count(params, precise=True)} parameters, at most {most} asked for"
    return None


def modality_reason(processor: str | None, modality: Modality | None) -> str | None:
    """Left out because its preprocessing takes something else than the dataset holds."""
    takes = _PROCESSORS[modality].get(processor or "") if modality else None
    return f"takes {takes}, the dataset holds {_plural(modality)}" if takes and modality else None


def audio_type_reason(model_type: object, modality: Modality | None) -> str | None:
    """Left out because its model type is not one of :data:`AUDIO_TYPES`."""
    if modality != "audio" or model_type is None or model_type in AUDIO_TYPES:
        return None
    named = bounded(clean(str(model_type)), 60)
    return f"model type {named} is not read for sounds; read are {', '.join(AUDIO_TYPES)}"


def library_of(config: Mapping[str, Any], stated: str | None, tags: Collection[str]) -> str | None:
    """``"timm"``, ``"transformers"`` or ``None``: which library opens it.

    Args:
        config: ``config.json``, or the part of it that the Hub shows.
        stated: The card's ``library_name``.
        tags: The Hub's tags.
    """
    if stated == "timm" or (stated is None and "timm" in tags):
        return "timm"
    if "model_type" in config:
        ours = stated in (None, *_OF_TRANSFORMERS) or "transformers" in tags
        return "transformers" if ours else None
    # timm writes `architecture` (one name), transformers `architectures` (a list)
    return "timm" if "architecture" in config else None


def library_reason(library: str | None, stated: str | None) -> str | None:
    """Left out because no library of ours opens it."""
    if library is not None:
        return None
    if stated not in (None, "transformers", "sentence-transformers", "timm"):
        return f"made for {stated}; only transformers, sentence-transformers and timm are opened"
    return "its config.json names neither a model_type (transformers) nor an architecture (timm)"


def weights_bytes(parameters: Mapping[str, int]) -> int:
    """Size of the weights in bytes, from parameter counts by dtype."""
    return sum(count * _DTYPE_BYTES.get(dtype, 1) for dtype, count in parameters.items())


def first_reason(reasons: Iterable[str | None]) -> str | None:
    """The first reason that holds."""
    return next((reason for reason in reasons if reason is not None), None)


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _plural(modality: Modality) -> str:
    return {"image": "images", "text": "texts", "audio": "sounds"}[modality]
