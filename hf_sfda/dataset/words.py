"""Read tags of words, and draw one word of each sentence.

A sample of a token classification is one word of a sentence. The words of one sentence are not
independent of each other: with several of them, folds and intervals would have to be grouped by
sentence. One word of each sentence makes the samples independent.

First a tag is drawn among the tags that the sentence has, each with the same probability, then a
word among those with this tag. So rare tags are not lost among the words without an entity, which
are most words of a sentence.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from hf_sfda.dataset.features import item_feature
from hf_sfda.dataset.labels import MISSING, NO_LABEL, Encoded, encode
from hf_sfda.types import IntArray, LabelKind

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

NO_WORDS = "no words"
OTHER_LENGTH = "number of tags is not the number of words"
MISSING_WORD = "missing word"
NO_TAGGED_WORD = "no word with a tag"

_PROBED_ROWS = 20  # first rows that show whether a column has a tag for each word of another
_STREAM = 1  # of random numbers: another one than that of the sample of rows


@dataclass(frozen=True, eq=False)
class WordTags(Encoded):
    """The tag of the word that was drawn from each sentence.

    Attributes:
        positions: (N,) position of the word in its sentence, where the row is usable.
    """

    positions: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    kind: ClassVar[LabelKind] = "token"

    def take(self, rows: IntArray) -> WordTags:
        """The tags of these rows."""
        return replace(self, codes=self.codes[rows], positions=self.positions[rows])


def has_tags_of_words(
    words: Sequence[Sequence[Any] | None], tags: Sequence[Sequence[Any] | None]
) -> bool:
    """Whether a column seems to have a tag for each word of another, by the first rows of both.

    Their lists have equal lengths, not all of them 1, and some tag belongs to different words.
    Without this, two columns with the ids and the names of several labels a row would be tags and
    words. Strings with spaces are sentences and no words. Numbers of more kinds
    than there are words are no tags: the words are stored as ids, and the strings beside them are
    their tags.
    """
    first = zip(words[:_PROBED_ROWS], tags[:_PROBED_ROWS], strict=True)
    rows = [(a, b) for a, b in first if a is not None and b is not None]
    if any(len(a) != len(b) for a, b in rows) or not any(len(a) > 1 for a, _ in rows):
        return False
    pairs = {pair for a, b in rows for pair in zip(a, b, strict=True)}
    if 2 * sum(len(word.split()) > 1 for word, _ in pairs if word) > len(pairs):
        return False
    kinds = {tag for _, tag in pairs}
    are_ids = not any(isinstance(tag, str) for tag in kinds)
    if are_ids and len(kinds) > len({word for word, _ in pairs}):
        return False
    return len(pairs) > len(kinds)


def read_word_tags(
    data: Dataset, words: str, tags: str, seed: int, left_out: Counter[str]
) -> WordTags:
    """Read the tags of all words, and draw one word of each row.

    Hidden tags are not drawn, and neither are words without any letter, digit or sign: tokenizers
    drop such words.

    Args:
        data: The split.
        words: Column with the words of each sentence.
        tags: Column with the tag of each word.
        seed: Random seed. The same seed draws the same words on every machine, whatever the size of
            the sample of rows.
        left_out: Reason -> number of rows; rows without a word to draw are added.

    Raises:
        TargetError: The tags are not names or whole numbers.
    """
    from datasets import ClassLabel

    columns = data.select_columns([words, tags]).with_format("arrow")[:]
    n_words, n_tags = (list_lengths(columns[name]) for name in (words, tags))
    no_words, no_tags = n_words <= 0, n_tags < 0
    other_length = ~no_words & ~no_tags & (n_words != n_tags)
    kept = ~(no_words | no_tags | other_length)
    flat_words, flat_tags = (_flat(columns[name], kept) for name in (words, tags))
    rows = np.repeat(np.flatnonzero(kept), n_words[kept])
    missing = np.zeros(len(data), dtype=bool)
    missing[rows[flat_words.is_null().to_numpy(zero_copy_only=False)]] = True
    item = item_feature(data.features[tags])
    declared = item.names if isinstance(item, ClassLabel) else None
    labels = encode(flat_tags.to_pylist(), declared, tags)
    drawable = labels.usable & ~missing[rows] & _are_visible(flat_words)
    drawn = draw_words(rows[drawable], labels.codes[drawable], len(data), seed)
    has_word = drawn >= 0
    for reason, without in (
        (NO_WORDS, no_words),
        (NO_LABEL, ~no_words & no_tags),
        (OTHER_LENGTH, other_length),
        (MISSING_WORD, missing),
        (NO_TAGGED_WORD, kept & ~missing & ~has_word),
    ):
        if count := int(without.sum()):
            left_out[reason] += count
    places = np.flatnonzero(drawable)[drawn[has_word]]  # in the flat lists
    first = np.cumsum(np.where(kept, n_words, 0)) - np.where(kept, n_words, 0)
    codes, positions = (np.full(len(data), MISSING, dtype=np.int64) for _ in range(2))
    codes[has_word] = labels.codes[places]
    positions[has_word] = places - first[has_word]
    notes = () if labels.hidden is None else (_hidden_note(labels.hidden, tags),)
    return WordTags(codes, labels.names, labels.hidden, notes, positions)


def draw_words(rows: IntArray, tags: IntArray, n_rows: int, seed: int) -> IntArray:
    """Draw a tag of each row, then a word with this tag.

    Args:
        rows: (W,) row of each word, ascending.
        tags: (W,) tag of each word.
        n_rows: Number of rows.
        seed: Random seed.

    Returns:
        (n_rows,) index of the word that was drawn for each row; -1 for rows without words.
    """
    drawn = np.full(n_rows, -1, dtype=np.int64)
    if len(rows) == 0:
        return drawn
    # Two numbers a row, so that the draw of a row does not depend on the other rows.
    random = np.random.default_rng([seed, _STREAM]).random((n_rows, 2))
    order = np.lexsort((tags, rows))  # by row, then by tag
    sorted_rows, sorted_tags = rows[order], tags[order]
    is_new = (np.diff(sorted_rows) != 0) | (np.diff(sorted_tags) != 0)
    starts = np.flatnonzero(np.concatenate([[True], is_new]))  # of each tag of each row
    sizes = np.diff(np.append(starts, len(order)))
    having, first, n_tags = np.unique(sorted_rows[starts], return_index=True, return_counts=True)
    tag = first + (random[having, 0] * n_tags).astype(np.int64)
    drawn[having] = order[starts[tag] + (random[having, 1] * sizes[tag]).astype(np.int64)]
    return drawn


def list_lengths(column: pa.ChunkedArray) -> IntArray:
    """(N,) length of each list; -1 for missing ones."""
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(column), -1)
    return np.asarray(lengths.to_numpy(), dtype=np.int64)


def _flat(column: pa.ChunkedArray, kept: npt.NDArray[np.bool_]) -> pa.Array:
    """The items of the kept lists, one after the other."""
    import pyarrow as pa
    import pyarrow.compute as pc

    flat = pc.list_flatten(column.filter(pa.array(kept)))
    return flat.combine_chunks() if isinstance(flat, pa.ChunkedArray) else flat


def _are_visible(words: pa.Array) -> npt.NDArray[np.bool_]:
    """(W,) whether a word has a character that tokenizers keep."""
    import pyarrow.compute as pc

    encoded: Any = pc.fill_null(words, "").dictionary_encode()
    visible = np.array([_is_visible(word) for word in encoded.dictionary.to_pylist()], dtype=bool)
    return visible[encoded.indices.to_numpy()] if len(visible) else np.zeros(0, dtype=bool)


def _is_visible(word: str) -> bool:
    """Whether a word is more than spaces, control characters and accents."""
    return any(unicodedata.category(letter)[0] not in "CMZ" for letter in word)


def _hidden_note(hidden: int, column: str) -> str:
    return (
        f"The tag {hidden} in {column!r} was read as a hidden tag: words with it are not drawn. If "
        "it is a class, store the tags as names."
    )
