"""What the rows of a dataset say about its columns, as far as the features do not say it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from hf_sfda.dataset import images, sounds
from hf_sfda.dataset.column_names import key_of
from hf_sfda.dataset.features import holds_classes, holds_floats, holds_strings, is_list
from hf_sfda.dataset.labels import HIDDEN, hidden_number
from hf_sfda.dataset.read_labels import column_reader
from hf_sfda.dataset.remote import RemoteSplit
from hf_sfda.dataset.words import has_tags_of_words

if TYPE_CHECKING:
    from datasets import Dataset

TextKind = Literal["texts", "words", "codes", "names"]

_PROBED_ROWS = 100  # first rows that show what a column holds
_PROBED_FILES = 20
_ROWS_PER_NAME = 5
_ROWS_PER_CLASS_NAME = 2
_LONGEST_NAME = 40
_FEWEST_LETTERS = 0.5


class Evidence:
    """The features of a split, and questions about its rows: each one reads as few as it needs.

    Args:
        data: The split.

    Attributes:
        features: Column -> its feature, as in ``datasets.Features``.
        strings: Key of a column of strings (see :func:`~.column_names.key_of`) -> its name.
    """

    def __init__(self, data: Dataset) -> None:
        self._data = data
        self._read = column_reader(data)
        # Each time, `Dataset.features` and `select_columns` copy the description of all columns:
        # called for each of 784 columns, they took half a minute.
        self.features: Mapping[str, Any] = data.features
        strings = tuple(name for name, feature in self.features.items() if holds_strings(feature))
        self.strings: Mapping[str, str] = {key_of(name): name for name in strings}
        self._strings = () if isinstance(data, RemoteSplit) else strings
        self._head = cache(self._read_head)
        self.first = cache(self._first)
        self.distinct = cache(self._distinct)

    def _read_head(self, names: tuple[str, ...]) -> Any:
        return self._data.select_columns(list(names)).with_format("arrow")[:_PROBED_ROWS]

    def _first(self, name: str) -> list[Any]:
        """The first values of a column, not decoded."""
        names = self._strings if name in self._strings else (name,)
        values: list[Any] = self._head(names)[name].to_pylist()
        return values

    def _distinct(self, name: str) -> tuple[int, int]:
        """(number of distinct values, number of values) of a column, without missing values.

        Of a column of lists: of the items of all lists.
        """
        import pyarrow.compute as pc

        values = self._read(name)
        if is_list(self.features[name]):
            values = pc.list_flatten(values)
        present = values.drop_null()
        return len(present.unique()), len(present)

    def same_classes(self, first: str, second: str) -> bool:
        """Whether two columns define the same classes: their values correspond one to one."""
        import pyarrow as pa

        features = (self.features[name] for name in (first, second))
        if not all(holds_classes(feature) or holds_floats(feature) for feature in features):
            return False
        both = pa.table({"a": self._read(first), "b": self._read(second)})
        pairs = both.group_by(["a", "b"]).aggregate([])
        return len(pairs["a"].unique()) == len(pairs) == len(pairs["b"].unique())

    def names_classes(self, numbers: str, names: str) -> bool:
        """Whether a column has one name for each class that another one numbers.

        Rows without a label do not count. Texts of which most occur only once are no names. A
        column that is too large to be read holds none either.
        """
        import pyarrow as pa

        if isinstance(self._data, RemoteSplit) and self._data.is_too_large(names):
            return False
        values = self._read(numbers)
        first = zip(values[:_PROBED_ROWS].to_pylist(), self.first(names), strict=True)
        if not _are_one_to_one({(n, name) for n, name in first if n not in HIDDEN}):
            return False  # saves reading a column of long texts
        both = pa.table({"number": values, "name": self._read(names)})
        pairs = both.group_by(["number", "name"]).aggregate([])
        if len(pairs) * _ROWS_PER_CLASS_NAME > len(both):
            return False
        distinct = set(zip(pairs["number"].to_pylist(), pairs["name"].to_pylist(), strict=True))
        hidden = hidden_number({n for n, _ in distinct if n is not None and n == n})
        return _are_one_to_one({(n, name) for n, name in distinct if n is None or n != hidden})

    def holds_images(self, name: str) -> bool:
        """Whether one of the first values of a column of bytes is an image that can be read."""
        return any(images.is_image_head(head) for head in self._heads(name))

    def holds_sounds(self, name: str) -> bool:
        """Whether one of the first values of a column of bytes is a sound file."""
        return any(sounds.is_sound_head(head) for head in self._heads(name))

    def _heads(self, name: str) -> list[bytes]:
        first = self._data.select_columns([name]).with_format(None)[:_PROBED_FILES][name]
        contents = [value["bytes"] if isinstance(value, Mapping) else value for value in first]
        return [bytes(content[:32]) for content in contents if content is not None]

    def has_tags(self, words: str, tags: str) -> bool:
        """Whether a column seems to have a tag for each word of another."""
        return has_tags_of_words(self.first(words), self.first(tags))

    def kind_of_texts(self, name: str) -> TextKind:
        """What a column of strings holds, see :func:`kind_of_texts`."""
        return kind_of_texts(self.first(name))


def _are_one_to_one(pairs: Collection[tuple[Any, str | None]]) -> bool:
    """Whether whole numbers and names correspond one to one; a number may be missing, no name."""
    known = [(n, name) for n, name in pairs if n is not None and n == n]
    if not all(name and name.strip() and math.isfinite(n) and n == int(n) for n, name in known):
        return False
    return len(dict(known)) == len(known) == len({name for _, name in known})


def kind_of_texts(values: list[str | None]) -> TextKind:
    """What strings are, most of them.

    ``"names"`` are short and repeat. ``"words"`` are single words of letters. ``"codes"`` are ids,
    dates, addresses and the like: single words with other signs, or mostly digits and signs; or
    missing. All others are ``"texts"``.

    Example:
        >>> kind_of_texts(["It rains.", "It snows."]), kind_of_texts(["下雨了", "下雪了"])
        ('texts', 'texts')
        >>> kind_of_texts(["rain", "snow"]), kind_of_texts(["a/1.png", "2026-01-02 9:30"])
        ('words', 'codes')
        >>> kind_of_texts(["travel guide", "news"] * 5)
        'names'
    """
    present = [value.strip() for value in values if value and value.strip()]
    if not present:
        return "codes"
    repeat = len(set(present)) * _ROWS_PER_NAME <= len(present)
    if repeat and max(map(len, present)) <= _LONGEST_NAME:
        return "names"
    if 2 * sum(map(_is_code, present)) >= len(present):
        return "codes"
    single = sum(_is_single(text) or _is_code(text) for text in present)
    return "words" if 2 * single >= len(present) else "texts"


def _is_single(text: str) -> bool:
    """Whether there is no space, and no letter of a language that may be written without them."""
    return text.isascii() and not any(letter.isspace() for letter in text)


def _is_code(text: str) -> bool:
    if _is_single(text):
        return not text.replace("-", "").replace("'", "").isalpha()
    visible = "".join(text.split())
    return sum(map(str.isalpha, visible)) < _FEWEST_LETTERS * len(visible)
