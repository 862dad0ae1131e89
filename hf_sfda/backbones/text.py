"""Text backbones of transformers: encoders, decoders, and the encoder of encoder-decoders."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from hf_sfda.backbones.base import OpenOptions, Outputs
from hf_sfda.backbones.checkpoint import count_params
from hf_sfda.backbones.loading import TEXT, Loaded, load
from hf_sfda.backbones.pooling import pool, pool_layers, tensors
from hf_sfda.backbones.tokenizer import TOKEN_TYPES, ask_for_token_types, open_tokenizer
from hf_sfda.compat import ensure_torchvision
from hf_sfda.errors import ExtractionError
from hf_sfda.foreign import read_json_file
from hf_sfda.format import marked
from hf_sfda.hub import SENTENCE_SETTINGS
from hf_sfda.types import IntArray, TextPair, Word

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
"""Model types whose features depend on the other texts of a batch, and how to avoid this.

``"length"``: padding changes the features despite the mask (Fourier transforms, convolutions,
pooling, sparse attention whose pattern depends on the length). Only texts of equal length share a
batch. ``"alone"``: the texts of a batch compete for the capacity of experts, so each runs alone.
``tests/backbones/test_every_architecture.py`` compares every model type alone and in a padded
batch."""

# Without token_type_ids: for a single text they are all zero, which is the default of every model
# except GPT-2, which would add a word embedding for them. Pairs of texts get them, see TextCollate.
_ARGUMENTS = ("input_ids", "attention_mask")
_UNSTATED_TYPES = {"funnel": 3, "xlnet": 4}  # their configurations state no number of types

POOLED = "pooled"
"""Name of the mask (B, T) in a batch of words. It is 1 at the token whose state is the feature, and
is not passed to the network."""

SEPARATOR = "\n"
"""Between two texts if the tokenizer puts no separator there."""


@dataclass(frozen=True)
class TextCollate:
    """The tokenizer of the checkpoint. It truncates texts to the number of positions of the model.

    Pairs of texts are encoded as the tokenizer encodes pairs, and the longer text of a pair is
    truncated first. Where the tokenizer puts no separator between the texts, as those of decoders,
    they are joined to one text with a line break between them.

    The sentence of a word is encoded as a text, with a space between its words: the networks were
    trained on such texts. Lists of words are not passed to the tokenizer, because most byte-level
    tokenizers would leave out the spaces: GPT-2 and RoBERTa add them with the option
    ``add_prefix_space``, Llama 3 has no such option. The tokens of the word are those at its place
    in the text. If the sentence is too long, words at its left are left out until the word is among
    the first ``max_length`` tokens.

    Attributes:
        tokenizer: A tokenizer of transformers.
        max_length: Largest number of tokens of a text, a sentence, or the two texts of a pair.
        lower: Whether texts are lower-cased first, as ``sentence_bert_config.json`` can require.
        rows: Rows of the embedding table of the network; ``None`` if it has no plain table.
        types: Number of token types that the network knows. Pairs are passed with their
            ``token_type_ids`` if the tokenizer gives them and they are below this number. Networks
            without a table of types may take these ids for something else: GPT-2 and XLM would add
            word embeddings.
    """

    tokenizer: Any
    max_length: int
    lower: bool = False
    rows: int | None = None
    types: int = 0

    def __call__(self, samples: Sequence[Any]) -> dict[str, Tensor]:
        """Texts, pairs or words -> ``input_ids`` and ``attention_mask`` (B, T), padded.

        Pairs also get ``token_type_ids`` (B, T), see :attr:`types`; words get :data:`POOLED`.

        Raises:
            ExtractionError: The embedding table has no row for a token, the largest number of
                tokens leaves none for one of two texts, or the tokens of a word cannot be found.
        """
        places: list[int] = []
        if _are_words(samples):
            sentences, places = self._around_words(samples)
            ids = [torch.tensor(tokens) for tokens in sentences]
            batch = {
                "input_ids": pad_sequence(
                    ids, batch_first=True, padding_value=self.tokenizer.pad_token_id
                ),
                "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], True),
            }
        else:
            batch = self.tokenizer(
                **self._texts(samples),
                padding="longest",
                max_length=self.max_length,
                return_attention_mask=True,
                return_tensors="pt",
            )
        # On a GPU an id outside the table would make CUDA unusable for all following models.
        if self.rows is not None and (highest := int(batch["input_ids"].max())) >= self.rows:
            raise ExtractionError(
                f"its tokenizer gives token {highest}, but its table of embeddings has only "
                f"{self.rows} rows: the tokenizer belongs to another model"
            )
        inputs = {name: batch[name] for name in _ARGUMENTS}
        if (
            _are_pairs(samples)
            and TOKEN_TYPES in batch
            and int(batch[TOKEN_TYPES].max()) < self.types
        ):
            inputs[TOKEN_TYPES] = batch[TOKEN_TYPES]
        if places:
            inputs[POOLED] = torch.zeros_like(inputs["attention_mask"])
            inputs[POOLED][torch.arange(len(places)), places] = 1
        return inputs

    def lengths(self, samples: Sequence[Any]) -> list[int]:
        """Number of tokens of each text, of each pair of texts, or of the sentence of each word."""
        if _are_words(samples):
            return [len(ids) for ids in self._around_words(samples)[0]]
        encoded = self.tokenizer(**self._texts(samples), max_length=self.max_length)
        return [len(ids) for ids in encoded["input_ids"]]

    def _texts(self, samples: Sequence[Any]) -> dict[str, Any]:
        """The texts and their truncation, as arguments of the tokenizer."""
        if not _are_pairs(samples):
            return {"text": self._lowered(samples), "truncation": True}
        first = self._lowered([pair.first for pair in samples])
        second = self._lowered([pair.second for pair in samples])
        if not self.separates:
            return {"text": self._joined(first, second), "truncation": True}
        self._room(self.tokenizer.num_special_tokens_to_add(pair=True))
        return {"text": first, "text_pair": second, "truncation": "longest_first"}

    def _room(self, added: int) -> int:
        """Number of tokens that are left for the two texts of a pair.

        Args:
            added: Number of tokens besides those of the texts.

        Raises:
            ExtractionError: There is not one token for each text.
        """
        if self.max_length < added + 2:
            raise ExtractionError(
                f"{self.max_length} tokens are too few for a pair of texts, to which the tokenizer "
                f"adds {added} tokens; raise --max-length"
            )
        return self.max_length - added

    def _around_words(self, samples: Sequence[Word]) -> tuple[list[list[int]], list[int]]:
        """The tokens of each sentence, or of a part of it, and the place of the word's first token.

        Raises:
            ExtractionError: The tokenizer does not tell where its tokens are in a text, or it gives
                no token for a word.
        """
        if not getattr(self.tokenizer, "is_fast", False):
            raise ExtractionError(
                f"its tokenizer ({type(self.tokenizer).__name__}) does not tell which tokens "
                "belong to a word, so it cannot be ranked on tags of words"
            )
        head, tail = self._special
        room = self.max_length - len(head) - len(tail)
        sentences, places = [], []
        for sample in samples:
            ids, before, first, last = self._tokens_of_word(sample)
            # Of the words at which the sentence can begin, the first that leaves room for the word.
            begins = before[last - before <= room]
            begin = int(begins[0]) if len(begins) else first
            sentences.append([*head, *ids[begin : begin + room], *tail])
            places.append(len(head) + first - begin)
        return sentences, places

    def _tokens_of_word(self, sample: Word) -> tuple[list[int], IntArray, int, int]:
        """The tokens of a sentence, and which of them are those of the word.

        Returns:
            The tokens; the number of tokens before each word up to the word; the place of the
            first token of the word; and the place after its last token.
        """
        # Words that are further away cannot be among the tokens that are used.
        skipped = max(0, sample.position - self.max_length)
        words = self._lowered(sample.words[skipped : sample.position + self.max_length])
        position = sample.position - skipped
        starts = np.cumsum([0, *(len(word) + 1 for word in words[:position])])
        encoded = self.tokenizer(
            " ".join(words), add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        begins, ends = np.array(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2).T
        start, end = starts[-1], starts[-1] + len(words[position])
        own = np.flatnonzero((begins < end) & (ends > start))
        if len(own) == 0:
            sentence = marked(sample.words, sample.position, 80)
            raise ExtractionError(f"its tokenizer gives no token for the word in {sentence!r}")
        ids = encoded["input_ids"]
        # A token that is only the space before the word is not taken: a decoder has not read
        # anything of the word there. T5 and Llama 2 have such tokens.
        first = int(next((i for i in own if self.tokenizer.decode([ids[i]]).strip()), own[0]))
        before = np.minimum(np.searchsorted(ends, starts, side="right"), first)
        return ids, before, first, int(own[-1]) + 1

    @cached_property
    def _special(self) -> tuple[list[int], list[int]]:
        """The special tokens before a text and those after it.

        Raises:
            ExtractionError: The tokenizer changes the tokens of a text when it adds them.
        """
        text = self._plain(["a"])[0]
        whole = self.tokenizer("a")["input_ids"]
        start = _find(text, whole)
        head, tail = whole[:start], whole[start + len(text) :]
        if [*head, *text, *tail] != whole:
            raise ExtractionError("its tokenizer adds special tokens inside a text")
        return head, tail

    def _lowered(self, texts: Sequence[str]) -> list[str]:
        return [text.lower() for text in texts] if self.lower else list(texts)

    @cached_property
    def separates(self) -> bool:
        """Whether the tokenizer puts a separator between two texts.

        A token that also begins the first text is no separator: Llama begins both texts of a pair
        with the token that begins a document.
        """
        first, second = (self._plain([text])[0] for text in "ab")
        try:
            both = self.tokenizer("a", "b")["input_ids"]
        except ValueError:  # the tokenizers of mistral-common take no pairs
            return False
        start = _find(first, both)
        rest = both[start + len(first) :]
        return not set(rest[: _find(second, rest)]) <= set(both[:start])

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text without special tokens, at most as many as are ever used."""
        ids: list[list[int]] = self.tokenizer(
            list(texts), add_special_tokens=False, truncation=True, max_length=self.max_length
        )["input_ids"]
        return ids

    def _joined(self, first: Sequence[str], second: Sequence[str]) -> list[str]:
        """Join the texts of each pair to one. If it is too long, the longer of them is cut."""
        separator = len(self._plain([SEPARATOR])[0])
        room = self._room(self.tokenizer.num_special_tokens_to_add() + separator)
        rows = zip(first, second, self._plain(first), self._plain(second), strict=True)
        joined = []
        for text, other, ids, other_ids in rows:
            kept = min(len(other_ids), max(room - len(ids), room // 2))
            parts = (self._cut(text, ids, room - kept), self._cut(other, other_ids, kept))
            joined.append(SEPARATOR.join(parts))
        return joined

    def _cut(self, text: str, ids: list[int], limit: int) -> str:
        return text if len(ids) <= limit else self.tokenizer.decode(ids[:limit])


def _are_pairs(samples: Sequence[Any]) -> bool:
    return len(samples) > 0 and isinstance(samples[0], TextPair)


def _are_words(samples: Sequence[Any]) -> bool:
    return len(samples) > 0 and isinstance(samples[0], Word)


def _find(part: list[int], whole: list[int]) -> int:
    """Where ``part`` begins in ``whole``; 0 if it is not there."""
    places = range(len(whole) - len(part) + 1)
    return next((i for i in places if whole[i : i + len(part)] == part), 0)


class TextBackbone:
    """A text model of transformers. Every layer is a mean over the tokens that are not padding.

    For words of a sentence, every layer is the state at the first token of the word, as in
    fine-tuning for token classification.

    ``"last"`` is this mean or state of the last hidden state. Poolers are not used: most were
    trained for next-sentence prediction or not at all.

    If a head computes logits for every token, those of the last token of each text are used. The
    code of the models finds this token by its id, and fails if a text ends with the padding id.
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
        """Number of tokens of each text."""
        return self.collate.lengths(samples)

    def groups(self, samples: Sequence[Any]) -> list[Hashable] | None:
        """The length of each text, if texts of different lengths change each other's features."""
        if self._mixing == "alone":
            return list(range(len(samples)))
        return list(self.costs(samples)) if self._mixing == "length" else None

    def forward(self, batch: Mapping[str, Tensor]) -> Outputs:
        """Run ``input_ids`` and ``attention_mask`` (B, T).

        Raises:
            ExtractionError: There are no hidden states, or there is not one for each token, which
                words need.
        """
        self._clear()  # what a pass that ran out of memory left behind
        pooled = batch.get(POOLED)
        output = self.module(**{name: batch[name] for name in batch if name != POOLED})
        tower = self._seen
        mask = batch["attention_mask"]
        blocks = tensors(tower.get("hidden_states"))[1:]  # the first is the input embedding
        # Layers with a pooled, shorter sequence (Funnel) are skipped.
        blocks = [_one_stream(block) for block in blocks if block.shape[:2] == mask.shape]
        layers = pool_layers(blocks, mask if pooled is None else pooled)
        if tower.get("last_hidden_state") is None:
            raise ExtractionError(f"{self.model_class} gives no hidden states")
        last = tower["last_hidden_state"]
        if pooled is not None and last.shape[:2] != mask.shape:
            raise ExtractionError(
                f"{self.model_class} gives no state for each token, so it cannot be ranked on tags "
                "of words"
            )
        layers["last"] = pool(last, mask if pooled is None else pooled)
        # A head for texts says nothing about a single word.
        logits = self._logits(output, mask) if self._has_head and pooled is None else None
        self._clear()
        return Outputs(layers, logits, "masked mean" if pooled is None else "first subword")

    def _clear(self) -> None:
        self._seen = None
        for head in self._heads:
            head.clear()

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
    """Tokens (B, T, C); the mean over the streams of networks with several, (B, T, S, C)."""
    return block.mean(dim=2) if block.ndim == 4 else block


def open_text(path: Path, options: OpenOptions) -> TextBackbone:
    """Open a folder with a text model of transformers.

    Raises:
        ExtractionError: The model or its tokenizer cannot be opened.
    """
    loaded = load(path, TEXT, options)
    tokenizer = open_tokenizer(path)
    rows = _embedding_rows(loaded.tower)
    _choose_padding(tokenizer, rows)
    configs: list[Any] = [getattr(loaded.model, "config", loaded.config), loaded.config]
    for config in configs:
        if getattr(config, "pad_token_id", None) is None:
            config.pad_token_id = tokenizer.pad_token_id
    # Padding on the left would shift the positions of shorter texts.
    tokenizer.padding_side = "right"
    longest = _max_tokens(tokenizer, options.max_length, positions(loaded.tower, loaded.config))
    stated = getattr(loaded.config, "type_vocab_size", _UNSTATED_TYPES.get(loaded.types[1], 0))
    types = stated or 0
    if types > 1:
        ask_for_token_types(tokenizer)
    collate = TextCollate(tokenizer, longest, _lower_cases(path), rows, types)
    return TextBackbone(loaded, collate)


def _embedding_rows(tower: Any) -> int | None:
    """Number of tokens with an embedding; ``None`` if the embedding is not a plain table."""
    try:
        table = tower.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    return table.num_embeddings if isinstance(table, nn.Embedding) else None


def _choose_padding(tokenizer: Any, rows: int | None) -> None:
    """Choose a padding token for which the network has an embedding.

    Tokenizers of decoders have no padding token, and a token that was added later has no embedding.
    Any token with an embedding can be used, because the mask excludes it from every mean.
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


def _max_tokens(tokenizer: Any, requested: int, reach: int) -> int:
    """Largest number of tokens of a text.

    Args:
        tokenizer: The tokenizer. Its own limit is ignored if it is not a number, or if it leaves no
            token beside the special tokens.
        requested: The limit that the user set.
        reach: Number of positions of the network.

    Raises:
        ExtractionError: No token of a text would be left.
    """
    special = tokenizer.num_special_tokens_to_add()
    stated = tokenizer.model_max_length
    longest = min(requested, reach)
    if isinstance(stated, int | float) and special < stated < longest:
        longest = int(stated)
    if longest <= special:
        raise ExtractionError(
            f"of {longest} tokens, nothing is left of a text: the tokenizer adds {special} special "
            "tokens; raise --max-length"
            if longest == requested
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
    """Number of positions of a network, or 1,000,000 if it has no limit.

    Most configurations state it. A table of positions can have fewer positions than rows: in
    RoBERTa it starts after ``padding_idx``, in BART after an offset.
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
