"""Which files of a model repository are downloaded."""

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
)
"""Patterns of the files to download: configuration, preprocessing, and the safetensors that
``from_pretrained`` reads. They are exact names, so that pickles, half-precision variants and the
copies in ``onnx/``, ``openvino/`` or ``original/`` are not downloaded. Shards follow if there is
no single file: those that the index lists (:func:`shard_names`), because a repository can also
hold shards of an earlier upload."""


def model_files(names: Iterable[str]) -> list[str]:
    """Return those of ``names`` (paths in the repository) that match :data:`MODEL_FILES`, sorted.

    Example:
        >>> model_files(["model.safetensors", "pytorch_model.bin", "onnx/config.json"])
        ['model.safetensors']
    """
    return sorted(
        name for name in names if any(fnmatchcase(name, pattern) for pattern in MODEL_FILES)
    )


def shard_names(index: str) -> list[str]:
    """Return the file names in an index of shards, sorted.

    Args:
        index: Content of :data:`WEIGHTS_INDEX`.

    Raises:
        ValueError: The text is not an index, or lists a file that is not safetensors or lies
            outside the folder. The message continues a sentence that starts with the file's name.

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
            raise ValueError(f"names {name}, which is not a safetensors file")
    return sorted(names)


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    outside = name.startswith("/") or ".." in parts or "\\" in name or "\0" in name
    return bool(parts) and not outside
