"""Which files of a model repository we need."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

MODEL_FILES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    # how a sentence-transformers checkpoint pools its tokens
    "modules.json",
    "?_Pooling/config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*-of-*.safetensors",
)
"""Patterns of what is downloaded: configuration, preprocessing, and the safetensors that
``from_pretrained`` reads. Exact names, so that pickles, half-precision variants and the copies in
``onnx/``, ``openvino/`` or ``original/`` stay where they are."""


def model_files(names: Iterable[str]) -> list[str]:
    """Those of ``names`` (paths relative to the repository) that we need, sorted.

    Example:
        >>> model_files(["model.safetensors", "pytorch_model.bin", "onnx/config.json"])
        ['model.safetensors']
    """
    return sorted(
        name for name in names if any(fnmatchcase(name, pattern) for pattern in MODEL_FILES)
    )
