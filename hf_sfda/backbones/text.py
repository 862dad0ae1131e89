"""Texts through transformers: encoders, decoders, and the encoder of encoder-decoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hf_sfda.backbones.base import OpenOptions, Outputs
from hf_sfda.backbones.checkpoint import count_params
from hf_sfda.backbones.loading import TEXT, Loaded, first_line, load
from hf_sfda.backbones.pooling import pool, pool_stages
from hf_sfda.compat import ensure_torchvision
from hf_sfda.errors import ExtractionError

ensure_torchvision()  # see vision.py

_TABLES = ("position_embeddings", "position_embedding", "embed_positions", "wpe")

# Not token_type_ids: of a single text they are all zero, which is every model's default, except
# for GPT-2, which would add a word embedding for them.
_ARGUMENTS = ("input_ids", "attention_mask")


@dataclass(frozen=True)
class TextCollate:
    """The checkpoint's own tokenizer, cut to what its positions reach."""

    tokenizer: Any
    max_length: int

    def __call__(self, samples: Sequence[Any]) -> dict[str, Tensor]:
        """Texts -> ``input_ids`` and ``attention_mask`` (B, T), padded to the longest."""
        batch = self.tokenizer(
            list(samples),
            padding="longest",
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return {name: batch[name] for name in _ARGUMENTS}

    def lengths(self, samples: Sequence[Any]) -> list[int]:
        """Tokens of each text."""
        encoded = self.tokenizer(list(samples), truncation=True, max_length=self.max_length)
        return [len(ids) for ids in encoded["input_ids"]]


class TextBackbone:
    """A text model of transformers; every stage is a mean over the tokens that are not padding.

    ``"last"`` is that mean of the last hidden state. Poolers are never used: most were trained for
    next-sentence prediction or not at all.
    """

    def __init__(self, loaded: Loaded, collate: TextCollate) -> None:
        self.collate = collate
        self.params = count_params(loaded.tower)
        self.model_class = type(loaded.model).__name__
        self.preprocessing = f"{type(collate.tokenizer).__name__}, {collate.max_length} tokens"
        self.module = loaded.model
        self._has_head = loaded.has_head
        self._seen: Any = None
        loaded.tower.register_forward_hook(self._see_tower)

    def costs(self, samples: Sequence[Any]) -> list[int]:
        """Tokens of each text."""
        return self.collate.lengths(samples)

    def forward(self, batch: Mapping[str, Tensor]) -> Outputs:
        """Run ``input_ids`` and ``attention_mask`` (B, T)."""
        output = self.module(**batch)
        tower, self._seen = self._seen, None
        mask = batch["attention_mask"]
        blocks = (tower.get("hidden_states") or ())[1:]  # the first is the input embedding
        # A model that pools the sequence on its way (Funnel) loses those stages, not the run.
        stages = pool_stages([block for block in blocks if block.shape[:2] == mask.shape], mask)
        stages["last"] = pool(tower["last_hidden_state"], mask)
        return Outputs(stages, output.logits.float() if self._has_head else None, "masked mean")

    def _see_tower(self, module: object, arguments: object, output: Any) -> None:
        self._seen = output


def open_text(path: Path, options: OpenOptions) -> TextBackbone:
    """Open a folder that transformers' text models read.

    Raises:
        ExtractionError: Says what is wrong with the folder.
    """
    loaded = load(path, TEXT, options)
    tokenizer = _open_tokenizer(path)
    if tokenizer.pad_token is None:
        # Decoders have none. Any token will do, for the mask hides it from every mean.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    configs: list[Any] = [loaded.model.config, loaded.config]
    for config in configs:
        if getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = tokenizer.pad_token_id
    # On the left it would shift the positions of every shorter text.
    tokenizer.padding_side = "right"
    longest = min(options.max_length, tokenizer.model_max_length, positions(loaded.tower))
    return TextBackbone(loaded, TextCollate(tokenizer, longest))


def positions(tower: nn.Module) -> int:
    """How many tokens the learned absolute positions reach; without any, no limit worth naming.

    The tables of RoBERTa start behind ``padding_idx``, those of BART hold an offset.
    """
    reach = [1_000_000]
    for name, module in tower.named_modules():
        leaf = name.rsplit(".", 1)[-1]
        learned = isinstance(module, nn.Embedding) and module.num_embeddings > 2
        if learned and leaf in _TABLES:
            padding = getattr(module, "padding_idx", None)
            skipped = padding + 1 if padding is not None else getattr(module, "offset", 0)
            reach.append(module.num_embeddings - skipped)
    return min(reach)


def _open_tokenizer(path: Path) -> Any:
    from transformers import AutoTokenizer

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
