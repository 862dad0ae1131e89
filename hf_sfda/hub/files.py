"""Which files of a model repository we need."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from hf_sfda.foreign import read_json

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"

SENTENCE_SETTINGS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Where sentence-transformers writes how it prepares texts. It takes the first that is there."""

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
    "spm_char.model",
    "sentencepiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "prophetnet.tokenizer",
    "source.spm",
    "target.spm",
    "target_vocab.json",
    "vocab-src.json",
    "vocab-tgt.json",
    "dict.txt",
    "entity_vocab.json",
    "word_shape.json",
    "word_pronunciation.json",
    # how a sentence-transformers checkpoint pools its tokens, and whether it lower-cases texts
    "modules.json",
    *SENTENCE_SETTINGS,
    "?_Pooling/config.json",
    WEIGHTS,
    WEIGHTS_INDEX,
    "model-*-of-*.safetensors",
)
"""Patterns of what is downloaded: configuration, preprocessing, and the safetensors that
``from_pretrained`` reads. Exact names, so that pickles, half-precision variants and the copies in
``onnx/``, ``openvino/`` or ``original/`` stay where they are. Shards may have other names than the
usual ones: see :func:`shard_names`."""


def model_files(names: Iterable[str]) -> list[str]:
    """Those of ``names`` (paths relative to the repository) that we need, sorted.

    Example:
        >>> model_files(["model.safetensors", "pytorch_model.bin", "onnx/config.json"])
        ['model.safetensors']
    """
    return sorted(
        name for name in names if any(fnmatchcase(name, pattern) for pattern in MODEL_FILES)
    )


def shard_names(index: str) -> list[str]:
    """The files that an index of shards names, sorted.

    Args:
        index: Content of :data:`WEIGHTS_INDEX`.

    Raises:
        ValueError: It is no index, or names anything but safetensors in its own folder. The message
            continues a sentence that begins with the name of the file.

    Example:
        >>> shard_names('{"weight_map": {"a": "part-b.safetensors", "c": "part-a.safetensors"}}')
        ['part-a.safetensors', 'part-b.safetensors']
    """
    try:
        names = set(read_json(index)["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"is not an index of shards: {error!r}") from error
    for name in names:
        if not isinstance(name, str) or not _is_inside(name):
            raise ValueError("points outside its folder")
        if not name.endswith(".safetensors"):
            raise ValueError(f"names {name}, which is no safetensors file")
    return sorted(names)


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    outside = name.startswith("/") or ".." in parts or "\\" in name or "\0" in name
    return bool(parts) and not outside
