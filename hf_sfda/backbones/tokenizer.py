"""Open the tokenizer of a checkpoint, so that its tokens are those of ``tokenizer.json``."""

from __future__ import annotations

import json
import re
from itertools import islice
from pathlib import Path
from typing import Any

from hf_sfda.backbones.checkpoint import require_no_pointers
from hf_sfda.backbones.loading import first_line, quiet
from hf_sfda.compat import ensure_torchvision
from hf_sfda.errors import ExtractionError

ensure_torchvision()  # see vision.py

TOKENIZER = "tokenizer.json"
TOKEN_TYPES = "token_type_ids"

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
_SPACE = "\u2581"  # in pieces of sentencepiece
_PLAIN = re.compile("[a-z]{2,}")
_ENOUGH = 4
_ENCODING = ("__call__", "_encode_plus")
_LANGUAGES = "set_src_lang_special_tokens"
# SigLIP 2 was trained on small letters; RoFormer divides Chinese words with a dictionary.
_WITH_A_STEP = ("Siglip2Tokenizer", "RoFormerTokenizer")
# Classes that no longer give token types by default. Others never did: a network such as BigBird
# was not fine-tuned with them.
_WITHOUT_TYPES = (
    "TokenizersBackend", "PythonBackend", "AlbertTokenizer", "FunnelTokenizer", "HerbertTokenizer",
    "RemBertTokenizer", "RoFormerTokenizer", "SplinterTokenizer", "XLNetTokenizer",
)  # fmt: skip
_EMPTY = (("",), ("", ""))  # one text and two: only the special tokens are left


def open_tokenizer(path: Path) -> Any:
    """Open the tokenizer of a folder.

    transformers 5 builds most tokenizers anew, by the class that the repository names, and takes
    only the vocabulary and the special tokens from ``tokenizer.json``. If the normalisation or the
    division into words of that file is another one, its own is used: the checkpoint was trained
    with it.

    Raises:
        ExtractionError: There is none, it cannot be loaded, or it is made of a sentencepiece model
            and gives other tokens.
    """
    from transformers import AutoTokenizer, TokenizersBackend

    require_no_pointers(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, trust_remote_code=False, local_files_only=True
        )
        if not isinstance(tokenizer, TokenizersBackend):
            pass  # it is written in Python
        elif not (path / TOKENIZER).is_file():
            _require_pieces(tokenizer, path)
        elif not _does_more(type(tokenizer)):
            with quiet():  # the library has warned about the same files already
                of_file = TokenizersBackend.from_pretrained(path, local_files_only=True)
            if _steps(tokenizer.backend_tokenizer) != _steps(of_file.backend_tokenizer):
                if type(tokenizer).__name__ not in _WITHOUT_TYPES:
                    of_file.model_input_names = tokenizer.model_input_names
                    of_file.init_kwargs["model_input_names"] = tokenizer.model_input_names
                tokenizer = of_file
    except ExtractionError:
        raise
    except Exception as error:
        raise ExtractionError(f"its tokenizer cannot be loaded: {first_line(error)}") from error
    # Without its files, the library silently creates a tokenizer with an empty vocabulary.
    files = tuple(dict.fromkeys([*tokenizer.vocab_files_names.values(), TOKENIZER]))
    if tokenizer.vocab_files_names and not any((path / file).is_file() for file in files):
        raise ExtractionError(f"no tokenizer in the folder (none of {', '.join(files)})")
    return tokenizer


def ask_for_token_types(tokenizer: Any) -> None:
    """Let a tokenizer tell the two texts of a pair apart, as it did in transformers 4.

    What the repository states in ``model_input_names`` is kept.
    """
    stated = tokenizer.init_kwargs
    if "model_input_names" in stated or type(tokenizer).__name__ not in _WITHOUT_TYPES:
        return
    tokenizer.model_input_names = [*tokenizer.model_input_names, TOKEN_TYPES]
    stated["model_input_names"] = tokenizer.model_input_names  # is saved with it


def _require_pieces(tokenizer: Any, path: Path) -> None:
    """Refuse a tokenizer that divides words otherwise than the sentencepiece model it is made of.

    Some classes of transformers 5 leave out the space before the first word.

    Raises:
        ExtractionError: It does.
    """
    names = dict.fromkeys(tokenizer.vocab_files_names.values())
    file = next((path / name for name in names if name.endswith((".model", ".spm"))), None)
    if file is None or not file.is_file():
        return
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=str(file))
    pieces = (model.id_to_piece(i).partition(_SPACE) for i in range(model.piece_size()))
    # Words that no class normalises: small letters of ASCII.
    known = (word for first, _, word in pieces if not first and _PLAIN.fullmatch(word))
    words = " ".join(islice(known, _ENOUGH))
    ids = tokenizer(words, add_special_tokens=False, truncation=True, max_length=99)["input_ids"]
    if tokenizer.convert_ids_to_tokens(ids) != model.encode(words, out_type=str):
        raise ExtractionError(
            f"its tokenizer, made of {file.name}, divides words otherwise than that file; save its "
            f"{TOKENIZER} with transformers 4"
        )


def _does_more(cls: type) -> bool:
    """Whether a class does what a file cannot say.

    It takes other inputs, sets the language of a translator, or adds a step on purpose.
    """
    from transformers import TokenizersBackend

    encodes = all(getattr(cls, name) is getattr(TokenizersBackend, name) for name in _ENCODING)
    return not encodes or hasattr(cls, _LANGUAGES) or cls.__name__ in _WITH_A_STEP


def _steps(backend: Any) -> tuple[Any, ...]:
    """What a tokenizer of the library ``tokenizers`` does, without its vocabulary."""
    model = backend.model
    # The classes write "" where a file says null.
    settings = {name: getattr(model, name, None) or None for name in _OF_MODEL}
    specials = [backend.encode(*texts).ids for texts in _EMPTY]
    steps = (backend.normalizer, backend.pre_tokenizer)
    return (*(_settings(step) for step in steps), type(model).__name__, settings, specials)


def _settings(step: Any) -> Any:
    """The settings of a step, without those that the class decides."""
    if step is None:
        return None
    settings = json.loads(step.__getstate__())
    for name in _SET_BY_CLASS.get(settings["type"], ()):
        settings.pop(name, None)
    return settings
