"""What the Hub says about a repository, derived from the files that were pushed.

Every function here is pure: a commit (and where needed its repository) in, plain JSON out.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from functools import lru_cache
from typing import Any

import yaml

from tests.hub.card import as_list, front_matter
from tests.hub.repo import Blob, Commit

__all__ = ["card_data", "dataset_tags", "eval_results", "model_facts"]

# Head class suffix -> (auto class, task, processor class), as in `transformersInfo`.
_HEADS = {
    "ForImageClassification": ("AutoModelForImageClassification", "image-classification", "image"),
    "ForSequenceClassification": (
        "AutoModelForSequenceClassification",
        "text-classification",
        "text",
    ),
    "ForMaskedLM": ("AutoModelForMaskedLM", "fill-mask", "text"),
    "ForCausalLM": ("AutoModelForCausalLM", "text-generation", "text"),
    "LMHeadModel": ("AutoModelForCausalLM", "text-generation", "text"),
    "ForTokenClassification": ("AutoModelForTokenClassification", "token-classification", "text"),
    "ForQuestionAnswering": ("AutoModelForQuestionAnswering", "question-answering", "text"),
    "ForObjectDetection": ("AutoModelForObjectDetection", "object-detection", "image"),
    "ForSemanticSegmentation": ("AutoModelForSemanticSegmentation", "image-segmentation", "image"),
    "ForMaskedImageModeling": ("AutoModelForMaskedImageModeling", None, "image"),
    "ForPreTraining": ("AutoModelForPreTraining", None, "text"),
    "Model": ("AutoModel", None, None),
}
_PROCESSORS = {"image": "AutoImageProcessor", "text": "AutoTokenizer"}
_AUDIO = ("audio-spectrogram-transformer", "hubert", "wav2vec2", "wavlm")  # model types
_TASKS = {head[1] for head in _HEADS.values() if head[1]} | {
    "audio-classification",
    "feature-extraction",
    "image-feature-extraction",
    "sentence-similarity",
    "zero-shot-image-classification",
}
_LIBRARIES = (
    "transformers",
    "timm",
    "peft",
    "sentence-transformers",
    "diffusers",
    "open_clip",
    "keras",
)
_FORMATS = {
    ".safetensors": "safetensors",
    ".bin": "pytorch",
    ".pt": "pytorch",
    ".onnx": "onnx",
    ".gguf": "gguf",
}


def _read_json(commit: Commit, path: str) -> dict[str, Any]:
    blob = commit.files.get(path)
    try:
        data = json.loads(blob.data) if blob else {}
    except ValueError:
        data = {}
    return data if isinstance(data, dict) else {}


def card_data(commit: Commit) -> dict[str, Any]:
    """``cardData``: the front matter as it stands."""
    return front_matter(commit)


@lru_cache(maxsize=32_768)  # a listing looks at all models for each page
def model_facts(commit: Commit) -> dict[str, Any]:
    """All derived fields of a model, ``None`` where a model has none: ``tags``, ``config`` ..."""
    card = front_matter(commit)
    raw = _read_json(commit, "config.json")
    adapter = _read_json(commit, "adapter_config.json")
    config = _config(raw, adapter, commit)
    info = _transformers_info(raw, commit)
    library = _library(card, raw, adapter)
    task = card.get("pipeline_tag") or next(
        (tag for tag in as_list(card.get("tags")) if tag in _TASKS),
        (info or {}).get("pipeline_tag"),
    )
    base = _base_models(card, raw, adapter)
    return {
        "config": config,
        "transformersInfo": info if library in ("transformers", "sentence-transformers") else None,
        "library_name": library,
        "pipeline_tag": task,
        "baseModels": base,
        "safetensors": _safetensors(commit),
        "model-index": card.get("model-index"),
        "tags": _model_tags(card, raw, commit, library, task, base),
    }


def _config(raw: dict[str, Any], adapter: dict[str, Any], commit: Commit) -> dict[str, Any] | None:
    """The part of ``config.json`` that the Hub shows; a timm configuration shows nothing."""
    kept = ("architectures", "model_type", "auto_map", "quantization_config")
    config: dict[str, Any] = {key: raw[key] for key in kept if key in raw}
    tokenizer = _read_json(commit, "tokenizer_config.json")
    if tokenizer:
        config["tokenizer_config"] = {k: v for k, v in tokenizer.items() if k.endswith("_token")}
    if adapter:
        names = ("base_model_name_or_path", "task_type")
        config["peft"] = {key: adapter.get(key) for key in names}
    return config if raw or adapter else None


def _transformers_info(raw: dict[str, Any], commit: Commit) -> dict[str, Any] | None:
    architecture = next(iter(raw.get("architectures") or []), None)
    if architecture is None:
        return None
    if auto_map := raw.get("auto_map"):
        auto_class, custom = next(iter(auto_map.items()))
        return {"auto_model": auto_class, "custom_class": custom}
    if raw.get("model_type") in _AUDIO:
        heard = architecture.endswith("Classification")
        return {
            "auto_model": "AutoModelForAudioClassification" if heard else "AutoModel",
            "pipeline_tag": "audio-classification" if heard else "feature-extraction",
            "processor": "AutoFeatureExtractor",
        }
    head = next((h for suffix, h in _HEADS.items() if architecture.endswith(suffix)), None)
    if head is None:
        return {"auto_model": "AutoModel"}
    auto_class, task, modality = head
    if modality is None:
        has_images = "preprocessor_config.json" in commit.files
        modality = "image" if has_images else "text"
        task = "image-feature-extraction" if has_images else "feature-extraction"
    info = {"auto_model": auto_class, "pipeline_tag": task, "processor": _PROCESSORS[modality]}
    return {key: value for key, value in info.items() if value is not None}


def _library(card: dict[str, Any], raw: dict[str, Any], adapter: dict[str, Any]) -> str | None:
    if "library_name" in card:
        return str(card["library_name"])
    tagged = next((tag for tag in as_list(card.get("tags")) if tag in _LIBRARIES), None)
    if tagged:
        return str(tagged)
    if adapter:
        return "peft"
    if "architecture" in raw and "pretrained_cfg" in raw:
        return "timm"
    return "transformers" if "model_type" in raw else None


def _base_models(
    card: dict[str, Any], raw: dict[str, Any], adapter: dict[str, Any]
) -> dict[str, Any] | None:
    names = as_list(card.get("base_model"))
    if not names:
        return None
    if "base_model_relation" in card:
        relation = card["base_model_relation"]
    elif adapter:
        relation = "adapter"
    elif "quantization_config" in raw:
        relation = "quantized"
    else:
        relation = "merge" if len(names) > 1 else "finetune"
    return {"relation": relation, "models": [{"_id": name, "id": name} for name in names]}


def _model_tags(
    card: dict[str, Any],
    raw: dict[str, Any],
    commit: Commit,
    library: str | None,
    task: str | None,
    base: dict[str, Any] | None,
) -> list[str]:
    formats = [tag for end, tag in _FORMATS.items() if any(p.endswith(end) for p in commit.files)]
    derived = [library, *formats, raw.get("model_type"), task, *as_list(card.get("tags"))]
    derived += as_list(card.get("language"))
    derived += [f"dataset:{name}" for name in as_list(card.get("datasets"))]
    if base:
        names = [model["id"] for model in base["models"]]
        derived += [f"base_model:{name}" for name in names]
        derived += [f"base_model:{base['relation']}:{name}" for name in names]
    if "model-index" in card:
        derived.append("model-index")
    if "auto_map" in raw:
        derived.append("custom_code")
    derived += [f"license:{name}" for name in as_list(card.get("license"))]
    return list(dict.fromkeys([str(tag) for tag in derived if tag] + ["region:us"]))


def _safetensors(commit: Commit) -> dict[str, Any] | None:
    """Parameters by dtype: headers of ``model.safetensors``, or of the shards of its index."""
    index = _read_json(commit, "model.safetensors.index.json")
    names = sorted(set(index.get("weight_map", {}).values())) or ["model.safetensors"]
    blobs = [commit.files[name] for name in names if name in commit.files]
    counts: Counter[str] = Counter()
    for blob in blobs:
        counts.update(_parameters(blob))
    if not counts:
        return None
    return {"parameters": dict(counts), "total": sum(counts.values())}


def _parameters(blob: Blob) -> Counter[str]:
    """Parameters by dtype of one safetensors file; a file that cannot be read has none."""
    counts: Counter[str] = Counter()
    try:
        (length,) = struct.unpack("<Q", blob.data[:8])
        header = json.loads(blob.data[8 : 8 + length])
        header.pop("__metadata__", None)
        for tensor in header.values():
            counts[tensor["dtype"]] += math.prod(tensor["shape"])
    except (struct.error, ValueError, KeyError, TypeError):
        return Counter()
    return counts


@lru_cache(maxsize=4096)
def dataset_tags(commit: Commit) -> tuple[str, ...]:
    """A dataset's tags: its card's, its file format, the modalities of its declared features."""
    card = front_matter(commit)
    tags = [str(tag) for tag in as_list(card.get("tags"))]
    for key in ("task_categories", "task_ids", "language", "size_categories", "license"):
        tags += [f"{key}:{value}" for value in as_list(card.get(key))]
    if any(path.endswith(".parquet") for path in commit.files):
        tags += ["format:parquet", "library:datasets"]
    dtypes = {
        feature.get("dtype")
        for info in as_list(card.get("dataset_info"))
        for feature in as_list(info.get("features"))
        if isinstance(feature.get("dtype"), str)
    }
    tags += [
        f"modality:{m}" for dtype, m in (("image", "image"), ("string", "text")) if dtype in dtypes
    ]
    return tuple(dict.fromkeys([*tags, "region:us"]))


def eval_results(commit: Commit) -> list[dict[str, Any]]:
    """The entries of ``.eval_results/*.yaml``, or an ``error`` for a broken file."""
    found: list[dict[str, Any]] = []
    for path, blob in sorted(commit.files.items()):
        if not (path.startswith(".eval_results/") and path.endswith((".yaml", ".yml"))):
            continue
        try:
            entries = yaml.safe_load(blob.data)
            for entry in entries:
                entry["dataset"]["id"], entry["dataset"]["task_id"], entry["value"]
                found.append({"filename": path, "data": json.loads(json.dumps(entry, default=str))})
        except (yaml.YAMLError, KeyError, TypeError) as error:
            found.append({"filename": path, "error": str(error)})
    return found
