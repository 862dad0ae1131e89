"""Open the tokenizer of a checkpoint, so that its tokens are those of ``tokenizer.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hf_sfda.backbones.checkpoint import require_no_pointers
from hf_sfda.backbones.loading import first_line, quiet
from hf_sfda.errors import ExtractionError

TOKENIZER = "tokenizer.json"

# Settings of one step that the classes of transformers take from tokenizer_config.json or from
# their own defaults, in version 4 (with which most checkpoints were trained) as in version 5.
_SET_BY_CLASS = {
    "BertNormalizer": ("lowercase", "strip_accents", "handle_chinese_chars"),
    "ByteLevel": ("add_prefix_space", "trim_offsets"),
}
_OF_MODEL = (
    "byte_fallback", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges",
    "max_input_chars_per_word",
)  # fmt: skip
_EMPTY = (("",), ("", ""))  # one text and two: only the special tokens are left


def open_tokenizer(path: Path) -> Any:
    """Open the tokenizer of a folder.

    transformers 5 builds most tokenizers anew, by the class that the repository names, and takes
    only the vocabulary and the special tokens from ``tokenizer.json``. If the normalisation or the
    division into words of that file is another one, its own is used: the checkpoint was trained
    with it.

    Raises:
        ExtractionError: There is none, or it cannot be loaded.
    """
    from transformers import AutoTokenizer, TokenizersBackend

    require_no_pointers(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, trust_remote_code=False, local_files_only=True
        )
        built = (
            isinstance(tokenizer, TokenizersBackend) and type(tokenizer) is not TokenizersBackend
        )
        if built and (path / TOKENIZER).is_file():
            with quiet():  # the library has warned about the same files already
                of_file = TokenizersBackend.from_pretrained(path, local_files_only=True)
            if _steps(tokenizer.backend_tokenizer) != _steps(of_file.backend_tokenizer):
                tokenizer = of_file
    except Exception as error:
        raise ExtractionError(f"its tokenizer cannot be loaded: {first_line(error)}") from error
    # Without its files, the library silently creates a tokenizer with an empty vocabulary.
    files = tuple(dict.fromkeys([*tokenizer.vocab_files_names.values(), TOKENIZER]))
    if tokenizer.vocab_files_names and not any((path / file).is_file() for file in files):
        raise ExtractionError(f"no tokenizer in the folder (none of {', '.join(files)})")
    return tokenizer


def _steps(backend: Any) -> tuple[Any, ...]:
    """What a tokenizer of the library ``tokenizers`` does, without its vocabulary."""
    model = backend.model
    special = [backend.encode(*texts).ids for texts in _EMPTY]
    # The classes write "" where a file says null.
    settings = {name: getattr(model, name, None) or None for name in _OF_MODEL}
    steps = (backend.normalizer, backend.pre_tokenizer)
    return (*(_settings(step) for step in steps), type(model).__name__, settings, special)


def _settings(step: Any) -> Any:
    """The settings of a step, without those that the class decides."""
    if step is None:
        return None
    settings = json.loads(step.__getstate__())
    for name in _SET_BY_CLASS.get(settings["type"], ()):
        settings.pop(name, None)
    return settings
