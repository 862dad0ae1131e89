"""Texts through transformers: encoders, decoders, and the encoder of encoder-decoders."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hf_sfda.backbones.base import OpenOptions, Outputs
from hf_sfda.backbones.checkpoint import count_params, require_no_pointers
from hf_sfda.backbones.loading import TEXT, Loaded, first_line, load
from hf_sfda.backbones.pooling import pool, pool_layers, tensors
from hf_sfda.compat import ensure_torchvision
from hf_sfda.errors import ExtractionError
from hf_sfda.foreign import read_json_file
from hf_sfda.hub import SENTENCE_SETTINGS

ensure_torchvision()  # see vision.py

_TABLES = (
    "position_embeddings",
    "position_embedding",
    "embed_positions",
    "positions_embed",
    "pos_embedding",
    "wpe",
)
_STATED_REACH = ("max_position_embeddings", "max_seq_len")

_SAME_LENGTH = (
    "aimv2 aimv2_text_model big_bird bigbird_pegasus canine convbert cpmant fnet funnel led "
    "longformer longt5 mra nystromformer paligemma pegasus_x reformer videoprism "
    "videoprism_text_model xlnet yoso"
)
_ALONE = "nllb-moe switch_transformers"
MIXING: Mapping[str, Literal["length", "alone"]] = {
    **dict.fromkeys(_SAME_LENGTH.split(), "length"),
    **dict.fromkeys(_ALONE.split(), "alone"),
}
"""Model types whose features depend on what else is in the batch, and which batches avoid that.

``"length"``: padding is seen in spite of the mask (Fourier transforms, convolutions, pooling,
sparse attention whose pattern depends on the length), so a batch holds texts of one length.
``"alone"``: texts of a batch compete for the capacity of experts.
``tests/backbones/test_every_architecture.py`` compares every model type of transformers alone and
in a padded batch."""

# Not token_type_ids: of a single text they are all zero, which is every model's default, except
# for GPT-2, which would add a word embedding for them.
_ARGUMENTS = ("input_ids", "attention_mask")


@dataclass(frozen=True)
class TextCollate:
    """The checkpoint's own tokenizer, cut to what its positions reach.

    Attributes:
        tokenizer: Of transformers.
        max_length: Tokens kept of a text.
        lower: Texts are lower-cased first, as ``sentence_bert_config.json`` may ask for.
        rows: Of the network's table of embeddings; ``None`` if it has no plain one.
    """

    tokenizer: Any
    max_length: int
    lower: bool = False
    rows: int | None = None

    def __call__(self, samples: Sequence[Any]) -> dict[str, Tensor]:
        """Texts -> ``input_ids`` and ``attention_mask`` (B, T), padded to the longest.

        Raises:
            ExtractionError: The table of embeddings has no row for a token.
        """
        batch = self.tokenizer(
            self._texts(samples),
            padding="longest",
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=True,
            return_tensors="pt",
        )
        # On a GPU an id outside the table would end the process for all models that follow.
        if self.rows is not None and (highest := int(batch["input_ids"].max())) >= self.rows:
            raise ExtractionError(
                f"its tokenizer gives token {highest}, but its table of embeddings has only "
                f"{self.rows} rows: the tokenizer belongs to another model"
            )
        return {name: batch[name] for name in _ARGUMENTS}

    def lengths(self, samples: Sequence[Any]) -> list[int]:
        """Tokens of each text."""
        encoded = self.tokenizer(self._texts(samples), truncation=True, max_length=self.max_length)
        return [len(ids) for ids in encoded["input_ids"]]

    def _texts(self, samples: Sequence[Any]) -> list[str]:
        return [text.lower() for text in samples] if self.lower else list(samples)


class TextBackbone:
    """A text model of transformers; every stage is a mean over the tokens that are not padding.

    ``"last"`` is that mean of the last hidden state. Poolers are never used: most were trained for
    next-sentence prediction or not at all.

    Logits that a head computes for every token are read at the last token of each text. Models find
    that token by its id, which fails where a text ends with the id that pads.
    """

    def __init__(self, loaded: Loaded, collate: TextCollate) -> None:
        self.collate = collate
        self.params = count_params(loaded.tower)
        self.model_class = type(loaded.model).__name__
        lower = "lower-cased, " if collate.lower else ""
        self.preprocessing = (
            f"{type(collate.tokenizer).__name__}, {lower}{collate.max_length} tokens"
        )
        self.module = loaded.model
        self._has_head = loaded.has_head
        self._heads = loaded.heads
        self._mixing = next((MIXING[name] for name in loaded.types if name in MIXING), None)
        if getattr(loaded.config, "use_bidirectional_attention", False):
            self._mixing = "length"  # this option of Gemma lets tokens attend to padding
        self._seen: Any = None
        loaded.tower.register_forward_hook(self._see_tower)

    def costs(self, samples: Sequence[Any]) -> list[int]:
        """Tokens of each text."""
        return self.collate.lengths(samples)

    def groups(self, samples: Sequence[Any]) -> list[Hashable] | None:
        """Lengths, where texts of different lengths would change each other's features."""
        if self._mixing == "alone":
            return list(range(len(samples)))
        return list(self.costs(samples)) if self._mixing == "length" else None

    def forward(self, batch: Mapping[str, Tensor]) -> Outputs:
        """Run ``input_ids`` and ``attention_mask`` (B, T)."""
        output = self.module(**batch)
        tower, self._seen = self._seen, None
        mask = batch["attention_mask"]
        blocks = tensors(tower.get("hidden_states"))[1:]  # the first is the input embedding
        # A model that pools the sequence on its way (Funnel) loses those layers, not the run.
        blocks = [_one_stream(block) for block in blocks if block.shape[:2] == mask.shape]
        layers = pool_layers(blocks, mask)
        if tower.get("last_hidden_state") is None:
            raise ExtractionError(f"{self.model_class} gives no hidden states")
        layers["last"] = pool(tower["last_hidden_state"], mask)
        logits = self._logits(output, mask) if self._has_head else None
        for head in self._heads:
            head.clear()
        return Outputs(layers, logits, "masked mean")

    def _logits(self, output: Any, mask: Tensor) -> Tensor:
        logits: Tensor = output.logits
        by_token = self._heads[0].output if self._heads else None
        if by_token is not None and by_token.shape == (*mask.shape, logits.shape[-1]):
            last = mask.sum(dim=1).clamp_min(1) - 1  # padding is on the right
            logits = by_token[torch.arange(len(mask), device=mask.device), last]
        return logits.float()

    def _see_tower(self, module: object, arguments: object, output: Any) -> None:
        self._seen = output


def _one_stream(block: Tensor) -> Tensor:
    """Tokens (B, T, C), also of networks that keep several streams, (B, T, S, C)."""
    return block.mean(dim=2) if block.ndim == 4 else block


def open_text(path: Path, options: OpenOptions) -> TextBackbone:
    """Open a folder that transformers' text models read.

    Raises:
        ExtractionError: Says what is wrong with the folder.
    """
    loaded = load(path, TEXT, options)
    tokenizer = _open_tokenizer(path)
    rows = _embedded(loaded.tower)
    _choose_padding(tokenizer, rows)
    configs: list[Any] = [getattr(loaded.model, "config", loaded.config), loaded.config]
    for config in configs:
        if getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = tokenizer.pad_token_id
    # On the left it would shift the positions of every shorter text.
    tokenizer.padding_side = "right"
    longest = _longest(tokenizer, options.max_length, positions(loaded.tower, loaded.config))
    return TextBackbone(loaded, TextCollate(tokenizer, longest, _lower_cases(path), rows))


def _embedded(tower: Any) -> int | None:
    """How many tokens have an embedding; ``None`` where that is no plain table."""
    try:
        table = tower.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    return table.num_embeddings if isinstance(table, nn.Embedding) else None


def _choose_padding(tokenizer: Any, rows: int | None) -> None:
    """Let a tokenizer pad with a token that the network has an embedding for.

    Decoders have none, and a token that was added to a tokenizer later has no embedding. Any other
    will do, for the mask hides it from every mean.
    """
    for token in (tokenizer.pad_token, tokenizer.eos_token):
        if token is None:
            continue
        if rows is None or tokenizer.convert_tokens_to_ids(token) in range(rows):
            break
    else:
        token = tokenizer.convert_ids_to_tokens(0)
    if token != tokenizer.pad_token:
        tokenizer.pad_token = token


def _longest(tokenizer: Any, asked: int, reach: int) -> int:
    """How many tokens of a text are kept.

    Args:
        tokenizer: May state a limit of its own. What is no number of tokens, or leaves no room for
            one beside the special tokens, is no limit.
        asked: The user's limit.
        reach: Of the network's positions.

    Raises:
        ExtractionError: No token of a text would be kept.
    """
    special = tokenizer.num_special_tokens_to_add()
    stated = tokenizer.model_max_length
    longest = min(asked, reach)
    if isinstance(stated, int | float) and special < stated < longest:
        longest = int(stated)
    if longest <= special:
        raise ExtractionError(
            f"of {longest} tokens, nothing is left of a text: the tokenizer adds {special} special "
            "tokens; raise --max-length"
            if longest == asked
            else f"its positions reach {longest} tokens, and the tokenizer adds {special} to a text"
        )
    return longest


def _lower_cases(path: Path) -> bool:
    """Whether sentence-transformers lower-cases texts before the tokenizer of this checkpoint."""
    file = next((path / name for name in SENTENCE_SETTINGS if (path / name).is_file()), None)
    if file is None:
        return False
    try:
        settings = read_json_file(file)
    except (OSError, ValueError, RecursionError) as error:
        raise ExtractionError(f"{file.name} cannot be read: {error}") from error
    return isinstance(settings, Mapping) and settings.get("do_lower_case") is True


def positions(tower: nn.Module, config: Any) -> int:
    """How many tokens the positions of a network reach; without any, no limit worth naming.

    The configuration states it for most. The tables of RoBERTa start behind ``padding_idx``, those
    of BART hold an offset, so a table may hold fewer tokens than it has rows.
    """
    stated = [getattr(config, name, None) for name in _STATED_REACH]
    reach = [1_000_000, *(n for n in stated if isinstance(n, int) and n > 0)]
    for name, module in tower.named_modules():
        table = getattr(module, "weight", None)
        if name.rsplit(".", 1)[-1] in _TABLES and table is not None and len(table) > 2:
            padding = getattr(module, "padding_idx", None)
            skipped = padding + 1 if padding is not None else getattr(module, "offset", 0)
            reach.append(len(table) - skipped)
    return min(reach)


def _open_tokenizer(path: Path) -> Any:
    from transformers import AutoTokenizer

    require_no_pointers(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:
        raise ExtractionError(f"its tokenizer cannot be loaded: {first_line(error)}") from error
    # Without its files, the library makes a tokenizer that knows no word and says nothing.
    files = tuple(tokenizer.vocab_files_names.values())
    if files and not any((path / file).is_file() for file in files):
        raise ExtractionError(f"no tokenizer in the folder (none of {', '.join(files)})")
    return tokenizer
